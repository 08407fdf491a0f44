"""Git's files, written in one form: a pack, its index, the index of a work tree.  Pure.

The bytes depend on the objects only.  Nothing is compressed (deflate's stored blocks): every compressor, and
every version of one, would give others.  See `gitformat-pack(5)` and `gitformat-index(5)`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

_BLOCK = 0xFFFF
_LARGE = 0x80000000


@dataclass(frozen=True, slots=True)
class Plan:
    """One object of a pack that is to be written."""

    id: bytes
    kind: int
    size: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One file of a work tree."""

    path: bytes
    mode: int
    id: bytes
    size: int


class PackWriter:
    """A pack of whole objects; sorted by id."""

    def __init__(self, objects: Iterable[Plan], pieces: Callable[[bytes], Iterable[bytes]]) -> None:
        self._plans = sorted(objects, key=lambda plan: plan.id)
        self._pieces = pieces
        self._offsets: list[int] = []
        self._sums: list[int] = []
        self._checksum = b""
        position = 12
        for plan in self._plans:
            self._offsets.append(position)
            position += len(_head(plan)) + _stored_size(plan.size)
        self.size = position + 20
        self.name = hashlib.sha1(b"".join(plan.id for plan in self._plans), usedforsecurity=False).hexdigest()
        large = sum(offset >= _LARGE for offset in self._offsets)
        self.index_size = 8 + 1024 + 28 * len(self._plans) + 8 * large + 40

    def pack(self) -> Iterator[bytes]:
        """The pack's bytes."""
        whole = hashlib.sha1(usedforsecurity=False)
        head = b"PACK" + struct.pack(">II", 2, len(self._plans))
        whole.update(head)
        yield head
        self._sums = []
        for plan in self._plans:
            total = 0
            for piece in chain((_head(plan),), _stored(self._pieces(plan.id))):
                total = zlib.crc32(piece, total)
                whole.update(piece)
                yield piece
            self._sums.append(total)
        self._checksum = whole.digest()
        yield self._checksum

    def index(self) -> Iterator[bytes]:
        """The index's bytes; the pack must have been written."""
        large = [offset for offset in self._offsets if offset >= _LARGE]
        positions = {offset: number for number, offset in enumerate(large)}
        data = b"".join(
            (
                b"\xfftOc" + struct.pack(">I", 2),
                _fanout([plan.id for plan in self._plans]),
                b"".join(plan.id for plan in self._plans),
                b"".join(struct.pack(">I", total) for total in self._sums),
                b"".join(
                    struct.pack(">I", offset if offset < _LARGE else _LARGE | positions[offset])
                    for offset in self._offsets
                ),
                b"".join(struct.pack(">Q", offset) for offset in large),
                self._checksum,
            )
        )
        yield data + hashlib.sha1(data, usedforsecurity=False).digest()


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """The index of a work tree in which nothing is known of the files but their contents."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    pieces = [b"DIRC" + struct.pack(">II", 2, len(ordered))]
    for entry in ordered:
        fixed = struct.pack(
            ">10I20sH",
            *(0, 0, 0, 0, 0, 0, entry.mode, 0, 0, entry.size & 0xFFFFFFFF),
            entry.id,
            min(len(entry.path), 0xFFF),
        )
        length = len(fixed) + len(entry.path)
        pieces.append(fixed + entry.path + bytes(8 - length % 8))
    data = b"".join(pieces)
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


def _fanout(ids: Sequence[bytes]) -> bytes:
    counts = [0] * 256
    for one in ids:
        counts[one[0]] += 1
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return struct.pack(">256I", *sums)


def _head(plan: Plan) -> bytes:
    size, first = plan.size >> 4, (plan.kind << 4) | (plan.size & 15)
    encoded = []
    while size:
        encoded.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes([*encoded, first])


def _stored_size(size: int) -> int:
    return 6 + size + 5 * max(1, -(-size // _BLOCK))


def _stored(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A zlib stream of stored blocks; all but the last one are full."""
    yield b"\x78\x01"
    total, waiting = 1, b""
    for piece in pieces:
        total = zlib.adler32(piece, total)
        waiting += piece
        while len(waiting) > _BLOCK:
            yield _stored_block(waiting[:_BLOCK], last=False)
            waiting = waiting[_BLOCK:]
    yield _stored_block(waiting, last=True)
    yield struct.pack(">I", total)


def _stored_block(data: bytes, *, last: bool) -> bytes:
    return struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF) + data
