"""What the daemon tells those who started it: systemd (sd_notify), a pipe, a pid file."""

from __future__ import annotations

import contextlib
import os
import socket

from carboy.errors import Unavailable


def notify(message: str) -> None:
    """Send `READY=1` and its kin to systemd, when it asked for them; never fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
        notice.connect("\0" + address[1:] if address[0] == "@" else address)
        notice.send(message.encode())


class PidFile:
    """A file that holds our process id while we run."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path) as file:
                owner = file.read(32).strip()
            if owner.isdecimal() and int(owner) != os.getpid() and os.path.exists(f"/proc/{owner}"):
                raise Unavailable(
                    f"process with PID {owner} is still running: remove {path} if it is not a Carboy daemon"
                )
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Unavailable(f"cannot read the pid file {path}: {error.strerror}") from error
        temporary = f"{path}.{os.getpid()}"
        try:
            with open(temporary, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.rename(temporary, path)
        except OSError as error:
            raise Unavailable(f"cannot write the pid file {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Take it away, if it still is ours."""
        with contextlib.suppress(OSError):
            with open(self._path) as file:
                mine = file.read(32).strip() == str(os.getpid())
            if mine:
                os.unlink(self._path)
