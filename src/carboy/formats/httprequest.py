"""A sans-IO reader of single HTTP/1.1 requests: for the few whose connection becomes a raw stream.

An ordinary HTTP parser takes what follows a request for another request; here the bytes
that follow are given back untouched.

    feed bytes ─▶ parse_request ─▶ None: more is needed
                                ─▶ Request, and the offset where it ends
"""

from __future__ import annotations

from dataclasses import dataclass

from carboy.errors import InvalidArgument

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, repeated ones joined by commas."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


def parse_request(
    unsafe_data: bytes | bytearray, *, max_head: int = MAX_HEAD, max_body: int = MAX_BODY
) -> tuple[Request, int] | None:
    """The request that `unsafe_data` begins with and where it ends, or None while it is unfinished.

    Raises InvalidArgument for what is not HTTP/1.x, is too large, or is of unclear length.
    """
    end = unsafe_data.find(b"\r\n\r\n", 0, max_head)
    if end < 0:
        if len(unsafe_data) >= max_head:
            raise InvalidArgument(f"the request's head is larger than {max_head} bytes")
        return None
    first, *lines = bytes(unsafe_data[:end]).split(b"\r\n")
    method, target, version = _request_line(first)
    headers = _headers(lines)
    read = _read_body(headers, unsafe_data, end + 4, max_body)
    if read is None:
        return None
    body, end = read
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    return Request(method, target, headers, body, keep_alive), end


def _request_line(line: bytes) -> tuple[str, str, str]:
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise InvalidArgument("malformed HTTP request line")
    return words[0], words[1], words[2]


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name) or b"\0" in value or b"\n" in value:
            raise InvalidArgument("malformed HTTP header")
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _read_body(
    headers: dict[str, str], data: bytes | bytearray, begin: int, max_body: int
) -> tuple[bytes, int] | None:
    """The body and where it ends, or None while it is unfinished."""
    coding = headers.get("transfer-encoding")
    if coding is not None:
        # Both together are how requests are smuggled past a parser that believes the other one.
        if coding.strip().lower() != "chunked" or "content-length" in headers:
            raise InvalidArgument("malformed Transfer-Encoding")
        return _read_chunks(data, begin, max_body)
    length = _body_length(headers, max_body)
    if len(data) < begin + length:
        return None
    return bytes(data[begin : begin + length]), begin + length


_HEX = frozenset(b"0123456789abcdefABCDEF")
_LONGEST_SIZE = 256
"""Of a chunk's first line, extensions included."""


def _read_chunks(data: bytes | bytearray, at: int, max_body: int) -> tuple[bytes, int] | None:
    """RFC 9112, section 7.1; trailers are refused."""
    body = bytearray()
    while True:
        line_end = data.find(b"\r\n", at, at + _LONGEST_SIZE)
        if line_end < 0:
            if len(data) - at >= _LONGEST_SIZE:
                raise InvalidArgument("malformed chunk")
            return None
        digits = bytes(data[at:line_end]).partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > 8 or not _HEX.issuperset(digits):
            raise InvalidArgument("malformed chunk")
        size = int(digits, 16)
        if len(body) + size > max_body:
            raise InvalidArgument(f"the request's body is larger than {max_body} bytes")
        at = line_end + 2
        if len(data) < at + size + 2:
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise InvalidArgument("malformed chunk")
        body += data[at : at + size]
        at += size + 2
        if not size:
            return bytes(body), at


def _body_length(headers: dict[str, str], max_body: int) -> int:
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidArgument("malformed Content-Length")
    if int(text) > max_body:
        raise InvalidArgument(f"the request's body is larger than {max_body} bytes")
    return int(text)
