"""Git's packs: which objects a pack holds, and their bytes.  Pure; nothing in one is believed.

    PACK version count   { type+size, [base], deflated bytes }*   sha1 of all before

A pack does not say where its objects begin: they are found by inflating all of them once.  Objects that are
whole are inflated in pieces, however large they are; what is a difference to another one (a delta) is put
together in memory, and is bounded.  See `gitformat-pack(5)`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, overload

from carboy.errors import Corrupt

COMMIT: Final = 1
TREE: Final = 2
BLOB: Final = 3
TAG: Final = 4
_OFFSET_DELTA: Final = 6
_NAME_DELTA: Final = 7

NAMES: Final = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
ID_SIZE: Final = 20

_HEADER = 12
_PIECE = 1 << 20
_SMALL = 4096
_MEMORY = 32 << 20
_MAX_CHAIN = 5000
_CHAIN_LIMITS = 8
"""How many times the limit of one object the deltas of a chain may have together."""
_MAX_PASSES = 200


@dataclass(frozen=True, slots=True)
class PackLimits:
    """How much is believed."""

    objects: int = 5_000_000
    in_memory: int = 128 << 20
    """Bytes of an object that is put together from a delta, of a tree, a commit, a tag."""
    inflated: int = 1 << 38
    """Bytes of all objects together."""


DEFAULT_LIMITS = PackLimits()


@dataclass(frozen=True, slots=True)
class PackedObject:
    """Where an object is, and what."""

    offset: int
    kind: int
    """COMMIT … TAG; of a delta that of what it comes to."""
    size: int
    """Of the whole object."""
    data: int
    """Where its deflated bytes begin."""
    is_delta: bool


class Pack:
    """The objects of one pack, by id."""

    def __init__(
        self,
        data: memoryview,
        *,
        limits: PackLimits = DEFAULT_LIMITS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Find all objects; `check` raises when it is time to stop."""
        self._data = data
        self._limits = limits
        self._check = check
        self._bases: dict[int, int | bytes] = {}
        self._delta_data: dict[int, int] = {}
        self._kinds: dict[int, tuple[int, int, int]] = {}
        self._memory: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._held = 0
        self._inflated = 0
        self._objects: dict[bytes, PackedObject] = {}
        self._scan()
        self._name_deltas()

    def __contains__(self, name: bytes) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._objects)

    def find(self, name: bytes) -> PackedObject:
        """The object of an id; Corrupt when it is not in the pack."""
        try:
            return self._objects[name]
        except KeyError:
            raise Corrupt(f"git: the object {name.hex()} is missing in what the server sent") from None

    def read(self, name: bytes, kind: int) -> bytes:
        """All bytes of an object that must be of a kind."""
        found = self.find(name)
        if found.kind != kind:
            raise Corrupt(f"git: the object {name.hex()} is no {NAMES[kind].decode()}")
        if found.size > self._limits.in_memory:
            raise Corrupt(f"git: the object {name.hex()} has {found.size} bytes: more than is read at once")
        if found.is_delta:
            return self._resolve(found.offset)[1]
        return b"".join(self._inflate(found.data, found.size))

    def pieces(self, name: bytes) -> Iterator[bytes]:
        """The bytes of an object of any size."""
        found = self.find(name)
        if found.is_delta:
            yield self._resolve(found.offset)[1]
        else:
            yield from self._inflate(found.data, found.size)

    def _scan(self) -> None:
        data, limits = self._data, self._limits
        end = len(data) - ID_SIZE
        if end < _HEADER or bytes(data[:4]) != b"PACK":
            raise Corrupt("git: the server sent no pack")
        version, count = int.from_bytes(data[4:8]), int.from_bytes(data[8:12])
        if version not in (2, 3):
            raise Corrupt(f"git: the pack has version {version}")
        if count > limits.objects:
            raise Corrupt(f"git: the pack holds {count} objects: more than {limits.objects} are refused")
        if hashlib.sha1(data[:end], usedforsecurity=False).digest() != bytes(data[end:]):
            raise Corrupt("git: the pack is damaged: its sum is another one")
        position = _HEADER
        for number in range(count):
            if not number % 256:
                self._check()
            position = self._one(position, end)
        if position != end:
            raise Corrupt("git: the pack goes on after its last object")

    def _one(self, offset: int, end: int) -> int:
        """Take in the object at `offset`; where the next one begins."""
        kind, size, position = _object_header(self._data, offset, end)
        if kind == _OFFSET_DELTA:
            distance, position = _offset_number(self._data, position, end)
            if not 0 < distance <= offset - _HEADER:
                raise Corrupt("git: a delta's base lies outside the pack")
            self._bases[offset] = offset - distance
        elif kind == _NAME_DELTA:
            self._bases[offset] = bytes(self._data[position : position + ID_SIZE])
            position += ID_SIZE
        elif kind not in NAMES:
            raise Corrupt(f"git: the pack holds an object of the unknown kind {kind}")
        whole = kind in NAMES
        if size > self._limits.in_memory and kind != BLOB:
            raise Corrupt(f"git: an object has {size} bytes: more than {self._limits.in_memory} are refused")
        self._inflated += size
        if self._inflated > self._limits.inflated:
            raise Corrupt(
                f"git: more than {self._limits.inflated} bytes come out of the pack; that is refused"
            )
        if not whole:
            self._delta_data[offset] = position
            self._kinds[offset] = (kind, size, position)
            return self._skip(position, size, None)
        digest = hashlib.sha1(b"%s %d\0" % (NAMES[kind], size), usedforsecurity=False)
        following = self._skip(position, size, digest.update)
        self._kinds[offset] = (kind, size, position)
        self._objects[digest.digest()] = PackedObject(offset, kind, size, position, is_delta=False)
        return following

    def _skip(self, position: int, size: int, update: Callable[[bytes], None] | None) -> int:
        stream = _Inflating(self._data, position, size)
        for piece in stream:
            if update is not None:
                update(piece)
            if size > _PIECE:
                self._check()
        return stream.position

    def _inflate(self, position: int, size: int) -> Iterator[bytes]:
        return iter(_Inflating(self._data, position, size))

    def _name_deltas(self) -> None:
        """Put every delta together once, to learn its id; bases by id may themselves be deltas."""
        waiting = list(self._bases)
        passes = 0
        while waiting:
            later = []
            passes += 1
            for number, offset in enumerate(waiting):
                if not number % 64:
                    self._check()
                base = self._bases[offset]
                if isinstance(base, bytes) and base not in self._objects:
                    later.append(offset)
                    continue
                if isinstance(base, int) and base not in self._kinds:
                    raise Corrupt("git: a delta's base is no object of the pack")
                if isinstance(base, int) and self._is_waiting(base):
                    later.append(offset)
                    continue
                kind, data = self._resolve(offset)
                digest = hashlib.sha1(b"%s %d\0" % (NAMES[kind], len(data)), usedforsecurity=False)
                digest.update(data)
                place = self._delta_data[offset]
                self._objects[digest.digest()] = PackedObject(offset, kind, len(data), place, is_delta=True)
            if len(later) == len(waiting) or passes > _MAX_PASSES:
                raise Corrupt("git: deltas whose bases are missing in what the server sent")
            waiting = later

    def _is_waiting(self, offset: int) -> bool:
        """Whether a delta at `offset` has, somewhere below, a base by id that is not known yet."""
        for _ in range(_MAX_CHAIN):
            base = self._bases.get(offset)
            if base is None:
                return False
            if isinstance(base, bytes):
                return base not in self._objects
            offset = base
        raise Corrupt(f"git: a chain of more than {_MAX_CHAIN} deltas")

    def _resolve(self, offset: int) -> tuple[int, bytes]:
        """(kind, bytes) of what is at `offset`."""
        chain = []
        while offset not in self._memory:
            base = self._bases.get(offset)
            if base is None:
                kind, size, position = self._kinds[offset]
                if size > self._limits.in_memory:
                    raise Corrupt(f"git: the base of a delta has {size} bytes: more than is read at once")
                self._remember(offset, kind, b"".join(self._inflate(position, size)))
                break
            chain.append(offset)
            if len(chain) > _MAX_CHAIN:
                raise Corrupt(f"git: a chain of more than {_MAX_CHAIN} deltas")
            offset = self.find(base).offset if isinstance(base, bytes) else base
        kind, data = self._memory[offset]
        self._memory.move_to_end(offset)
        for place in reversed(chain):
            _, size, position = self._kinds[place]
            delta = b"".join(self._inflate(position, size))
            data = apply_delta(data, delta, limit=self._limits.in_memory)
            self._remember(place, kind, data)
        return kind, data

    def _remember(self, offset: int, kind: int, data: bytes) -> None:
        self._memory[offset] = (kind, data)
        self._held += len(data)
        while self._held > _MEMORY and len(self._memory) > 1:
            self._held -= len(self._memory.popitem(last=False)[1][1])


