r"""Docker's json-file log: one JSON object per line, encoded and decoded many lines at a time.

    {"log":"text\n","stream":"stdout","attrs":{...},"time":"2026-01-02T03:04:05.123456789Z"}

A line of the program longer than 16 KiB becomes several objects, all but the last without
"\n".  All lines that one read gave carry the same time, so encoding a piece is one `replace`
of its newlines, and decoding such a run of lines is cutting off what they all end with.  Escapes
are Docker's: the bytes below 0x20, `"`, `\`, `<`, `>`, `&`, U+2028 and U+2029; each invalid byte is U+FFFD.
"""

from __future__ import annotations

import json

from carboy.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 16 * 1024

ESCAPES = {
    **{byte: b"\\u%04x" % byte for byte in (*range(0x20), *b"<>&")},
    ord("\r"): b"\\r",
    ord("\\"): b"\\\\",
    ord('"'): b'\\"',
}
"""How bytes that JSON (or HTML around it) would misread are written; newlines are apart."""

_PLAIN = bytes(byte for byte in range(0x80) if byte not in ESCAPES or byte == 0x0A)
_INVALID = {0xDC80 + low: "\\ufffd" for low in range(0x80)}
_SEPARATORS = {0x2028: "\\u2028", 0x2029: "\\u2029"}


def escape(text: bytes) -> bytes:
    """The inside of a JSON string for `text`, except that newlines are left alone."""
    special = text.translate(None, _PLAIN)
    if not special:
        return text
    present = set(special)
    if max(present) >= 0x80:
        decoded = text.decode("utf-8", "surrogateescape")
        # Backslashes first: those of the replacements below must stay single.
        decoded = decoded.replace("\\", "\\\\")
        present.discard(0x5C)
        if not _is_clean(decoded):
            decoded = decoded.translate(_INVALID)
        if "\u2028" in decoded or "\u2029" in decoded:
            decoded = decoded.translate(_SEPARATORS)
        text = decoded.encode()
    elif 0x5C in present:
        text = text.replace(b"\\", b"\\\\")
        present.discard(0x5C)
    for byte in present:
        if byte < 0x80:
            text = text.replace(bytes((byte,)), ESCAPES[byte])
    return text


def _is_clean(decoded: str) -> bool:
    try:
        decoded.encode()
    except UnicodeEncodeError:
        return False
    return True


class Encoder:
    """One stream of a container, cut into lines and encoded."""

    __slots__ = ("_head", "_middle", "pending")

    def __init__(self, stream: str, attributes: dict[str, str] | None = None) -> None:
        self._head = b'{"log":"'
        self._middle = b'","stream":"%s",' % stream.encode()
        if attributes:
            text = json.dumps(attributes, separators=(",", ":"), sort_keys=True)
            self._middle += b'"attrs":%s,' % text.encode()
        self.pending = b""

    def feed(self, data: bytes, time: bytes) -> bytes:
        """The log lines of everything that is complete; `time` is RFC3339Nano, for all of them."""
        if self.pending:
            data = self.pending + data
        end = data.rfind(b"\n") + 1
        self.pending = data[end:]
        tail = self._middle + b'"time":"' + time + b'"}\n'
        encoded = self._lines(data[:end] if end < len(data) else data, tail) if end else b""
        if len(self.pending) >= MAX_LINE:
            pieces = [encoded]
            while len(self.pending) >= MAX_LINE:
                cut = cut_of(self.pending)
                pieces += (self._head, escape(self.pending[:cut]), tail)
                self.pending = self.pending[cut:]
            encoded = b"".join(pieces)
        return encoded

    def flush(self, time: bytes) -> bytes:
        """The unfinished last line, at the stream's end."""
        if not self.pending:
            return b""
        text, self.pending = self.pending, b""
        return self._head + escape(text) + self._middle + b'"time":"' + time + b'"}\n'

    def _lines(self, text: bytes, tail: bytes) -> bytes:
        """`text` ends with a newline."""
        if _has_long_line(text):
            text, pieces = self._split_long(text, tail)
        else:
            pieces = []
        if text:
            body = escape(text).replace(b"\n", b"\\n" + tail + self._head)
            # The last replacement began a line that is not there.
            pieces += (self._head, memoryview(body)[: -len(self._head)])
        return b"".join(pieces)

    def _split_long(self, text: bytes, tail: bytes) -> tuple[bytes, list[bytes | memoryview]]:
        """Line by line, the slow way: a piece with a line of more than MAX_LINE."""
        pieces: list[bytes | memoryview] = []
        for line in text.splitlines(keepends=True) if b"\r" not in text else _lines_of(text):
            while len(line) > MAX_LINE:
                cut = cut_of(line)
                pieces += (self._head, escape(line[:cut]), tail)
                line = line[cut:]
            pieces += (self._head, escape(line[:-1]), b"\\n", tail)
        return b"", pieces


