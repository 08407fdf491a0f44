"""Tar archives: a reader for anything that is found in the wild, a writer of one canonical form.

Start reading at `entry.py` (what a member is), then `reader.py` (`scan`), `writer.py` (`encode`).
No input or output here: the reader is given a function that returns bytes at an offset.
"""

from carboy.formats.tar.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    TarEntry,
    TarLimits,
)
from carboy.formats.tar.reader import ForwardReader, ReadAt, scan
from carboy.formats.tar.writer import END, PlainHeaders, encode, keep_xattrs, padding

__all__ = [
    "BLOCK",
    "CHARACTER",
    "DIRECTORY",
    "END",
    "FIFO",
    "HARDLINK",
    "REGULAR",
    "SYMLINK",
    "ForwardReader",
    "PlainHeaders",
    "ReadAt",
    "TarEntry",
    "TarLimits",
    "encode",
    "keep_xattrs",
    "padding",
    "scan",
]