class PackData(Protocol):
    """The bytes of a pack: in memory, or read when they are asked for."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, place: int, /) -> int: ...
    @overload
    def __getitem__(self, place: slice, /) -> bytes | memoryview: ...


def read_one(
    data: PackData, offset: int, find: Callable[[bytes], int | None], *, limit: int = 16 << 20
) -> tuple[int, bytes]:
    """(kind, bytes) of the object at an offset of a pack that has an index; `find` asks that for a base."""
    end = len(data) - ID_SIZE
    deltas: list[bytes] = []
    held = 0
    for _ in range(_MAX_CHAIN):
        if not _HEADER <= offset < end:
            raise Corrupt("git: an object lies outside its pack")
        kind, size, position = _object_header(data, offset, end)
        base: int | None = None
        if kind == _OFFSET_DELTA:
            distance, position = _offset_number(data, position, end)
            base = offset - distance
        elif kind == _NAME_DELTA:
            base = find(bytes(data[position : position + ID_SIZE]))
            position += ID_SIZE
            if base is None:
                raise Corrupt("git: a delta's base is in no pack")
        elif kind not in NAMES:
            raise Corrupt(f"git: a pack holds an object of the unknown kind {kind}")
        held += size
        if size > limit or held > _CHAIN_LIMITS * limit:
            raise Corrupt(f"git: an object has {size} bytes: more than is read at once")
        content = b"".join(_Inflating(data, position, size))
        if base is None:
            for delta in reversed(deltas):
                content = apply_delta(content, delta, limit=limit)
            return kind, content
        deltas.append(content)
        offset = base
    raise Corrupt(f"git: a chain of more than {_MAX_CHAIN} deltas")


def apply_delta(base: bytes, delta: bytes, *, limit: int) -> bytes:
    """What a delta makes of its base."""
    source_size, position = _number(delta, 0)
    size, position = _number(delta, position)
    if source_size != len(base):
        raise Corrupt("git: a delta is for another base")
    if size > limit:
        raise Corrupt(
            f"git: an object has {size} bytes: more than {limit} are refused for one that is a delta"
        )
    pieces: list[bytes] = []
    made = 0
    view = memoryview(base)
    end = len(delta)
    while position < end:
        command = delta[position]
        position += 1
        if command & 0x80:
            start, length, position = _copied(delta, position, command)
            if start + length > len(base):
                raise Corrupt("git: a delta copies from behind the end of its base")
            pieces.append(bytes(view[start : start + length]))
        elif command:
            length = command
            if position + length > end:
                raise Corrupt("git: a delta ends too early")
            pieces.append(delta[position : position + length])
            position += length
        else:
            raise Corrupt("git: a delta holds a reserved command")
        made += length
        if made > size:
            raise Corrupt("git: a delta makes more than it says")
    if made != size:
        raise Corrupt("git: a delta makes less than it says")
    return b"".join(pieces)


def _copied(delta: bytes, position: int, command: int) -> tuple[int, int, int]:
    """What a copy takes of the base: (start, length, position of the next command).

    The command's low seven bits say which bytes follow: four of the start, three of the length.
    """
    operand = 0
    for bit in range(7):
        if command & (1 << bit):
            if position >= len(delta):
                raise Corrupt("git: a delta ends too early")
            operand |= delta[position] << (8 * bit)
            position += 1
    return operand & 0xFFFFFFFF, (operand >> 32) or 0x10000, position


class _Inflating:
    """Pieces of one deflated object; `position` is behind it when all are taken."""

    def __init__(self, data: PackData, position: int, size: int) -> None:
        self._data = data
        self._size = size
        self.position = position

    def __iter__(self) -> Iterator[bytes]:
        decoder = zlib.decompressobj()
        left, step, data = self._size, _SMALL, self._data
        end = len(data) - ID_SIZE
        while True:
            # One byte more than is expected: a stream that goes on is noticed, and does not fill the memory.
            chunk = data[self.position : min(self.position + step, end)]
            try:
                piece = decoder.decompress(chunk, min(left + 1, _PIECE))
            except zlib.error as error:
                raise Corrupt(f"git: an object of the pack is damaged: {error}") from None
            # At its end zlib may have the rest in both places.
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            taken = len(chunk) - len(rest)
            self.position += taken
            left -= len(piece)
            if left < 0:
                raise Corrupt("git: an object of the pack is larger than it says")
            if piece:
                yield piece
            if decoder.eof:
                if left:
                    raise Corrupt("git: an object of the pack is smaller than it says")
                return
            if not taken and not piece:
                raise Corrupt("git: the pack ends inside an object")
            step = min(step * 4, 1 << 18)


def _object_header(data: PackData, position: int, end: int) -> tuple[int, int, int]:
    """(kind, size, where what follows begins)."""
    shift, size, kind = 4, 0, 0
    for place in range(position, min(position + 10, end)):
        byte = data[place]
        if place == position:
            kind, size = (byte >> 4) & 7, byte & 15
        else:
            size |= (byte & 0x7F) << shift
            shift += 7
        if not byte & 0x80:
            return kind, size, place + 1
    raise Corrupt("git: the header of an object is damaged")


def _offset_number(data: PackData, position: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(position, min(position + 10, end)):
        byte = data[place]
        value = ((value + 1) << 7 if place > position else 0) | (byte & 0x7F)
        if not byte & 0x80:
            return value, place + 1
    raise Corrupt("git: the base of a delta is damaged")


def _number(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(position, min(position + 10, len(data))):
        value |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            return value, place + 1
    raise Corrupt("git: the head of a delta is damaged")
