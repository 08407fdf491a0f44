"""Reading json-file logs: rotation, tail, since, timestamps, following."""

from __future__ import annotations

import json
import select
from pathlib import Path

from carboy.engine.logs import LogFile
from carboy.formats.dockerapi.streams import LogOptions
from carboy.formats.dockerapi.times import parse_rfc3339
from support.daemon import demultiplex


def line(number: int, stream: str = "stdout") -> str:
    time = f"2026-01-01T00:00:{number:02d}.000000000Z"
    return (
        json.dumps({"log": f"line {number}\n", "stream": stream, "time": time}, separators=(",", ":")) + "\n"
    )


def read_all(log: LogFile) -> dict[int, bytes]:
    data = b""
    while chunk := log.read():
        data += chunk
    log.close()
    return demultiplex(data)


def reader(path: Path, options: LogOptions | None = None) -> LogFile:
    return LogFile(str(path), options or LogOptions(), tty=False, alive=lambda: False)


def write(tmp_path: Path) -> Path:
    path = tmp_path / "x-json.log"
    (tmp_path / "x-json.log.2").write_text("".join(map(line, range(3))))
    (tmp_path / "x-json.log.1").write_text("".join(map(line, range(3, 6))))
    path.write_text("".join(map(line, range(6, 9))) + line(9, "stderr"))
    return path


def numbers(text: bytes) -> list[int]:
    return [int(part.rsplit(b" ", 1)[1]) for part in text.splitlines()]


def test_rotated_files_come_first(tmp_path: Path) -> None:
    streams = read_all(reader(write(tmp_path)))
    assert numbers(streams[1]) == list(range(9))
    assert numbers(streams[2]) == [9]


def test_tail_counts_over_files(tmp_path: Path) -> None:
    path = write(tmp_path)
    for count in range(12):
        streams = read_all(reader(path, LogOptions(tail=count)))
        found = numbers(streams[1]) + numbers(streams[2])
        assert found == list(range(10))[max(0, 10 - count) :]


def test_since_and_until(tmp_path: Path) -> None:
    options = LogOptions(
        since=parse_rfc3339("2026-01-01T00:00:02Z"), until=parse_rfc3339("2026-01-01T00:00:06.5Z")
    )
    assert numbers(read_all(reader(write(tmp_path), options))[1]) == [2, 3, 4, 5, 6]


def test_timestamps_on_every_line(tmp_path: Path) -> None:
    text = read_all(reader(write(tmp_path), LogOptions(timestamps=True)))[1]
    assert text.splitlines()[4] == b"2026-01-01T00:00:04.000000000Z line 4"
    assert len(text.splitlines()) == 9


def test_one_stream_only(tmp_path: Path) -> None:
    streams = read_all(reader(write(tmp_path), LogOptions(stdout=False)))
    assert streams == {1: b"", 2: b"line 9\n"}


def test_a_torn_line_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "x-json.log"
    path.write_text(line(1) + '{"log":"torn\n' + line(2))
    assert numbers(read_all(reader(path))[1]) == [1, 2]


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    assert read_all(reader(tmp_path / "x-json.log")) == {1: b"", 2: b""}


def test_following_sees_new_lines_rotation_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x-json.log"
    path.write_text(line(1))
    alive = True
    log = LogFile(str(path), LogOptions(follow=True), tty=True, alive=lambda: alive)

    def wait() -> None:
        assert select.select([log], [], [], 5)[0]

    assert log.read() == b"line 1\n"
    assert log.read() == b""
    with path.open("a") as file:
        file.write(line(2)[:20])
    wait()
    assert log.read() == b""
    with path.open("a") as file:
        file.write(line(2)[20:])
    wait()
    assert log.read() == b"line 2\n"
    path.rename(tmp_path / "x-json.log.1")
    path.write_text(line(3))
    wait()
    assert log.read() == b"line 3\n"
    assert log.read() == b""
    alive = False
    log.wake()
    wait()
    assert log.read() is None
    log.close()
