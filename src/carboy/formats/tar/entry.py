"""A member of a tar archive, and how much of one is believed.

`kind` is the file-type part of a Unix mode (`S_IFREG` and so on); a hard link, which is a
name and not a file, has the kind HARDLINK, which is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HARDLINK: Final = 0
FIFO: Final = 0o010000
CHARACTER: Final = 0o020000
DIRECTORY: Final = 0o040000
BLOCK: Final = 0o060000
REGULAR: Final = 0o100000
SYMLINK: Final = 0o120000

BLOCK_SIZE: Final = 512

Segments = tuple[tuple[int, int], ...]
"""(offset in the file, length) of each piece of data that a sparse member stores, in order."""


@dataclass(frozen=True, slots=True)
class TarLimits:
    """Bounds on what a hostile archive may make the reader do."""

    extension: int = 1 << 20
    """Bytes in one PAX header or GNU long name."""
    path: int = 4095
    entries: int = 4_000_000
    file_size: int = 1 << 44
    """Largest apparent size of one file (ext4's own limit)."""
    segments: int = 1 << 17
    """Pieces of one sparse file."""
    chain: int = 16
    """Extension headers in front of one member."""


class TarEntry:
    """One member.  Bytes of the path, link and attribute values are as in the archive: hostile."""

    # A plain class: with 10^5 members the time to make a frozen dataclass is felt.
    __slots__ = (
        "data_offset",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime",
        "mtime_nsec",
        "rdev",
        "segments",
        "size",
        "stored_size",
        "uid",
        "unsafe_path",
        "xattrs",
    )

    def __init__(
        self,
        unsafe_path: bytes,
        kind: int,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime: int = 0,
        mtime_nsec: int = 0,
        link: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
        xattrs: dict[bytes, bytes] | None = None,
        data_offset: int = 0,
        stored_size: int | None = None,
        segments: Segments | None = None,
    ) -> None:
        self.unsafe_path = unsafe_path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.mtime_nsec = mtime_nsec
        self.link = link
        self.rdev = rdev
        self.xattrs = xattrs
        self.data_offset = data_offset
        self.stored_size = size if stored_size is None else stored_size
        self.segments = segments

    def __repr__(self) -> str:
        return f"TarEntry({self.unsafe_path!r}, kind={self.kind:#o}, mode={self.mode:#o}, size={self.size})"
