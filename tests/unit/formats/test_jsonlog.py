"""The bulk codec of json-file logs against the plain line-by-line way."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.errors import Corrupt
from carboy.formats import jsonlog, stdcopy

TIME = b"2026-01-02T03:04:05.000000006Z"

SAMPLES = (
    *(b"\n", b"a", b"\\", b'"', b"\\n", b"\r", b"<&>", b"\0", b"\x7f", "é€😀".encode(), "\u2028".encode()),
    *(b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"x" * 9000, b'{"log":"', b'"}\n'),
)

PIECES = st.lists(st.sampled_from(SAMPLES), max_size=30).map(b"".join)


def plain_text(line: bytes) -> str:
    """What a reader must get: each byte that is no UTF-8 is one U+FFFD."""
    decoded = line.decode("utf-8", "surrogateescape")
    return "".join("\ufffd" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in decoded)


@given(st.lists(PIECES, max_size=4))
@settings(max_examples=300, deadline=None)
def test_encoded_lines_read_back_as_plain_json_gives_them(chunks: list[bytes]) -> None:
    encoder = jsonlog.Encoder("stdout")
    encoded = b"".join(encoder.feed(chunk, TIME) for chunk in chunks) + encoder.flush(TIME)
    entries = [json.loads(line) for line in encoded.splitlines()] if encoded else []
    assert "".join(entry["log"] for entry in entries) == plain_text(b"".join(chunks))
    assert all(len(entry["log"].encode()) <= 3 * jsonlog.MAX_LINE + 1 for entry in entries)
    assert all(entry["log"].find("\n") in (-1, len(entry["log"]) - 1) for entry in entries)
    batches, consumed = jsonlog.decode(encoded)
    assert consumed == len(encoded)
    assert b"".join(batch.text for batch in batches).decode() == plain_text(b"".join(chunks))


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), PIECES, st.integers(0, 2)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_mixed_streams_and_times_decode_as_line_by_line(parts: list[tuple[str, bytes, int]]) -> None:
    encoders = {name: jsonlog.Encoder(name) for name in ("stdout", "stderr")}
    encoded = b"".join(encoders[name].feed(text, jsonlog.timestamp(at)) for name, text, at in parts)
    expected = [json.loads(line) for line in encoded.splitlines()] if encoded else []
    batches, _ = jsonlog.decode(encoded)
    for name in ("stdout", "stderr"):
        found = b"".join(batch.text for batch in batches if batch.stream == name)
        assert found.decode() == "".join(entry["log"] for entry in expected if entry["stream"] == name)


def test_the_shape_is_dockers() -> None:
    encoder = jsonlog.Encoder("stderr", {"b": "2", "a": "1"})
    assert encoder.feed(b'<\t"\n', TIME) == (
        b'{"log":"\\u003c\\u0009\\"\\n","stream":"stderr","attrs":{"a":"1","b":"2"},"time":"' + TIME + b'"}\n'
    )


def test_long_lines_are_cut_at_16_kib() -> None:
    encoder = jsonlog.Encoder("stdout")
    encoded = encoder.feed(b"x" * 40000 + b"\n", TIME)
    assert [len(json.loads(line)["log"]) for line in encoded.splitlines()] == [16384, 16384, 7233]


def test_an_unfinished_line_is_left_and_a_bad_one_refused() -> None:
    whole = jsonlog.Encoder("stdout").feed(b"a\n", TIME)
    batches, consumed = jsonlog.decode(whole + whole[:20])
    assert (len(batches), consumed) == (1, len(whole))
    with pytest.raises(Corrupt):
        jsonlog.decode(b"not json\n")


def test_lines_of_docker_itself_decode() -> None:
    line = b'{"log":"hi\\n","stream":"stdout","attrs":{"x":"y"},"time":"2026-01-02T03:04:05.1Z"}\n'
    (batch,), _ = jsonlog.decode(line)
    assert (batch.text, batch.attributes, batch.time) == (b"hi\n", {"x": "y"}, "2026-01-02T03:04:05.1Z")


@given(st.integers(0, 4 * 10**18))
def test_timestamps(nanoseconds: int) -> None:
    seconds = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    expected = seconds.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds % 10**9:09d}Z"
    assert jsonlog.timestamp(nanoseconds).decode() == expected


@given(st.lists(st.tuples(st.integers(1, 2), st.binary(min_size=1, max_size=50))), st.integers(1, 20))
def test_frames_survive_any_cutting(frames: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(stdcopy.frame(stream, payload) for stream, payload in frames)
    decoder = stdcopy.Decoder()
    found: list[tuple[int, bytes]] = []
    for start in range(0, len(data), step):
        found += decoder.feed(data[start : start + step])
    for stream in (1, 2):
        joined = b"".join(payload for number, payload in found if number == stream)
        assert joined == b"".join(payload for number, payload in frames if number == stream)
    with pytest.raises(Corrupt):
        stdcopy.Decoder().feed(b"\x09\0\0\0\0\0\0\1x")


def test_attributes_may_look_like_anything() -> None:
    attributes = {"stream": "x", "a\n": '","stream":"', "time": "t\\"}
    encoder = jsonlog.Encoder("stderr", attributes)
    encoded = encoder.feed(b'one\n\\n\n","stream":"stdout"\n', jsonlog.timestamp(0)) * 2
    batches, used = jsonlog.decode(encoded)
    assert used == len(encoded)
    assert [(one.stream, one.attributes) for one in batches] == [("stderr", attributes)] * len(batches)
    assert b"".join(one.text for one in batches) == b'one\n\\n\n","stream":"stdout"\n' * 2


def test_blocks_end_with_lines() -> None:
    encoder = jsonlog.Encoder("stdout")
    lines = b"".join(b"%d\n" % number for number in range(5000)) + b"x" * 16000 + b"\n"
    encoded = encoder.feed(lines, jsonlog.timestamp(0))
    assert len(encoded) > 3 * jsonlog.BLOCK
    assert b"".join(one.text for one in jsonlog.decode(encoded)[0]) == lines
