r"""Docker's `local` log: binary entries, each between two copies of its length.

    entry      [size as 32 bits big-endian] LogEntry [size again]
    LogEntry   1 source "stdout" or "stderr"   2 time in nanoseconds   3 line, without its newline
               4 partial, true for a piece     5 {1 last  2 id  3 ordinal} of a piece
               6 {1 key  2 value} for each attribute

The message is protobuf (proto3: fields that are empty are left out).  A line longer than 16 KiB
becomes pieces with one id; the stream's unfinished end is a piece that is not the last.
"""

from __future__ import annotations

from carboy.errors import Corrupt
from carboy.formats.jsonlog import MAX_LINE, Batch, cut_of, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENTRY = 1_000_000
"""Bytes of one entry; Docker refuses to read larger ones."""

_REMEMBERED = 256
_TEXT = ("utf-8", "replace")


def varint(number: int) -> bytes:
    """Protobuf's variable-length form of a number that is not negative."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + varint(len(value)) + value if value else b""


class Encoder:
    """One stream of a container, cut into lines and encoded."""

    __slots__ = ("_attributes", "_frames", "_id", "_pieces", "_room", "_source", "pending")

    def __init__(self, stream: str, attributes: dict[str, str] | None = None) -> None:
        self._source = _field(0x0A, stream.encode())
        self._attributes = b"".join(
            _field(0x32, _field(0x0A, key.encode(*_TEXT)) + _field(0x12, value.encode(*_TEXT)))
            for key, value in sorted((attributes or {}).items())
        )
        self._frames: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._id = b""
        self._pieces = 0
        self._room = 0
        self.pending = b""

    def feed(self, data: bytes, nanoseconds: int) -> bytes:
        """The entries of everything that is complete."""
        if self.pending:
            data = self.pending + data
        end = data.rfind(b"\n") + 1
        self.pending = data[end:]
        fixed = self._source + b"\x10" + varint(nanoseconds)
        if len(fixed) != self._room:
            self._frames.clear()
            self._room = len(fixed)
        out: list[bytes] = []
        lines = data[: end - 1].split(b"\n") if end else []
        for line in lines:
            size = len(line)
            if size > MAX_LINE or self._pieces:
                self._long(out, fixed, line, nanoseconds, ended=True)
                continue
            frame = self._frames.get(size)
            if frame is None:
                frame = self._frame(size, len(fixed))
            out += (frame[0], fixed, frame[1], line, frame[2])
        if len(self.pending) >= MAX_LINE:
            self._long(out, fixed, self.pending, nanoseconds, ended=False)
        return b"".join(out)

    def flush(self, nanoseconds: int) -> bytes:
        """The unfinished last line, at the stream's end."""
        if not self.pending:
            return b""
        text, self.pending = self.pending, b""
        out: list[bytes] = []
        self._piece(out, self._source + b"\x10" + varint(nanoseconds), text, nanoseconds, last=False)
        self._pieces = 0
        return b"".join(out)

    def _frame(self, size: int, fixed: int) -> tuple[bytes, bytes, bytes]:
        """What stands around a line of `size` bytes, when source and time take `fixed`."""
        head = b"\x1a" + varint(size) if size else b""
        length = (fixed + len(head) + size + len(self._attributes)).to_bytes(4, "big")
        if len(self._frames) >= _REMEMBERED:
            self._frames.clear()
        frame = self._frames[size] = (length, head, self._attributes + length)
        return frame

    def _long(self, out: list[bytes], fixed: bytes, line: bytes, nanoseconds: int, *, ended: bool) -> None:
        """A line, or the beginning of one, in pieces; what is left of a beginning is pending."""
        while len(line) > MAX_LINE or (not ended and len(line) >= MAX_LINE):
            cut = cut_of(line)
            self._piece(out, fixed, line[:cut], nanoseconds, last=False)
            line = line[cut:]
        if ended:
            self._piece(out, fixed, line, nanoseconds, last=True)
            self._pieces = 0
        else:
            self.pending = line

    def _piece(self, out: list[bytes], fixed: bytes, text: bytes, nanoseconds: int, *, last: bool) -> None:
        if not self._pieces:
            self._id = b"%064x" % nanoseconds
        self._pieces += 1
        about = (b"\x08\x01" if last else b"") + _field(0x12, self._id) + b"\x18" + varint(self._pieces)
        body = fixed + _field(0x1A, text) + b"\x20\x01" + _field(0x2A, about) + self._attributes
        length = len(body).to_bytes(4, "big")
        out += (length, body, length)