def _lines_of(text: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(text):
        end = text.index(b"\n", position) + 1
        yield text[position:end]
        position = end


def _has_long_line(text: bytes) -> bool:
    position = 0
    while len(text) - position > MAX_LINE:
        position = text.rfind(b"\n", position, position + MAX_LINE) + 1
        if not position:
            return True
    return False


def cut_of(line: bytes) -> int:
    """Where to cut a long line: at MAX_LINE, but not inside a character."""
    cut = MAX_LINE
    while cut > MAX_LINE - 4 and cut < len(line) and line[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut if cut > MAX_LINE - 4 else MAX_LINE


class Batch:
    """Consecutive lines with one stream and one time; `text` is what the program wrote."""

    __slots__ = ("attributes", "stream", "text", "time")

    def __init__(self, stream: str, time: str, text: bytes, attributes: dict[str, str] | None = None) -> None:
        self.stream = stream
        self.time = time
        self.text = text
        self.attributes = attributes or {}

    def __repr__(self) -> str:
        return f"Batch({self.stream!r}, {self.time!r}, {self.text[:60]!r})"


BLOCK = 96 * 1024
"""Bytes that are cut into lines at a time: they should stay in the processor's cache."""

_HEAD = b'{"log":"'
_MIDDLE = b'\\n","stream":"'
"""Behind the text of a whole line; cannot be in a text, whose quotes are escaped."""


def decode(data: bytes, *, limit: int = 1 << 30) -> tuple[list[Batch], int]:
    """(batches, bytes consumed): all complete lines; raises Corrupt for a line that is no JSON object.

    limit: the longest line accepted while its end is not there yet.
    """
    batches: list[Batch] = []
    end = data.rfind(b"\n") + 1
    if len(data) - end > limit:
        raise Corrupt(f"log line longer than {limit} bytes")
    position = 0
    while position < end:
        border = data.rfind(b"\n", position, min(position + BLOCK, end)) + 1
        border = border or data.index(b"\n", position) + 1
        _block(data[position : border - 1].split(b"\n"), batches)
        position = border
    return batches, end


def _block(lines: list[bytes], batches: list[Batch]) -> None:
    index, count = 0, len(lines)
    while index < count:
        first = lines[index]
        middle = first.find(_MIDDLE) if first.startswith(_HEAD) else -1
        if middle < 0:
            batches.append(_line(first))
            index += 1
            continue
        tail = first[middle:]
        stop = index + 1
        while stop < count and lines[stop].endswith(tail) and lines[stop].startswith(_HEAD):
            stop += 1
        batches.append(_run(lines[index:stop], tail))
        index = stop


def _run(lines: list[bytes], tail: bytes) -> Batch:
    """Lines that end alike: everything but their texts is read once."""
    begin, cut = len(_HEAD), -len(tail)
    texts = [line[begin:cut] for line in lines]
    payload = b"\n".join(texts)
    if b"\\" in payload:
        text = b"\\n".join(texts)
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            # The last text ends in a backslash and an n: not a newline after all.
            last = _line(lines[-1])
            if len(lines) > 1:
                before = _run(lines[:-1], tail)
                last.text = before.text + last.text
            return last
        payload = _unescape(text)
    stream, time, attributes = _about(tail)
    return Batch(stream, time, payload + b"\n", attributes)


def _about(tail: bytes) -> tuple[str, str, dict[str, str] | None]:
    """Stream, time and attributes of what stands behind a text."""
    words = tail.split(b'"')
    if len(words) == 10 and words[6] == b"time" and b"\\" not in tail[2:]:
        return words[4].decode(), words[8].decode(), None
    fields = _object(_HEAD + tail)
    return str(fields.get("stream", "")), str(fields.get("time", "")), _attributes(fields)


def _unescape(text: bytes) -> bytes:
    try:
        decoded = json.loads(b'"' + text + b'"')
    except ValueError as error:
        raise Corrupt(f"log file: bad line {text[:80]!r}: {error}") from error
    return _bytes_of(decoded)


def _bytes_of(text: object) -> bytes:
    return str(text).encode("utf-8", "replace")


def _line(line: bytes) -> Batch:
    fields = _object(line)
    return Batch(
        str(fields.get("stream", "")),
        str(fields.get("time", "")),
        _bytes_of(fields.get("log", "")),
        _attributes(fields),
    )


def _attributes(fields: dict[str, object]) -> dict[str, str] | None:
    attributes = fields.get("attrs")
    if not isinstance(attributes, dict):
        return None
    return {str(key): str(value) for key, value in attributes.items()}


def _object(line: bytes) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise Corrupt(f"log file: bad line {line[:80]!r}: {error}") from error
    if not isinstance(fields, dict):
        raise Corrupt(f"log file: not a JSON object: {line[:80]!r}")
    return fields


def timestamp(nanoseconds: int) -> bytes:
    """RFC3339Nano in UTC, always with nine digits: lines of one length sort and decode faster."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    days, second = divmod(seconds, 86400)
    year, month, day = civil(days)
    return b"%04d-%02d-%02dT%02d:%02d:%02d.%09dZ" % (
        *(year, month, day),
        *(second // 3600, second // 60 % 60, second % 60, fraction),
    )


def civil(days: int) -> tuple[int, int, int]:
    """(year, month, day) of the days since 1970-01-01 in the proleptic Gregorian calendar.

    Years are counted from March, so that the leap day ends a year; eras are of 400 years.
    """
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + era * 400 + (month <= 2), month, day
