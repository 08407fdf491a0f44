"""Single requests, whose end must be found to the byte: what follows belongs to a stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.errors import InvalidArgument
from carboy.formats.httprequest import MAX_BODY, parse_request

HEAD = b"POST /exec/1/start HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.binary(max_size=50))
def test_chunked_bodies_end_where_they_end(pieces: list[bytes], rest: bytes) -> None:
    whole = chunked(*pieces)
    for cut in (len(CHUNKED), len(whole) // 2, len(whole) - 1):
        assert parse_request(whole[: min(cut, len(whole) - 1)]) is None
    found = parse_request(whole + rest)
    assert found is not None
    assert (found[0].body, found[1]) == (b"".join(pieces), len(whole))


def test_extensions_of_chunks_are_ignored() -> None:
    found = parse_request(CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\nrest")
    assert found is not None
    assert found[0].body == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"2\r\nabc\r\n",
        CHUNKED + b"fffffffff\r\n",
        CHUNKED + b"1" * 300,
        CHUNKED + b"%x\r\n" % (MAX_BODY + 1),
        CHUNKED + b"0\r\nTrailer: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1),
    ],
)
def test_bodies_of_unclear_length_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_request(data)
