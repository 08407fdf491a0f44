"""A tree of this machine copied below a directory, without a tar in between.

The source is the caller's own: a regular file is opened by its name at once, where a hostile
tree is looked at first (`walking.py`).  Small files are made in one straight line, large ones
filled by a thread beside it, everything else goes the way of archives.
"""

from __future__ import annotations

import os
import queue
import stat
import threading

from carboy.archive.contents import FileContents
from carboy.archive.unpacking import clean
from carboy.archive.walking import LOOK, MAX_DEPTH, Walk, entry_of, kept_attributes
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.archive.unpacking import Parts, Unpacker

_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe or device that was put in a file's place neither blocks nor becomes our terminal.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SMALL = 1 << 16
_LARGE = 1 << 21
_WAITING = 32


def copy_tree(start: int, name: bytes, unpacker: Unpacker) -> None:
    """Copy what `start` (an open file or directory) is, as `name`, with all below it."""
    large = _Beside()
    try:
        copy = _Copy(unpacker, large)
        if stat.S_ISDIR(os.fstat(start).st_mode):
            copy.directory(start, name, 0)
        else:
            copy.other(start, name)
    finally:
        large.close()
    large.check()
    unpacker.finish()


class _Copy:
    def __init__(self, unpacker: Unpacker, large: _Beside) -> None:
        self._unpacker = unpacker
        self._large = large
        self._walk = Walk()

    def directory(self, fd: int, name: bytes, depth: int) -> None:
        """A directory, which is open for reading."""
        if depth > MAX_DEPTH:
            raise Unsupported(f"the directory {name[:200]!r} is too deep (more than {MAX_DEPTH} levels)")
        self._large.check()
        entry = entry_of(os.fstat(fd), name)
        entry.xattrs = kept_attributes(fd)
        self._unpacker.put(entry, FileContents(-1))
        files: list[bytes] = []
        others: list[bytes] = []
        with os.scandir(fd) as found:
            for one in found:
                (files if one.is_file(follow_symlinks=False) else others).append(os.fsencode(one.name))
        prefix = name + b"/"
        parts = clean(name)
        for child in sorted(files):
            self._file(fd, child, parts)
        for child in sorted(others):
            self._unknown(fd, child, prefix + child, depth)

    def other(self, fd: int, name: bytes) -> None:
        """Anything but a directory: an O_PATH descriptor, or one to read by."""
        for entry, reading in self._walk.one(fd, name, b"", 0):
            self._unpacker.put(entry, FileContents(reading))

    def _file(self, directory: int, child: bytes, parts: Parts) -> None:
        try:
            fd = os.open(child, _READ_FILE, dir_fd=directory)
        except FileNotFoundError:
            return  # removed meanwhile
        try:
            status = os.fstat(fd)
            if status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
                self.other(fd, b"/".join((*parts, child)))
                return
            size = status.st_size
            if size <= _SMALL and not os.listxattr(fd):
                data = os.read(fd, size) if size else b""
                if len(data) == size and self._unpacker.quick(
                    self._unpacker.enter(parts), child, data, status
                ):
                    return
            entry = entry_of(status, b"/".join((*parts, child)))
            entry.xattrs = kept_attributes(fd)
            if size < _LARGE:
                self._unpacker.put(entry, FileContents(fd))
                return
            contents = FileContents(fd)
            fill = self._unpacker.begin(self._unpacker.enter(parts), (*parts, child), entry, contents)
            kept, fd = fd, -1
            self._large.do(fill, kept)
        finally:
            if fd >= 0:
                os.close(fd)

    def _unknown(self, directory: int, child: bytes, name: bytes, depth: int) -> None:
        try:
            fd = os.open(child, LOOK, dir_fd=directory)
        except FileNotFoundError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                self.other(fd, name)
                return
            inner = os.open(".", _READ_DIRECTORY, dir_fd=fd)
            try:
                self.directory(inner, name, depth + 1)
            finally:
                os.close(inner)
        finally:
            os.close(fd)


class _Beside:
    """Fills large files, one after the other, while small ones are made: the kernel needs no interpreter."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[Callable[[], None], int] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, work: Callable[[], None], descriptor: int) -> None:
        """Do `work` some time, and close `descriptor` after it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="copy-large", daemon=True)
            self._thread.start()
        self._work.put((work, descriptor))

    def check(self) -> None:
        """Raise what has failed."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Wait until everything is done."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, descriptor = item
            try:
                work()
            except BaseException as error:  # raised again by `check`
                self._error = self._error or error
            finally:
                os.close(descriptor)
