"""A log's files as a reader sees them that is slower than rotations: each line once, in order."""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.engine.logfiles import LogFiles, Position
from carboy.runtime.monitor import compress
from carboy.runtime.monitor.log import FileLog, JsonFile, LocalFile

TIME = 1_767_312_245_000_000_000
DRIVERS = [JsonFile, LocalFile]


class Writer:
    """A log that numbered lines are written to."""

    def __init__(self, kind: type[JsonFile] | type[LocalFile], folder: Path, **options: int) -> None:
        name = "logs/container.log" if kind is LocalFile else "x-json.log"
        self.path = str(folder / name)
        self.log: FileLog = kind(
            self.path,
            max_size=options.get("max_size", 0),
            max_file=options.get("max_file", 1),
            compress=bool(options.get("compress")),
        )
        self.numbers = itertools.count()
        self.written = 0

    def write(self, lines: int) -> None:
        for number in itertools.islice(self.numbers, lines):
            self.log.write(1 + number % 2, b"line %d\n" % number, number)
            self.written += 1

    def close(self) -> None:
        self.log.finish(0)


def numbers(files: LogFiles) -> Iterator[int]:
    while (batches := files.read()) is not None:
        for batch in batches:
            for line in batch.text.splitlines():
                yield int(line.split()[1])


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize("compress", [False, True])
def test_all_files_are_read_in_order(tmp_path: Path, kind: type[JsonFile], compress: bool) -> None:
    writer = Writer(kind, tmp_path, max_size=1500, max_file=4, compress=compress)
    writer.write(300)
    writer.close()
    names = sorted(name for name in os.listdir(os.path.dirname(writer.path)))
    assert len(names) == 4
    assert sum(name.endswith(".gz") for name in names) == (3 if compress else 0)
    files = LogFiles(writer.path, growing=False)
    found = list(numbers(files))
    files.close()
    assert found == list(range(found[0], 300))
    assert len(found) > 50


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize("compress", [False, True])
def test_a_slow_reader_misses_nothing(tmp_path: Path, kind: type[JsonFile], compress: bool) -> None:
    writer = Writer(kind, tmp_path, max_size=3000, max_file=6, compress=compress)
    writer.write(10)
    files = LogFiles(writer.path, growing=True)
    found = list(numbers(files))
    assert found == list(range(10))
    for burst in (1, 100, 3, 90, 90):  # up to three rotations between two looks
        writer.write(burst)
        found += numbers(files)
        assert found == list(range(writer.written))
    files.close()
    writer.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_reader_in_the_middle_of_a_file_that_is_compressed_goes_on(
    tmp_path: Path, kind: type[JsonFile]
) -> None:
    writer = Writer(kind, tmp_path, max_size=3000, max_file=6, compress=1)
    writer.write(10)
    files = LogFiles(writer.path, growing=True)
    first = files.read()
    writer.write(150)
    writer.close()
    text = b"".join(batch.text for batch in first or [])
    assert [int(line.split()[1]) for line in text.splitlines()] + list(numbers(files)) == list(range(160))
    files.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_the_end_is_where_the_log_ended(tmp_path: Path, kind: type[JsonFile]) -> None:
    writer = Writer(kind, tmp_path)
    writer.write(5)
    files = LogFiles(writer.path, growing=False)
    writer.write(5)
    assert list(numbers(files)) == list(range(5))
    files.close()
    writer.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_reading_up_to_a_place(tmp_path: Path, kind: type[JsonFile]) -> None:
    writer = Writer(kind, tmp_path, max_size=2000, max_file=9)
    writer.write(5)
    files = LogFiles(writer.path, growing=True)
    found = list(numbers(files))
    writer.write(50)
    place = writer.log.position()
    writer.write(50)
    files.stop_at(Position(**place))
    assert found + list(numbers(files)) == list(range(55))
    files.close()
    writer.close()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_place_in_one_of_several_files_that_had_one_inode(tmp_path: Path, which: int) -> None:
    """The inode of a file that was compressed goes to a new one at once: found as lines told twice."""
    path = tmp_path / "x-json.log"
    lines = [b'{"log":"line %d\\n","stream":"stdout","time":"2026-01-02T00:04:05Z"}\n' % n for n in range(3)]
    path.write_bytes(lines[2])
    inode = path.stat().st_ino
    os.utime(path, ns=(TIME + 2, TIME + 2))
    for number in (0, 1):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(lines[number]) + packer.flush()
        end = zlib.crc32(lines[number]).to_bytes(4, "little") + len(lines[number]).to_bytes(4, "little")
        (tmp_path / f"x-json.log.{2 - number}.gz").write_bytes(
            compress.header(inode, TIME + number) + body + end
        )
    files = LogFiles(str(path), growing=True)
    files.stop_at(Position(inode, len(lines[which]), TIME + which))
    assert list(numbers(files)) == list(range(which + 1))
    files.close()


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize("lines", [0, 1, 7, 100, 150, 5000])
def test_the_last_lines(tmp_path: Path, kind: type[JsonFile], lines: int) -> None:
    writer = Writer(kind, tmp_path, max_size=4000, max_file=9, compress=1)
    writer.write(150)
    writer.close()
    files = LogFiles(writer.path, growing=False)
    files.skip_to_tail(lines)
    assert list(numbers(files)) == list(range(max(0, 150 - lines), 150))
    files.close()


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_file_that_starts_again_is_read_again(tmp_path: Path, kind: type[JsonFile]) -> None:
    writer = Writer(kind, tmp_path, max_size=1500, max_file=1)
    writer.write(5)
    files = LogFiles(writer.path, growing=True)
    assert list(numbers(files)) == list(range(5))
    writer.write(1)
    before = os.stat(writer.path).st_size
    while os.stat(writer.path).st_size >= before or writer.written < 10:
        before = os.stat(writer.path).st_size
        list(numbers(files))
        writer.write(1)
    assert list(numbers(files)) == [writer.written - 1]
    files.close()
    writer.close()


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    writer = Writer(JsonFile, tmp_path)
    writer.write(2)
    with open(writer.path, "ab") as file:
        file.write(b'{"log":"to\n')
    writer.write(2)
    files = LogFiles(writer.path, growing=False)
    assert list(numbers(files)) == [0, 1, 2, 3]
    files.close()
    writer.close()


