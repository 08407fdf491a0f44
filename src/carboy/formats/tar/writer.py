"""Writing tar in one canonical form: the same file gives the same bytes, everywhere.

ustar headers with numeric owners and empty names; a PAX header only for what ustar cannot
say (long names, large numbers, extended attributes), its records sorted; whole seconds.
The order of members and hard links is the caller's: see `carboy.store.differ`.
"""

from __future__ import annotations

from struct import Struct

from carboy.errors import InvalidArgument
from carboy.formats.tar.entry import (
    BLOCK,
    BLOCK_SIZE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    TarEntry,
)

END = bytes(2 * BLOCK_SIZE)
"""What closes an archive.  No padding to GNU's record size: it says nothing."""

_FLAGS = {
    REGULAR: b"0",
    HARDLINK: b"1",
    SYMLINK: b"2",
    CHARACTER: b"3",
    BLOCK: b"4",
    DIRECTORY: b"5",
    FIFO: b"6",
}
_USTAR = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_KEPT = b"user."
_DROPPED = (b"user.overlay.", b"user.fuseoverlayfs.")


def keep_xattrs(xattrs: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """The extended attributes that belong to an image: file capabilities and the user's own."""
    kept = {
        name: value
        for name, value in (xattrs or {}).items()
        if name == b"security.capability" or (name.startswith(_KEPT) and not name.startswith(_DROPPED))
    }
    return kept or None


def padding(size: int) -> bytes:
    """The zeros after `size` bytes of contents."""
    return bytes(-size % BLOCK_SIZE)


def encode(entry: TarEntry, *, epoch: int | None = None) -> bytes:
    """The header blocks of `entry`; contents (`size` bytes) and `padding` come after.

    Times are clamped to `epoch` when one is given, and to whole seconds not before 1970.
    """
    if entry.segments is not None:
        raise InvalidArgument(f"cannot write {entry.unsafe_path!r}: sparse members are not canonical")
    path = entry.unsafe_path
    if entry.kind == DIRECTORY and not path.endswith(b"/"):
        path += b"/"
    mtime = max(0, entry.mtime if epoch is None else min(entry.mtime, epoch))
    records: dict[bytes, bytes] = {}
    name, prefix = _split(path)
    if len(name) > 100:
        records[b"path"] = path
        name = name[:100]
    link = entry.link if entry.kind in (SYMLINK, HARDLINK) else b""
    if len(link) > 100:
        records[b"linkpath"] = link
        link = link[:100]
    uid = _fitting(entry.uid, b"uid", _OCTAL_7, records)
    gid = _fitting(entry.gid, b"gid", _OCTAL_7, records)
    size = _fitting(entry.size if entry.kind == REGULAR else 0, b"size", _OCTAL_11, records)
    seconds = _fitting(mtime, b"mtime", _OCTAL_11, records)
    for attribute, value in (keep_xattrs(entry.xattrs) or {}).items():
        records[b"SCHILY.xattr." + attribute] = value
    major, minor = entry.rdev if entry.kind in (CHARACTER, BLOCK) else (0, 0)
    if major > _OCTAL_7 or minor > _OCTAL_7:
        raise InvalidArgument(f"cannot write {path!r}: device {major}:{minor} does not fit a tar header")
    header = _header(
        name,
        _FLAGS[entry.kind],
        mode=entry.mode & 0o7777,
        owner=(uid, gid),
        size=size,
        mtime=seconds,
        link=link,
        device=(major, minor),
        prefix=prefix,
    )
    return _pax(records) + header if records else header


class PlainHeaders:
    """Headers of plain files with one time, the same bytes as `encode` makes, in a third of its time.

    Most files of a layer differ in nothing but name and size: the rest is packed and summed once.
    """

    def __init__(self, mtime: int) -> None:
        self._mtime = mtime
        self._rest: dict[tuple[int, int, int], tuple[bytes, bytes, int]] = {}

    def make(self, path: bytes, mode: int, uid: int, gid: int, size: int) -> bytes | None:
        """None for what is not as plain as that: `encode` it."""
        if len(path) > 100 or size > _OCTAL_11:
            return None
        rest = self._rest.get((mode, uid, gid)) or self._prepare(mode, uid, gid)
        if rest is None:
            return None
        before, after, total = rest
        digits = b"%011o" % size
        checksum = sum(path) + sum(digits) + total
        return b"%b%b%b%b%06o%b" % (path.ljust(100, b"\0"), before, digits, after[:13], checksum, after[13:])

    def _prepare(self, mode: int, uid: int, gid: int) -> tuple[bytes, bytes, int] | None:
        if uid > _OCTAL_7 or gid > _OCTAL_7 or not 0 <= self._mtime <= _OCTAL_11:
            return None
        block = encode(TarEntry(b"-", REGULAR, mode=mode, uid=uid, gid=gid, mtime=self._mtime))
        before, after = block[100:124], block[135:148] + block[154:]
        # The checksum's own field counts as spaces; its end, NUL and a space, is part of `after`.
        total = sum(before) + sum(block[135:148]) + sum(block[156:]) + 8 * 0x20
        rest = self._rest[mode, uid, gid] = (before, after, total)
        return rest


def _fitting(value: int, key: bytes, largest: int, records: dict[bytes, bytes]) -> int:
    if value <= largest:
        return value
    records[key] = b"%d" % value
    return 0


def _split(path: bytes) -> tuple[bytes, bytes]:
    """(name, prefix) for ustar: the leftmost slash that makes both fit; else (path, nothing)."""
    if len(path) <= 100 or len(path) > 256:
        return path, b""
    slash = path.find(b"/", max(1, len(path) - 101))
    if slash < 0 or slash > 155 or slash == len(path) - 1:
        return path, b""
    return path[slash + 1 :], path[:slash]


def _pax(records: dict[bytes, bytes]) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    header = _header(
        b"PaxHeaders",
        b"x",
        mode=0o644,
        owner=(0, 0),
        size=len(body),
        mtime=0,
        link=b"",
        device=(0, 0),
        prefix=b"",
    )
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value`, where the length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _header(
    name: bytes,
    flag: bytes,
    *,
    mode: int,
    owner: tuple[int, int],
    size: int,
    mtime: int,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    block = _USTAR.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % owner[0],
        b"%07o\0" % owner[1],
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b"        ",
        flag,
        link,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix,
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
