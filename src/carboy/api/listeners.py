"""Where the API listens: unix sockets, and TCP on this machine only.

Standard library only: the daemon binds before it loads anything heavy, so that clients wait
in the kernel's queue instead of seeing a refusal.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable

from carboy.errors import InvalidArgument, Unavailable

MODE = 0o660
BACKLOG = 4096

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Listener:
    """A listening socket, and what takes its name away at the end."""

    def __init__(self, listening: socket.socket, host: str, unlink: Callable[[], None]) -> None:
        self.socket = listening
        self.host = host
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


def listen(host: str) -> Listener:
    """Listen on `unix:///path` or `tcp://127.0.0.1:port`; raises InvalidArgument or Unavailable."""
    scheme, separator, rest = host.partition("://")
    if separator and scheme == "unix" and rest.startswith("/"):
        return _listen_unix(rest, host)
    if separator and scheme == "tcp":
        return _listen_tcp(rest, host)
    raise InvalidArgument(f"cannot listen on {host!r}: expected unix:///path/to.sock or tcp://127.0.0.1:port")


def _listen_unix(path: str, host: str) -> Listener:
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


def _listen_tcp(rest: str, host: str) -> Listener:
    name, colon, port = rest.rstrip("/").rpartition(":")
    name = name.strip("[]")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 0xFFFF:
        raise InvalidArgument(f"cannot listen on {host!r}: expected tcp://127.0.0.1:port")
    if name not in _LOOPBACK:
        raise InvalidArgument(
            f"cannot listen on {host!r}: whoever reaches this port is root here, "
            "and TLS is not supported yet; use tcp://127.0.0.1:port"
        )
    family = socket.AF_INET6 if name == "::1" else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1" if name == "localhost" else name, int(port)))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise Unavailable(f"cannot listen on {host}: {error}") from error
    shown = f"[{name}]" if family == socket.AF_INET6 else name
    return Listener(listening, f"tcp://{shown}:{listening.getsockname()[1]}", _nothing)
