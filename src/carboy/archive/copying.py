"""A tree of this machine copied below a directory, without a tar in between.

The source is the caller's own: a regular file is opened by its name at once, where a hostile
tree is looked at first (`walking.py`).  Everything else goes the way of archives.
"""

from __future__ import annotations

import os
import stat

from carboy.archive.contents import FileContents
from carboy.archive.walking import LOOK, MAX_DEPTH, Walk, entry_of, kept_attributes
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.archive.unpacking import Unpacker

_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe or device that was put in a file's place neither blocks nor becomes our terminal.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def copy_tree(start: int, name: bytes, unpacker: Unpacker) -> None:
    """Copy what `start` (an open file or directory) is, as `name`, with all below it."""
    copy = _Copy(unpacker)
    if stat.S_ISDIR(os.fstat(start).st_mode):
        copy.directory(start, name, 0)
    else:
        copy.other(start, name)
    unpacker.finish()


class _Copy:
    def __init__(self, unpacker: Unpacker) -> None:
        self._unpacker = unpacker
        self._walk = Walk()

    def directory(self, fd: int, name: bytes, depth: int) -> None:
        """A directory, which is open for reading."""
        if depth > MAX_DEPTH:
            raise Unsupported(f"the directory {name[:200]!r} is too deep (more than {MAX_DEPTH} levels)")
        entry = entry_of(os.fstat(fd), name)
        entry.xattrs = kept_attributes(fd)
        self._unpacker.put(entry, FileContents(-1))
        prefix = name + b"/"
        with os.scandir(fd) as found:
            children = sorted((os.fsencode(one.name), one.is_file(follow_symlinks=False)) for one in found)
        for child, is_file in children:
            try:
                if is_file:
                    self._file(fd, child, prefix + child)
                else:
                    self._unknown(fd, child, prefix + child, depth)
            except FileNotFoundError:
                if _exists(fd, child):
                    raise  # it was not the source that was missing

    def other(self, fd: int, name: bytes) -> None:
        """Anything but a directory: an O_PATH descriptor, or one to read by."""
        for entry, reading in self._walk.one(fd, name, b"", 0):
            self._unpacker.put(entry, FileContents(reading))

    def _file(self, directory: int, child: bytes, name: bytes) -> None:
        fd = os.open(child, _READ_FILE, dir_fd=directory)
        try:
            status = os.fstat(fd)
            if status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
                self.other(fd, name)
                return
            entry = entry_of(status, name)
            entry.xattrs = kept_attributes(fd)
            self._unpacker.put(entry, FileContents(fd))
        finally:
            os.close(fd)

    def _unknown(self, directory: int, child: bytes, name: bytes, depth: int) -> None:
        fd = os.open(child, LOOK, dir_fd=directory)
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


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
