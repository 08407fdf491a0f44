"""carboy system as-docker.

Puts Carboy where programs look for Docker: the name `docker` on the PATH, and Docker's socket.
It makes symbolic links, and a line for systemd-tmpfiles that makes the socket's one again after a
reboot; --undo takes them away.  A file that it did not make is never touched.
"""

from __future__ import annotations

import os
import sys

from carboy.errors import Conflict, PermissionDenied, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (
    ("undo", "", "bool", "Take it all away again"),
    ("force", "", "bool", "Also beside a real Docker (whose files stay as they are)"),
    ("prefix", "", "string", "Work below this directory instead of /"),
    ("program", "", "string", "The program that `docker` shall be (this one)"),
)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system as-docker
carboy system as-docker --undo
"""

NAME = "usr/local/bin/docker"
SOCKET = "run/docker.sock"
BOOT = "etc/tmpfiles.d/carboy-as-docker.conf"
MARK = "# made by `carboy system as-docker`; `--undo` removes it"
PATH = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
REAL = ("docker", "dockerd")


class Places:
    """What is made, below one prefix."""

    def __init__(self, prefix: str, program: str, socket: str) -> None:
        self.prefix = prefix.rstrip("/")
        self.links = {self.at(NAME): program, self.at(SOCKET): socket}
        self.boot = self.at(BOOT)
        self.line = f"{MARK}\nL+ /{SOCKET} - - - - {socket}\n"

    def at(self, path: str) -> str:
        """The path below the prefix."""
        return f"{self.prefix}/{path}"

    def real_docker(self) -> list[str]:
        """Programs and sockets of a Docker that is not us."""
        found = []
        for folder in PATH:
            for name in REAL:
                path = self.at(f"{folder}/{name}")
                if os.path.lexists(path) and not self.is_ours(path) and path not in found:
                    found.append(path)
        socket = self.at(SOCKET)
        if os.path.lexists(socket) and not self.is_ours(socket):
            found.append(socket)
        return found

    def is_ours(self, path: str) -> bool:
        """Whether we made it: a link to what we link to, or the file with our mark."""
        if path == self.boot:
            return _begins(path, MARK)
        return path in self.links and os.path.islink(path) and os.readlink(path) in self._targets(path)

    def _targets(self, path: str) -> tuple[str, ...]:
        # A carboy that has moved since then is still one.
        now = os.readlink(path)
        same_name = os.path.basename(now) == os.path.basename(self.links[path])
        return (self.links[path], now) if same_name else (self.links[path],)


def _begins(path: str, mark: str) -> bool:
    try:
        with open(path) as file:
            return file.read(len(mark)) == mark
    except OSError:
        return False


def main(session: Session, parsed: Parsed) -> int:
    """Make the links, or take them away."""
    program = parsed.text("program") or _own_program()
    places = Places(parsed.text("prefix"), program, session.home.socket)
    try:
        if parsed.flag("undo"):
            _undo(session, places)
        else:
            _put(session, places, force=parsed.flag("force"))
    except PermissionError as error:
        raise PermissionDenied(f"cannot change {error.filename}: permission denied; run as root") from error
    return 0


def _own_program() -> str:
    program = os.path.abspath(sys.argv[0])
    if os.path.basename(program) != "carboy" or not os.access(program, os.X_OK):
        raise Unavailable(f"{program} is not the `carboy` program: name it with --program")
    return program


def _put(session: Session, places: Places, *, force: bool) -> None:
    real = places.real_docker()
    if real and not force:
        raise Conflict(
            f"there is a Docker on this machine ({', '.join(real)}): remove it first, or say --force to put "
            "Carboy beside it; its files are left alone in any case"
        )
    for path, target in places.links.items():
        if os.path.lexists(path) and not places.is_ours(path):
            session.warn(f"{path} is not ours and stays as it is")
            continue
        _link(target, path)
        session.out(f"{path} -> {target}")
    if os.path.lexists(places.boot) and not places.is_ours(places.boot):
        session.warn(f"{places.boot} is not ours and stays as it is")
    elif places.at(SOCKET) not in real:
        _write(places.boot, places.line)
        session.out(f"{places.boot} makes the socket's link again after a reboot")


def _link(target: str, path: str) -> None:
    """Make the link at once, whatever of ours was there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.carboy-{os.getpid()}"
    os.symlink(target, temporary)
    os.rename(temporary, path)


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w") as file:
        file.write(text)
    os.rename(temporary, path)


def _undo(session: Session, places: Places) -> None:
    for path in (*places.links, places.boot):
        if not os.path.lexists(path):
            continue
        if places.is_ours(path):
            os.unlink(path)
            session.out(f"removed {path}")
        else:
            session.warn(f"{path} is not ours and stays as it is")
