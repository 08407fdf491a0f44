r"""Docker's json-file log: one JSON object per line, encoded and decoded many lines at a time.

    {"log":"text\n","stream":"stdout","attrs":{...},"time":"2026-01-02T03:04:05.123456789Z"}

A line of the program longer than 16 KiB becomes several objects, all but the last without
"\n".  All lines that one read gave carry the same time, so encoding a piece is one `replace`
of its newlines, and decoding such a run of lines is one `replace` back.  Escapes are Docker's:
the bytes below 0x20, `"`, `\`, `<`, `>`, `&`, U+2028 and U+2029; each invalid byte is U+FFFD.
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


RUN = 256 * 1024
"""Bytes looked at for one run of lines: bounds what a failed guess costs."""


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
        stop = data.index(b"\n", position) + 1
        run = _run(data, position, stop, end)
        if run is not None:
            batch, position = run
            batches.append(batch)
            continue
        # Mixed lines: the next RUN bytes one by one.
        border = min(position + RUN, end)
        while position < border:
            stop = data.index(b"\n", position) + 1
            batches.append(_line(data[position:stop]))
            position = stop
    return batches, end


def _run(data: bytes, position: int, stop: int, end: int) -> tuple[Batch, int] | None:
    """The run of lines that end like the first one; None if that guess fails."""
    middle = data.rfind(b'\\n","stream":"', position, stop)
    if middle < 0 or not data.startswith(b'{"log":"', position) or b'"attrs":' in data[middle:stop]:
        return None
    tail = data[middle:stop]
    separator = tail + b'{"log":"'
    last = _run_end(data, tail, stop, min(end, position + max(RUN, stop - position))) - len(tail)
    body = data[position + 8 : last]
    payload = body.replace(separator, b"\n")
    if (len(body) - len(payload)) // (len(separator) - 1) != payload.count(b"\n"):
        return None  # another kind of line in between
    if b"\\" in payload:
        text = body.replace(separator, b"\\n")
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            return None  # the text ends in a backslash and an n: not a newline after all
        payload = _unescape(text)
    fields = _object(b'{"log":"' + tail)
    return Batch(str(fields.get("stream", "")), str(fields.get("time", "")), payload + b"\n"), last + len(
        tail
    )


def _run_end(data: bytes, tail: bytes, stop: int, border: int) -> int:
    """The end of the last line before `border` that has the tail of the line that ends at `stop`.

    Lines of one moment stand together: growing steps, then halving, look at a few of them,
    where `rfind` would look at every byte.
    """
    low, step = stop, 4096
    while low < border:
        newline = data.find(b"\n", min(low + step, border - 1), border) + 1
        if not newline or not data.startswith(tail, newline - len(tail)):
            break
        low, step = newline, step * 2
    high = min(low + step, border)
    while high - low > len(tail):
        middle = (low + high) // 2
        newline = data.find(b"\n", middle, high) + 1
        if newline and data.startswith(tail, newline - len(tail)):
            low = newline
        else:
            high = middle
    return low


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
    attributes = fields.get("attrs")
    return Batch(
        str(fields.get("stream", "")),
        str(fields.get("time", "")),
        _bytes_of(fields.get("log", "")),
        {str(key): str(value) for key, value in attributes.items()} if isinstance(attributes, dict) else None,
    )


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