def decode(data: bytes) -> tuple[list[Batch], int]:
    """(batches, bytes consumed): all complete entries; raises Corrupt.

    Consecutive entries of one stream and time become one batch.
    """
    batches: list[Batch] = []
    position, end = 0, len(data)
    head, lines = b"", [b""]
    while position + 4 <= end:
        length = data[position : position + 4]
        size = int.from_bytes(length, "big")
        if size > MAX_ENTRY:
            raise Corrupt(f"log entry of {size} bytes")
        start = position + 4
        after = start + size
        if after + 4 > end:
            break
        if data[after : after + 4] != length:
            raise Corrupt("log entry whose two lengths differ")
        position = after + 4
        if head and data.startswith(head, start):
            line = _line(data, start + len(head), after)
            if line >= 0:
                lines += (data[line:after], b"\n")
                continue
        if batches:
            batches[-1].text = b"".join(lines)
        batch, head = _entry(data[start:after])
        batches.append(batch)
        lines = [batch.text]
    if batches:
        batches[-1].text = b"".join(lines)
    return batches, position


def _line(data: bytes, position: int, end: int) -> int:
    """Where the line begins of an entry that is nothing else behind its time; -1 when it is more."""
    if position == end:
        return end
    if data[position] != 0x1A:
        return -1
    length = data[position + 1]
    if length < 0x80:
        position += 2
    else:
        length, position = _number(data, position + 1)
    return position if position + length == end else -1


def _entry(body: bytes) -> tuple[Batch, bytes]:
    """One entry, and the bytes that an entry of the same stream and time begins with (b"" unless plain)."""
    stream, time, line, partial, last, plain = "", 0, b"", False, False, True
    attributes: dict[str, str] = {}
    head = b""
    for tag, value, start in _fields(body):
        match tag, value:
            case 1, bytes():
                stream = value.decode("utf-8", "replace")
            case 2, int():
                time = value
            case 3, bytes():
                line, head = value, body[:start]
            case 4, int():
                partial, plain = bool(value), False
            case 5, bytes():
                last = any(number == 1 and what for number, what, _ in _fields(value))
                plain = False
            case 6, bytes():
                pair = {number: what for number, what, _ in _fields(value) if isinstance(what, bytes)}
                attributes[pair.get(1, b"").decode("utf-8", "replace")] = pair.get(2, b"").decode(
                    "utf-8", "replace"
                )
                plain = False
            case _:
                plain = False
    text = line if partial and not last else line + b"\n"
    return Batch(stream, timestamp(time).decode(), text, attributes), head if plain else b""


def _fields(body: bytes) -> Iterator[tuple[int, int | bytes, int]]:
    """(number, value, where it starts) of a protobuf message with numbers and byte strings."""
    position = 0
    while position < len(body):
        start = position
        key, position = _number(body, position)
        value, position = _number(body, position)
        if key & 7 == 0:
            yield key >> 3, value, start
        elif key & 7 == 2 and position + value <= len(body):
            yield key >> 3, body[position : position + value], start
            position += value
        else:
            raise Corrupt("log entry that is no LogEntry message")


def _number(body: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(body) and shift < 70:
        byte = body[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise Corrupt("log entry with a number that does not end")


def boundary(encoded: bytes, start: int, room: int) -> int:
    """The end of the first entry, from `start` on, that ends at or after `start + room`."""
    position = start
    while position < len(encoded):
        position += 8 + int.from_bytes(encoded[position : position + 4], "big")
        if position - start >= room:
            break
    return position
