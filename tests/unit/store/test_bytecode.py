"""The headers of .pyc files, as a clamped layer needs them."""

from __future__ import annotations

import struct

import pytest

from carboy.store.bytecode import Bytecode, Source, earlier, source_of

EPOCH = 1_000_000


def header(recorded: int, *, flags: int = 0, size: int = 7) -> bytes:
    return b"\xa7\r\r\n" + struct.pack("<III", flags, recorded & 0xFFFFFFFF, size)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (b"a/__pycache__/b.cpython-311.pyc", b"a/b.py"),
        (b"a/__pycache__/b.cpython-311.opt-1.pyc", b"a/b.py"),
        (b"__pycache__/b.cpython-311.pyc", b"b.py"),
        (b"a/b.pyc", b"a/b.py"),
        (b"b.pyc", b"b.py"),
        (b"a/not__pycache__/b.pyc", b"a/not__pycache__/b.py"),
    ],
)
def test_sources(path: bytes, source: bytes) -> None:
    assert source_of(path) == source


@pytest.mark.parametrize(
    ("recorded", "source", "below", "written"),
    [
        (2_000_000, 2_000_000, None, EPOCH),  # fresh: as its source is clamped
        (500, 500, None, 500),  # fresh, and not clamped
        (2_000_000, 3_000_000, None, EPOCH - 1),  # stale: not to become fresh
        (EPOCH, 3_000_000, None, EPOCH - 1),  # stale, and would look fresh
        (400, 500, None, 400),  # stale, and stays so
        (2_000_000, None, 2_000_000, 2_000_000),  # the source is below, where times stay
        (2_000_000, None, None, EPOCH),  # no source at all: only for the same bytes
        (500, None, None, 500),
        (2_000_000 + (1 << 32), 2_000_000 + (1 << 32), None, EPOCH),
    ],
)
def test_times(recorded: int, source: int | None, below: int | None, written: int) -> None:
    sources = {b"a/b.py": Source(source, 7)} if source is not None else {}
    bytecode = Bytecode(EPOCH, sources, lambda path: below if path == b"a/b.py" else None)
    given = header(recorded)
    found = bytecode.header(b"a/__pycache__/b.cpython-311.pyc", given) or given
    assert found == header(written)


@pytest.mark.parametrize(
    "given", [b"", b"\xa7\r\r\n", header(2_000_000, flags=1), header(2_000_000, flags=3)]
)
def test_what_is_left_as_it_is(given: bytes) -> None:
    assert Bytecode(EPOCH, {b"b.py": Source(2_000_000, 7)}).header(b"b.pyc", given) == b""


def test_a_changed_source_does_not_look_like_its_old_bytecode() -> None:
    sources = {
        b"same.py": Source(2_000_000, 7),
        b"size.py": Source(2_000_000, 8),
        b"twice.py": Source(2_000_000, 7),
        b"old.py": Source(500, 7),
        b"hash.py": Source(2_000_000, 7),
        b"none.py": Source(2_000_000, 7),
    }
    below = {
        b"same.py": [header(EPOCH)],
        b"size.py": [header(EPOCH)],
        b"twice.py": [header(EPOCH - 1), header(EPOCH)],
        b"old.py": [header(500)],
        b"hash.py": [header(EPOCH, flags=3), b"short"],
    }
    times = earlier(sources, EPOCH, lambda path: below.get(path, []))
    assert times == {b"same.py": EPOCH - 1, b"twice.py": EPOCH - 2}
    bytecode = Bytecode(EPOCH, sources, earlier=times)
    assert bytecode.header(b"same.pyc", header(2_000_000)) == header(EPOCH - 1)
