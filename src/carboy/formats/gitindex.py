"""Git's index (which files a work tree has, and what was known of them), and the index of a pack.  Pure.

See `gitformat-index(5)` and `gitformat-pack(5)`.  What is not understood (a split or sparse index, conflicts)
is None: the caller then knows nothing, which is always right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from carboy.errors import Corrupt

SUBMODULE: Final = 0o160000
_FIXED = Struct(">10I20sH")
_ID_SIZE = 20
_EXTENDED = 0x4000
_STAGE = 0x3000
_SKIP_OR_INTENT = 0x6000
_NOT_UNDERSTOOD = (b"link", b"sdir")
_MAX_ENTRIES = 2_000_000


class KnownFile(NamedTuple):
    """A file, as it was when git last looked.  A tuple: there are thousands in every build."""

    path: bytes
    mode: int
    id: bytes
    size: int
    mtime: int
    mtime_nsec: int
    ctime: int
    ctime_nsec: int
    inode: int


def parse_index(data: bytes) -> list[KnownFile] | None:
    """All files of an index; None when it has what is not understood; Corrupt when it is damaged."""
    if len(data) < 12 + _ID_SIZE or data[:4] != b"DIRC":
        raise Corrupt("git: the index is damaged")
    # With index.skipHash there is no sum.
    if any(data[-_ID_SIZE:]) and data[-_ID_SIZE:] != _sum(data[:-_ID_SIZE]):
        raise Corrupt("git: the index is damaged")
    version, count = int.from_bytes(data[4:8]), int.from_bytes(data[8:12])
    if version not in (2, 3, 4) or count > _MAX_ENTRIES:
        return None
    files, position, before = [], 12, b""
    for _ in range(count):
        if position + _FIXED.size > len(data):
            raise Corrupt("git: the index ends too early")
        ctime, ctime_nsec, mtime, nsec, _, inode, mode, _, _, size, name, flags = _FIXED.unpack_from(
            data, position
        )
        start = position + _FIXED.size
        if flags & _STAGE:
            return None
        if flags & _EXTENDED:
            if int.from_bytes(data[start : start + 2]) & _SKIP_OR_INTENT:
                return None
            start += 2
        if version == 4:
            strip, start = _variable(data, start)
            end = data.find(b"\0", start)
            path = before[: len(before) - strip] + data[start:end]
            position = end + 1
        else:
            end = data.find(b"\0", start)
            path = data[start:end]
            position += (end - position + 8) & ~7
        if end < 0 or not path:
            raise Corrupt("git: the index is damaged")
        before = path
        files.append(KnownFile(path, mode, name, size, mtime, nsec, ctime, ctime_nsec, inode))
    while position + 8 <= len(data) - _ID_SIZE:
        if data[position : position + 4] in _NOT_UNDERSTOOD:
            return None
        position += 8 + int.from_bytes(data[position + 4 : position + 8])
    return files


def tree_of(files: list[KnownFile]) -> bytes:
    """The id of the tree that a commit of an index would have; files are sorted by path, as there."""
    stack: list[tuple[bytes, list[bytes]]] = [(b"", [])]

    def leave() -> None:
        path, entries = stack.pop()
        name = path.rpartition(b"/")[2]
        stack[-1][1].append(b"40000 %s\0%s" % (name, _tree_id(entries)))

    for file in files:
        directory, slash, name = file.path.rpartition(b"/")
        while not _is_within(directory, stack[-1][0]):
            leave()
        while stack[-1][0] != directory:
            known = stack[-1][0]
            rest = directory[len(known) + 1 :] if known else directory
            step = rest.partition(b"/")[0]
            stack.append((known + b"/" + step if known else step, []))
        stack[-1][1].append(b"%o %s\0%s" % (file.mode, name if slash else file.path, file.id))
    while len(stack) > 1:
        leave()
    return _tree_id(stack[0][1])


def find_in_pack(read_at: Callable[[int, int], bytes], size: int, name: bytes) -> int | None:
    """Where an object begins in the pack of an index (version 2); None when it is not there."""
    if read_at(0, 8) != b"\xfftOc\0\0\0\2":
        return None
    fanout = read_at(8, 1024)
    if len(fanout) < 1024:
        return None
    low = int.from_bytes(fanout[4 * name[0] - 4 : 4 * name[0]]) if name[0] else 0
    high = int.from_bytes(fanout[4 * name[0] : 4 * name[0] + 4])
    count = int.from_bytes(fanout[-4:])
    if not low <= high <= count or 1032 + 28 * count + 2 * _ID_SIZE > size:
        return None
    while low < high:
        middle = (low + high) // 2
        found = read_at(1032 + _ID_SIZE * middle, _ID_SIZE)
        if found == name:
            offset = int.from_bytes(read_at(1032 + 24 * count + 4 * middle, 4))
            if offset < 0x80000000:
                return offset
            return int.from_bytes(read_at(1032 + 28 * count + 8 * (offset & 0x7FFFFFFF), 8))
        if found < name:
            low = middle + 1
        else:
            high = middle
    return None


def _sum(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _tree_id(entries: list[bytes]) -> bytes:
    # Git sorts a directory as if its name ended with a slash.
    entries.sort(key=_order)
    data = b"".join(entries)
    return _sum(b"tree %d\0" % len(data) + data)


def _order(entry: bytes) -> bytes:
    mode, _, rest = entry.partition(b" ")
    name = rest[: rest.index(b"\0")]
    return name + b"/" if mode == b"40000" else name


def _is_within(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")


def _variable(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for place in range(position, min(position + 10, len(data))):
        value = ((value + 1) << 7 if place > position else 0) | (data[place] & 0x7F)
        if not data[place] & 0x80:
            return value, place + 1
    raise Corrupt("git: the index is damaged")
