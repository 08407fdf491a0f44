"""The far daemon's socket through ssh: a process of ours holds one end of a socket pair.

    command line ═ socket pair ═ ssh ─────▶ sshd ─▶ carboy (or docker) system dial-stdio ═ the daemon

ssh asks for nothing here: it has a session of its own, so that ctrl-C reaches the container and not
the connection.  Keys, agents and ~/.ssh/config work as always; what ssh says goes to standard error.
"""

from __future__ import annotations

import _socket
import os

from carboy.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.address import Address

PROGRAM = "ssh"


def connect(address: Address) -> tuple[_socket.socket, int]:
    """A connected socket and the process id of its ssh."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        arguments = command(address)
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1),
        ]
        try:
            pid = os.posix_spawnp(PROGRAM, arguments, os.environ, file_actions=actions, setsid=True)
        except OSError as error:
            raise Unavailable(
                f"cannot connect to {address.url}: the program {PROGRAM} cannot be run: {error.strerror}"
            ) from error
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, pid


def command(address: Address) -> list[str]:
    """The ssh command line; every variable part is plain (see `address.parse`)."""
    arguments = [PROGRAM, "-o", "ConnectTimeout=30", "-T"]
    if address.user:
        arguments += ["-l", address.user]
    if address.port:
        arguments += ["-p", str(address.port)]
    return [*arguments, "--", address.host, _far_command(address.socket)]


def _far_command(socket: str) -> str:
    host = f" --host unix://{socket}" if socket else ""
    dial = f"{host} system dial-stdio"
    return f"sh -c 'command -v carboy >/dev/null 2>&1 && exec carboy{dial}; exec docker{dial}'"


def end(pid: int) -> None:
    """End a connection's ssh, which has lost its socket already."""
    try:
        found, _status = os.waitpid(pid, os.WNOHANG)
        if not found:  # never wait for it: an ssh that is stuck must not hold us up
            os.kill(pid, 15)
            os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, ProcessLookupError):
        pass
