"""The intake: one pass, from streams, windows and writers; and how it ends when something goes wrong."""

from __future__ import annotations

import io
import os

import pytest

from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument
from carboy.store.intake import FileWindow, Intake

DATA = bytes(range(256)) * 300_000  # more than one piece


def test_a_stream_is_hashed_while_it_is_read(tmp_path: object) -> None:
    with Intake(str(tmp_path), size_limit=1 << 40) as intake:
        intake.fill(io.BytesIO(DATA))
        assert intake.read_at(len(DATA) - 10, 10) == DATA[-10:]
        assert intake.read_at(len(DATA), 10) == b""
        assert intake.finish() == (Digest.of(DATA), len(DATA))


def test_a_window_and_writes_give_the_same_digest(tmp_path: object) -> None:
    with open(f"{tmp_path}/source", "wb+") as source:
        source.write(b"12345" + DATA)
        source.flush()
        with Intake(str(tmp_path), size_limit=1 << 40) as intake:
            intake.fill(FileWindow(source.fileno(), 5, len(DATA)))
            assert intake.finish() == (Digest.of(DATA), len(DATA))
        with Intake(str(tmp_path), size_limit=1 << 40) as intake:
            intake.write(DATA[:3])
            intake.write_from(source.fileno(), 8, len(DATA) - 3)
            assert intake.finish() == (Digest.of(DATA), len(DATA))


def test_nothing_is_the_digest_of_nothing(tmp_path: object) -> None:
    with Intake(str(tmp_path), size_limit=1) as intake:
        assert intake.finish() == (Digest.of(b""), 0)


def test_a_window_beyond_its_file_is_corrupt(tmp_path: object) -> None:
    with open(f"{tmp_path}/source", "wb+") as source, Intake(str(tmp_path), size_limit=1 << 40) as intake:
        intake.fill(FileWindow(source.fileno(), 0, 100))
        with pytest.raises(Corrupt, match="ends 100 bytes early"):
            intake.finish()


def test_a_failure_reaches_who_waits(tmp_path: object) -> None:
    with Intake(str(tmp_path), size_limit=10) as intake:
        intake.fill(io.BytesIO(DATA))
        with pytest.raises(InvalidArgument):
            intake.read_at(0, 512)
        with pytest.raises(InvalidArgument):
            intake.finish()


def test_leaving_early_ends_the_threads(tmp_path: object) -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"x")
        os.close(write_end)
        with (
            open(read_end, "rb", buffering=0) as pipe,
            pytest.raises(KeyError),
            Intake(str(tmp_path), size_limit=9) as intake,
        ):
            intake.fill(pipe)
            raise KeyError
    finally:
        assert os.listdir(str(tmp_path)) != []  # removing the directory is the store's
