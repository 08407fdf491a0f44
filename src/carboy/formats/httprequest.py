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

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client asked for a switch to another protocol."""
        words = self.headers.get("connection", "").lower().split(",")
        return "upgrade" in (word.strip() for word in words) and "upgrade" in self.headers


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
    length = _body_length(headers, max_body)
    begin = end + 4
    if len(unsafe_data) < begin + length:
        return None
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
    body = bytes(unsafe_data[begin : begin + length])
    return Request(method, target, headers, body, keep_alive), begin + length


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


def _body_length(headers: dict[str, str], max_body: int) -> int:
    if "transfer-encoding" in headers:
        raise InvalidArgument("this request's body must have a Content-Length")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidArgument("malformed Content-Length")
    if int(text) > max_body:
        raise InvalidArgument(f"the request's body is larger than {max_body} bytes")
    return int(text)
