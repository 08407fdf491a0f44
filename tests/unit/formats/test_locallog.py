"""The `local` log: entries as Docker writes them, pieces of long lines, attributes, torn entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import Corrupt
from carboy.formats import locallog
from carboy.formats.jsonlog import MAX_LINE

TIME = 1_767_312_245_123_456_789


def test_an_entry_is_dockers() -> None:
    encoded = locallog.Encoder("stdout").feed(b"hi\n", TIME)
    time = locallog.varint(TIME)
    body = b"\x0a\x06stdout\x10" + time + b"\x1a\x02hi"
    assert len(time) == 9
    assert encoded == len(body).to_bytes(4, "big") + body + len(body).to_bytes(4, "big")


def test_lines_of_one_moment_are_one_batch() -> None:
    encoder = locallog.Encoder("stderr")
    encoded = encoder.feed(b"one\n\ntwo\nunfin", TIME) + encoder.feed(b"ished\n", TIME + 1)
    batches, used = locallog.decode(encoded)
    assert used == len(encoded)
    assert [(one.stream, one.text) for one in batches] == [
        ("stderr", b"one\n\ntwo\n"),
        ("stderr", b"unfinished\n"),
    ]
    assert batches[0].time == "2026-01-02T00:04:05.123456789Z"


def test_a_stream_without_a_last_newline_keeps_it_so() -> None:
    encoder = locallog.Encoder("stdout")
    encoded = encoder.feed(b"a\nno end", TIME) + encoder.flush(TIME)
    assert b"".join(one.text for one in locallog.decode(encoded)[0]) == b"a\nno end"


def test_attributes_are_kept() -> None:
    encoded = locallog.Encoder("stdout", {"b": "2", "a": "é"}).feed(b"x\ny\n", TIME)
    batches, _ = locallog.decode(encoded)
    assert [one.attributes for one in batches] == [{"a": "é", "b": "2"}] * 2
    assert b"".join(one.text for one in batches) == b"x\ny\n"


LONG = st.integers(MAX_LINE - 2, 3 * MAX_LINE).map(lambda size: b"x" * size)


@given(st.lists(st.binary(max_size=30) | st.just(b"\n") | LONG, max_size=8))
def test_whatever_is_written_is_read(pieces: list[bytes]) -> None:
    encoder = locallog.Encoder("stdout")
    encoded = b"".join(encoder.feed(piece, TIME + number) for number, piece in enumerate(pieces))
    encoded += encoder.flush(TIME + 99)
    batches, used = locallog.decode(encoded)
    assert used == len(encoded)
    assert b"".join(one.text for one in batches) == b"".join(pieces)


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_corrupt(data: bytes) -> None:
    try:
        _, used = locallog.decode(data)
    except Corrupt:
        return
    assert used <= len(data)


def test_an_unfinished_entry_waits() -> None:
    encoded = locallog.Encoder("stdout").feed(b"one\ntwo\n", TIME)
    half = len(encoded) // 2
    for cut in (half + 1, half + 4, len(encoded) - 1):
        batches, used = locallog.decode(encoded[:cut])
        assert (used, batches[0].text) == (half, b"one\n")


def test_lengths_that_differ_are_corrupt() -> None:
    encoded = bytearray(locallog.Encoder("stdout").feed(b"one\n", TIME))
    encoded[-1] ^= 1
    with pytest.raises(Corrupt):
        locallog.decode(bytes(encoded))


def test_a_boundary_is_the_end_of_an_entry() -> None:
    encoded = locallog.Encoder("stdout").feed(b"one\ntwo\nsix\n", TIME)
    size = len(encoded) // 3
    assert [locallog.boundary(encoded, 0, room) for room in (1, size, size + 1)] == [size, size, 2 * size]
