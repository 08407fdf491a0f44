"""Where the API listens: unix sockets, sockets that systemd hands over, TCP with certificates.

    unix:///path/to.sock     mode 0660, and a group when one is named
    fd://   fd://3  fd://name    of systemd's socket unit
    tcp://address:port       for clients with a certificate; without, only when that is asked for

Standard library only: the daemon binds before it loads anything heavy, so that clients wait
in the kernel's queue instead of seeing a refusal.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Sequence

from carboy.errors import InvalidArgument, Unavailable

MODE = 0o660
BACKLOG = 4096
TLS_PORT, PLAIN_PORT = 2376, 2375

_FIRST_PASSED = 3
"""systemd's sockets begin with this descriptor (sd_listen_fds(3))."""


class Listener:
    """A listening socket, and what takes its name away at the end."""

    def __init__(
        self, listening: socket.socket, host: str, unlink: Callable[[], None], *, tls: bool = False
    ) -> None:
        self.socket = listening
        self.host = host
        self.tls = tls
        self._unlink = unlink

    @property
    def local(self) -> bool:
        """Whether it is a unix socket."""
        return self.socket.family == socket.AF_UNIX

    def unlink(self) -> None:
        """Take the name away: who comes now finds nobody, or the next daemon."""
        unlink, self._unlink = self._unlink, _nothing
        unlink()

    def close(self) -> None:
        """Listen no more."""
        self.unlink()
        self.socket.close()


def _nothing() -> None:
    pass


class Rules:
    """What the settings say about listening."""

    def __init__(self, *, group: int | None = None, tls: bool = False, insecure: bool = False) -> None:
        self.group = group
        self.tls = tls
        self.insecure = insecure


def listen_all(
    hosts: Sequence[str], rules: Rules, passed: dict[str, list[int]] | None = None
) -> list[Listener]:
    """Listen on every host; `passed` are systemd's sockets.  All or none."""
    made: list[Listener] = []
    try:
        for host in hosts:
            if host.startswith("fd://"):
                made += _take_passed(host, rules, passed or {})
            else:
                made.append(listen(host, rules))
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made


def listen(host: str, rules: Rules | None = None) -> Listener:
    """Listen on `unix:///path` or `tcp://address:port`; raises InvalidArgument or Unavailable."""
    rules = rules or Rules()
    scheme, separator, rest = host.partition("://")
    if not separator:  # Docker takes bare paths and addresses, too
        scheme, rest = ("unix" if host.startswith("/") else "tcp" if ":" in host else ""), host
    if scheme == "unix" and rest.startswith("/"):
        return _listen_unix(rest, host, rules)
    if scheme == "tcp":
        return _listen_tcp(rest, host, rules)
    raise InvalidArgument(
        f"cannot listen on {host[:200]!r}: expected unix:///path/to.sock, fd:// or tcp://address:port"
    )


def _listen_unix(path: str, host: str, rules: Rules) -> Listener:
    directory, name = os.path.split(path)
    # A socket's address holds 108 bytes: the name is given relative to a descriptor of its folder.
    try:
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"cannot listen on {host}: {error}") from error
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        address = f"/proc/self/fd/{folder}/{name}"
        _remove_stale(folder, name, address, host)
        listening.bind(address)
        # Nobody can connect before listen(), so nobody gets in with the mode of the umask.
        os.chmod(name, MODE, dir_fd=folder)
        if rules.group is not None:
            os.chown(name, -1, rules.group, dir_fd=folder, follow_symlinks=False)
        listening.listen(BACKLOG)
        made = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        listening.close()
        os.close(folder)
        raise Unavailable(f"cannot listen on {host}: {error}") from error
    except BaseException:
        listening.close()
        os.close(folder)
        raise
    return Listener(listening, host, lambda: _unlink(folder, name, made))


def _remove_stale(folder: int, name: str, address: str, host: str) -> None:
    """Take away the socket of a daemon that is gone; refuse to take one that answers, or a file."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Unavailable(f"cannot listen on {host}: something that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full queue also means that somebody is there
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            return
        except BlockingIOError:
            pass
    raise Unavailable(f"cannot listen on {host}: another daemon answers there")


def _unlink(folder: int, name: str, made: os.stat_result) -> None:
    """Remove our own name, not that of a daemon that came after us."""
    try:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
            os.unlink(name, dir_fd=folder)
    except OSError:
        pass
    finally:
        os.close(folder)


def _listen_tcp(rest: str, host: str, rules: Rules) -> Listener:
    _require_certificates(host, rules)
    name, number = split_address(rest, TLS_PORT if rules.tls else PLAIN_PORT, host)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            name, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(f"cannot listen on {host}: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise Unavailable(f"cannot listen on {host}: {error}") from error
    shown = f"[{name}]" if family == socket.AF_INET6 else name
    return Listener(listening, f"tcp://{shown}:{listening.getsockname()[1]}", _nothing, tls=rules.tls)


def _require_certificates(host: str, rules: Rules) -> None:
    if not rules.tls and not rules.insecure:
        raise InvalidArgument(
            f"cannot listen on {host}: whoever reaches this port is root here. Set tlsverify, tlscacert, "
            "tlscert and tlskey, so that only clients with a certificate get in; or force it: --insecure-tcp"
        )


def split_address(text: str, default_port: int, host: str) -> tuple[str, int]:
    """`address:port`, where both may be left out: this machine only, and the default port."""
    text = text.rstrip("/")
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(default_port)
    if not (port.isascii() and port.isdecimal()) or int(port) > 0xFFFF or "/" in name:
        raise InvalidArgument(f"cannot listen on {host[:200]!r}: expected tcp://address:port")
    return name.strip("[]") or "127.0.0.1", int(port)


# -- systemd's sockets


def passed_descriptors() -> dict[str, list[int]]:
    """The sockets that systemd has handed over, by name; they are ours from now on."""
    environment = os.environ
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[int]] = {}
    for index in range(int(count)):
        descriptor = _FIRST_PASSED + index
        os.set_inheritable(descriptor, False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        found.setdefault(name, []).append(descriptor)
    return found


def _take_passed(host: str, rules: Rules, passed: dict[str, list[int]]) -> list[Listener]:
    wanted = host.removeprefix("fd://")
    everything = [one for some in passed.values() for one in some]
    if wanted in ("", "*"):
        chosen = everything
    elif wanted.isdecimal():
        chosen = [int(wanted)] if int(wanted) in everything else []
    else:
        chosen = passed.get(wanted, [])
    if not chosen:
        raise Unavailable(
            f"cannot listen on {host}: no sockets found via socket activation: "
            "make sure the service was started by systemd"
        )
    return [_passed(host, rules, descriptor) for descriptor in chosen]


def _passed(host: str, rules: Rules, descriptor: int) -> Listener:
    listening = socket.socket(fileno=os.dup(descriptor))
    if listening.family == socket.AF_UNIX:
        # The name is systemd's: it goes on listening there while no daemon runs.
        return Listener(listening, f"unix://{listening.getsockname()}", _nothing)
    try:
        _require_certificates(host, rules)
    except InvalidArgument:
        listening.close()
        raise
    return Listener(listening, host, _nothing, tls=rules.tls)
