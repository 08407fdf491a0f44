"""HTTP/1.1 as a client speaks it: requests to bytes, bytes to responses; no input or output.

    request_head(...) ──▶ bytes
    bytes ──▶ ResponseReader.feed() ──▶ response head, then body bytes, then `complete`

The command line's latency is made of imports: this codec needs nothing but the language.
Bodies end by Content-Length, by chunks (RFC 9112 section 7.1) or by the end of the
connection; after 101 (or the older 200 of a hijacked call) the rest belongs to another
protocol and is left in `take_rest`.
"""

from __future__ import annotations

MAX_HEAD = 64 * 1024
MAX_CHUNK_LINE = 1024

NO_BODY = (204, 304)


class ProtocolError(Exception):
    """The peer does not speak HTTP/1.1 as we understand it."""


def request_head(
    method: str,
    target: str,
    *,
    host: str = "carboy",
    headers: tuple[tuple[str, str], ...] = (),
    length: int | None = None,
    chunked: bool = False,
) -> bytes:
    """The bytes of a request line and its headers."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "User-Agent: Carboy-Client"]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(f"Content-Length: {length}")
    for name, value in headers:
        lines.append(f"{name}: {value}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or "\0" in text:
        raise ProtocolError(f"a line break inside a header of {method} {target!r}")
    return text.encode("utf-8") + b"\r\n\r\n"


def chunk(data: bytes | memoryview) -> bytes:
    """One chunk of a chunked body."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))


LAST_CHUNK = b"0\r\n\r\n"

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/:@,")


def quote(text: str) -> str:
    """Percent-encode a path segment or query value (RFC 3986); `/` is kept."""
    raw = text.encode("utf-8", "surrogateescape")
    if _PLAIN.issuperset(raw):
        return text
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)


def query(pairs: tuple[tuple[str, str], ...]) -> str:
    """`?a=b&c=d`, or nothing for no pairs."""
    if not pairs:
        return ""
    return "?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)


class ResponseReader:
    """Reads one response from bytes fed to it; start a new one for the next response.

    `status` is 0 until the head is whole.  `feed` returns the body bytes that became known.
    With `hijack`, what follows a 200 is another protocol too, whatever the head says.
    """

    def __init__(self, method: str = "GET", *, hijack: bool = False) -> None:
        self.method = method
        self._hijack = hijack
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.complete = False
        self.upgraded = False
        self.keep_alive = True
        self._buffer = bytearray()
        self._remaining: int | None = 0  # bytes of body or chunk still to come; None: until end of file
        self._chunked = False
        self._after_chunk = False
        self._trailers = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the connection; `b""` means that it ended."""
        if not data:
            self._end_of_file()
            return b""
        if self.upgraded:
            self._buffer += data
            return b""
        if self._chunked or not self.status:
            self._buffer += data
            if not self.status and (not self._read_head() or self.upgraded):
                return b""
            if self._chunked:
                return self._read_chunks()
            data = self.take_rest()
        return self._read_plain(data)

    def take_rest(self) -> bytes:
        """Bytes past this response (or of the upgraded protocol), taken out."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _end_of_file(self) -> None:
        if self.complete or self.upgraded:
            return
        if self.status and self._remaining is None and not self._chunked:
            self.complete = True
            return
        what = "a response" if not self.status else "the whole response body"
        raise ProtocolError(f"the server closed the connection before {what} arrived")

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise ProtocolError(f"the response head is longer than {MAX_HEAD} bytes")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not _is_number(parts[1], 10):
            raise ProtocolError(f"not an HTTP response: {lines[0][:60]!r}")
        status = int(parts[1])
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ProtocolError(f"a malformed response header: {line[:60]!r}")
            self.headers[name.lower()] = value.strip()
        if 100 <= status < 200 and status != 101:
            self.headers.clear()
            return self._read_head()
        self.status = status
        self.reason = parts[2] if len(parts) > 2 else ""
        self._choose_framing(parts[0])
        return True

    def _choose_framing(self, version: str) -> None:
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection if version != "HTTP/1.0" else "keep-alive" in connection
        if self.status == 101 or (self._hijack and self.status == 200):
            self.upgraded = True
        elif self.method == "HEAD" or self.status in NO_BODY:
            self.complete = True
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._chunked = True
        elif "content-length" in self.headers:
            length = self.headers["content-length"]
            if not _is_number(length, 10):
                raise ProtocolError(f"a malformed Content-Length: {length[:60]!r}")
            self._remaining = int(length)
            self.complete = self._remaining == 0
        else:
            self._remaining = None
            self.keep_alive = False

    def _read_plain(self, data: bytes) -> bytes:
        if self._remaining is None:
            return data
        body = data[: self._remaining]
        self._buffer += data[self._remaining :]
        self._remaining -= len(body)
        self.complete = self._remaining == 0
        return body

    def _read_chunks(self) -> bytes:
        pieces: list[bytes] = []
        buffer = self._buffer
        while not self.complete:
            if self._remaining:
                piece = bytes(buffer[: self._remaining])
                if not piece:
                    break
                del buffer[: len(piece)]
                self._remaining -= len(piece)
                self._after_chunk = self._remaining == 0
                pieces.append(piece)
                continue
            end = buffer.find(b"\r\n")
            if end < 0 or end > MAX_CHUNK_LINE:
                if len(buffer) > MAX_CHUNK_LINE:
                    raise ProtocolError("a chunk header is too long")
                break
            line = buffer[:end].decode("latin-1")
            del buffer[: end + 2]
            self._read_chunk_line(line)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_chunk_line(self, line: str) -> None:
        if self._after_chunk:
            if line:
                raise ProtocolError("a chunk does not end where its length says")
            self._after_chunk = False
        elif self._trailers:
            self.complete = not line
        else:
            size = line.partition(";")[0].strip()
            if not _is_number(size, 16) or len(size) > 15:
                raise ProtocolError(f"a malformed chunk length: {line[:60]!r}")
            self._remaining = int(size, 16)
            self._trailers = self._remaining == 0


def _is_number(text: str, base: int) -> bool:
    digits = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    return bool(text) and all(character in digits for character in text)
