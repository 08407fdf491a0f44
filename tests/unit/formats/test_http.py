"""The HTTP codec: every framing, however the bytes are cut."""

from __future__ import annotations

import pytest

from carboy.formats import http

CASES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\n",
        b"hello!",
    ),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("wire", "body"), CASES)
def test_a_body_is_the_same_however_it_arrives(wire: bytes, body: bytes, step: int) -> None:
    reader = http.ResponseReader()
    got = b"".join(reader.feed(wire[at : at + step]) for at in range(0, len(wire), step))
    assert got == body
    assert reader.complete
    assert reader.keep_alive


def test_what_follows_a_response_is_kept() -> None:
    for wire, _body in CASES:
        reader = http.ResponseReader()
        reader.feed(wire + b"NEXT")
        assert reader.take_rest() == b"NEXT"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = http.ResponseReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc") == b"abc"
    before = reader.complete
    reader.feed(b"")
    assert (before, reader.complete, reader.keep_alive) == (False, True, False)


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 UPGRADED\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_after_a_hijack_the_rest_is_another_protocol(head: bytes) -> None:
    reader = http.ResponseReader("POST", hijack=True)
    assert reader.feed(head + b"\x01\x00") == b""
    assert reader.feed(b"raw") == b""
    assert reader.upgraded
    assert reader.take_rest() == b"\x01\x00raw"


def test_head_requests_have_no_body() -> None:
    reader = http.ResponseReader("HEAD")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    assert reader.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnocolon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        b"x" * (http.MAX_HEAD + 1),
    ],
)
def test_nonsense_is_refused(wire: bytes) -> None:
    with pytest.raises(http.ProtocolError):
        http.ResponseReader().feed(wire)


@pytest.mark.parametrize(
    "wire", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", CASES[1][0][:60]]
)
def test_an_early_end_is_an_error(wire: bytes) -> None:
    reader = http.ResponseReader()
    if wire:
        reader.feed(wire)
    with pytest.raises(http.ProtocolError):
        reader.feed(b"")


def test_requests_are_written_and_line_breaks_refused() -> None:
    head = http.request_head("POST", "/x", headers=(("A", "b"),), length=3)
    assert head.startswith(b"POST /x HTTP/1.1\r\nHost: ")
    assert head.endswith(b"Content-Length: 3\r\nA: b\r\n\r\n")
    with pytest.raises(http.ProtocolError):
        http.request_head("GET", "/x", headers=(("A", "b\r\nC: d"),))


def test_quoting() -> None:
    assert http.quote("a b&c=d%/é") == "a%20b%26c%3Dd%25/%C3%A9"
    assert http.query((("a", "1 2"), ("b", "x"))) == "?a=1%202&b=x"
    assert http.query(()) == ""
    assert http.chunk(b"hello") == b"5\r\nhello\r\n"
