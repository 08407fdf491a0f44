"""Pseudo-terminals of a given devpts, and window sizes."""

from __future__ import annotations

import fcntl
import os
import struct

from carboy.linux.paths import DEVPTS_SUPER_MAGIC, open_beneath, require_filesystem

_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_TIOCGPTN = 0x80045430
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def open_pty(devpts_fd: int) -> tuple[int, int]:
    """(master, slave) of a new pair in the devpts instance whose directory is `devpts_fd`.

    Neither end is opened through a path that the container could exchange.
    """
    require_filesystem(devpts_fd, DEVPTS_SUPER_MAGIC, "ptmx")
    master = open_beneath(devpts_fd, "ptmx", os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave


def pty_number(master: int) -> int:
    """N of the slave's name /dev/pts/N."""
    number: int = struct.unpack("=I", fcntl.ioctl(master, _TIOCGPTN, b"\0" * 4))[0]
    return number


def set_window_size(fd: int, rows: int, cols: int) -> None:
    """Set the size of the terminal; its foreground process group gets SIGWINCH."""
    fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("=HHHH", rows, cols, 0, 0))


def window_size(fd: int) -> tuple[int, int]:
    """(rows, columns) of the terminal."""
    rows, cols, _, _ = struct.unpack("=HHHH", fcntl.ioctl(fd, _TIOCGWINSZ, b"\0" * 8))
    return rows, cols


def make_controlling(fd: int) -> None:
    """Make the terminal the controlling one of this session; the caller leads the session."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)
