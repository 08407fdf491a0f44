"""The standard streams of a container's process, seen from both sides of the fork."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from carboy.linux import terminal
from carboy.linux.paths import open_in_root
from carboy.runtime.detached import is_null, null_device

PIPE_SIZE = 1 << 20


class Streams:
    """What the child gets as 0, 1 and 2, and the parent's ends (-1 for absent).

    terminal: a pseudo-terminal of the container's devpts, `rows` and `cols` its first size; its
    master becomes `console`.  Else pipes, or the given descriptors (`inherit`).
    """

    __slots__ = ("child", "cols", "console", "rows", "stderr", "stdin", "stdout", "terminal")

    def __init__(self, *, terminal: bool = False, rows: int = 0, cols: int = 0) -> None:
        self.terminal = terminal
        self.rows = rows
        self.cols = cols
        self.console = self.stdin = self.stdout = self.stderr = -1
        self.child: list[int] = []

    @classmethod
    def wanted(cls, *, terminal: bool, stdin: bool, rows: int = 0, cols: int = 0) -> Streams:
        """A terminal; or pipes, with /dev/null as stdin unless `stdin`."""
        streams = cls(terminal=terminal, rows=rows, cols=cols)
        if terminal:
            return streams
        if stdin:
            reader, streams.stdin = os.pipe2(os.O_CLOEXEC)
        else:
            reader = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        streams.stdout, out = _pipe()
        streams.stderr, err = _pipe()
        streams.child = [reader, out, err]
        return streams

    @classmethod
    def inherit(cls, *, terminal: bool = False, rows: int = 0, cols: int = 0) -> Streams:
        """The parent's own 0, 1 and 2, or a terminal."""
        return cls(terminal=terminal, rows=rows, cols=cols)

    def close_child(self) -> None:
        """In the parent, after the fork."""
        for fd in self.child:
            os.close(fd)
        self.child = []

    def close(self) -> None:
        """Close both sides (a launch that failed)."""
        self.close_child()
        for name in ("console", "stdin", "stdout", "stderr"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)

    def take(self, uid: int) -> None:
        """In the child: make them 0, 1 and 2; pipes get the program's user, who may reopen /dev/stdout then.

        Inherited terminals and files of the host keep their owner.
        """
        for number, fd in enumerate(self.child):
            os.dup2(fd, number, inheritable=True)
        for number in range(3):
            found = os.fstat(number)
            if stat.S_ISFIFO(found.st_mode) and found.st_uid != uid:
                _give(number, uid)

    def own_null(self, root: int) -> None:
        """In the child, while /proc is the host's: the null device is taken from the container at `root`.

        With the host's as a descriptor, the container's root could change its mode and owner.
        root: -1 when it is unknown.
        """
        if self.terminal:
            return
        for number in self.child or range(3):
            if is_null(number):
                access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
                try:
                    fd = _open_null(root, access)
                except PermissionError:
                    continue  # an ordinary user's container: it has no rights over the host's
                os.dup2(fd, number, inheritable=number < 3)
                os.close(fd)

    def take_terminal(self, master: int, slave: int, uid: int) -> None:
        """In the child: make the terminal the controlling one, and 0, 1 and 2; closes `slave`."""
        if self.rows:
            terminal.set_window_size(master, self.rows, self.cols)
        terminal.make_controlling(slave)
        _give(slave, uid)
        for number in range(3):
            os.dup2(slave, number, inheritable=True)
        os.close(slave)


def _open_null(root: int, access: int) -> int:
    """The container's null device; the host's, read-only, where the container has none (any more)."""
    try:
        return _reopen(open_in_root(root, "/dev/null", os.O_PATH), access)
    except OSError:
        return _reopen(null_device(), access)


def _reopen(found: int, access: int) -> int:
    try:
        if not is_null(found):
            raise OSError(errno.ENXIO, "is not the null device", "/dev/null")
        return os.open(f"/proc/self/fd/{found}", access | os.O_CLOEXEC)
    finally:
        os.close(found)


def _give(fd: int, uid: int) -> None:
    try:
        os.fchown(fd, uid, -1)
    except OSError:
        pass  # not mapped here: the program lives with it


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except PermissionError:
        pass  # over the user's pipe quota: the default size works, only slower
    return reader, writer