def test_a_damaged_archive_gives_what_there_is(tmp_path: Path) -> None:
    writer = Writer(LocalFile, tmp_path, max_size=2000, max_file=3, compress=1)
    writer.write(90)
    writer.close()
    archive = Path(f"{writer.path}.1.gz")
    archive.write_bytes(archive.read_bytes()[:60])
    files = LogFiles(writer.path, growing=False)
    assert list(numbers(files))[-1] == 89
    files.close()


@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.parametrize("torn", [b"", b"\0" * 100, 1, 3, 20, -5])
def test_an_entry_that_a_dead_monitor_tore_hides_nothing_of_the_next_run(
    tmp_path: Path, kind: type[JsonFile], torn: bytes | int
) -> None:
    writer = Writer(kind, tmp_path)
    writer.write(20)
    writer.close()
    entries = Path(writer.path).read_bytes()
    with open(writer.path, "ab") as file:
        file.write(torn if isinstance(torn, bytes) else entries[: len(entries) // 20][:torn])
    later = Writer(kind, tmp_path)
    later.numbers = itertools.count(20)
    later.write(5)
    later.close()
    for tail in (None, 7):
        files = LogFiles(writer.path, growing=False)
        if tail is not None:
            files.skip_to_tail(tail)
        found = list(numbers(files))
        files.close()
        assert found == list(range(25))[-len(found) :]
        assert len(found) >= (25 if tail is None else 6)


@pytest.mark.parametrize("kind", DRIVERS)
def test_nothing_but_a_torn_entry_is_no_log(tmp_path: Path, kind: type[JsonFile]) -> None:
    writer = Writer(kind, tmp_path)
    writer.close()
    Path(writer.path).write_bytes(b"\0\0\0")
    later = Writer(kind, tmp_path)
    later.write(2)
    later.close()
    files = LogFiles(writer.path, growing=False)
    assert list(numbers(files)) == [0, 1]
    files.close()


def test_a_compressor_that_outlives_its_monitor_leaves_a_newer_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.1"
    path.write_bytes(b"old\n")
    write = compress._write

    def rotate_meanwhile(target: int, data: bytes) -> None:
        monkeypatch.setattr(compress, "_write", write)
        path.rename(tmp_path / "log.2")
        path.write_bytes(b"newer\n")
        write(target, data)

    monkeypatch.setattr(compress, "_write", rotate_meanwhile)
    compress.compress(str(path))
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {
        "log.1": b"newer\n",
        "log.2": b"old\n",
    }
    compress.compress(str(path))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log.1.gz", "log.2"]


def test_two_compressors_do_not_write_to_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.1"
    path.write_bytes(b"old\n")
    write = compress._write

    def begin_another(target: int, data: bytes) -> None:
        monkeypatch.setattr(compress, "_write", write)
        path.rename(tmp_path / "log.2")
        path.write_bytes(b"newer\n")
        compress.compress(str(path))
        path.write_bytes(b"newest\n")
        write(target, data)

    monkeypatch.setattr(compress, "_write", begin_another)
    compress.compress(str(path))
    assert gzip.decompress((tmp_path / "log.1.gz").read_bytes()) == b"newer\n"
    assert path.read_bytes() == b"newest\n"


def test_nothing_was_ever_written(tmp_path: Path) -> None:
    for growing in (False, True):
        files = LogFiles(str(tmp_path / "none" / "container.log"), growing=growing)
        files.skip_to_tail(3)
        assert files.read() is None
        files.close()
