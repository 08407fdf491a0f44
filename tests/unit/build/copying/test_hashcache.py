"""The cache of file digests: what it keeps, and when it must not."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from carboy.build.copying.hashcache import STAMP, HashCache, is_settled, stamp_of

SECOND = 1_000_000_000


def record(ctime: int, mtime: int = 5) -> bytes:
    return STAMP.pack(1, 2, mtime, ctime) + bytes(32)


def kept(tmp_path: Path, path: bytes = b"/c") -> dict[bytes, bytes]:
    with HashCache(str(tmp_path)) as cache:
        return cache.directory(path, os.stat(tmp_path))


def keep(tmp_path: Path, records: dict[bytes, bytes], path: bytes = b"/c") -> None:
    with HashCache(str(tmp_path)) as cache:
        cache.keep(path, os.stat(tmp_path), records)


def test_records_come_back(tmp_path: Path) -> None:
    records = {b"one": record(1), b"\xff odd\n": record(2)}
    keep(tmp_path, records)
    assert kept(tmp_path) == records
    assert kept(tmp_path, b"/d") == {}


def test_another_directory_at_the_path_has_none(tmp_path: Path) -> None:
    keep(tmp_path, {b"one": record(1)})
    with HashCache(str(tmp_path)) as cache:
        assert cache.directory(b"/c", os.stat("/")) == {}


def test_loading_fetches_everything_below(tmp_path: Path) -> None:
    for path in (b"/c", b"/c/a", b"/c/a/b", b"/c0", b"/c-"):
        keep(tmp_path, {path.replace(b"/", b"-"): record(1)}, path)
    with HashCache(str(tmp_path)) as cache:
        cache.load(b"/c")
        for path in (b"/c", b"/c/a", b"/c/a/b", b"/c0", b"/c-"):
            assert list(cache.directory(path, os.stat(tmp_path))) == [path.replace(b"/", b"-")]


def test_a_young_file_is_not_settled() -> None:
    now = 100 * SECOND
    assert is_settled(record(now - SECOND + 1), now)
    assert not is_settled(record(now - SECOND // 20), now)
    assert not is_settled(record(now), now)
    assert not is_settled(record(now + 5 * SECOND), now), "changed in the future: the clock was set back"
    assert not is_settled(record(1, mtime=now - 5), now)


def test_whole_seconds_need_longer() -> None:
    now = 100 * SECOND + 7
    assert not is_settled(record(99 * SECOND), now)
    assert is_settled(record(97 * SECOND), now)


def test_any_change_changes_the_stamp(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    times = (1, 1)
    os.utime(file, ns=times)
    before = stamp_of(os.stat(file))
    time.sleep(0.02)
    file.write_text("two")
    os.utime(file, ns=times)
    assert os.stat(file).st_mtime_ns == 1
    assert stamp_of(os.stat(file)) != before


def test_a_damaged_file_is_thrown_away(tmp_path: Path) -> None:
    keep(tmp_path, {b"one": record(1)})
    (tmp_path / "digests.sqlite").write_bytes(b"no database at all" * 1000)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"digests.sqlite{suffix}").unlink(missing_ok=True)
    assert kept(tmp_path) == {}
    keep(tmp_path, {b"one": record(1)})
    assert kept(tmp_path) == {b"one": record(1)}


def test_a_busy_file_is_done_without(tmp_path: Path) -> None:
    keep(tmp_path, {b"one": record(1)})
    other = sqlite3.connect(tmp_path / "digests.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with HashCache(str(tmp_path), timeout=0.01) as cache:
            cache.keep(b"/d", os.stat(tmp_path), {b"two": record(1)})
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert kept(tmp_path) == {b"one": record(1)}


def test_no_place_to_write_is_no_error(tmp_path: Path) -> None:
    with HashCache(str(tmp_path / "missing")) as cache:
        cache.keep(b"/c", os.stat(tmp_path), {b"one": record(1)})
        assert cache.selection(b"key") is None


def test_torn_rows_are_not_believed(tmp_path: Path) -> None:
    keep(tmp_path, {b"one": record(1)})
    with HashCache(str(tmp_path)) as cache:
        cache.keep_selection(b"key", b"data")
    database = sqlite3.connect(tmp_path / "digests.sqlite", isolation_level=None)
    database.execute(
        "UPDATE directories SET records = substr(records, 1, 40) || x'ff' || substr(records, 42)"
    )
    database.execute("UPDATE selections SET data = x'00' || substr(data, 2)")
    database.close()
    assert kept(tmp_path) == {}
    with HashCache(str(tmp_path)) as cache:
        assert cache.selection(b"key") is None


def test_selections_come_back(tmp_path: Path) -> None:
    with HashCache(str(tmp_path)) as cache:
        assert cache.selection(b"key") is None
        cache.keep_selection(b"key", b"data")
    with HashCache(str(tmp_path)) as cache:
        assert cache.selection(b"key") == b"data"


def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    keep(tmp_path, {b"one": record(1)})
    assert (tmp_path / "digests.sqlite").stat().st_mode & 0o777 == 0o600


def test_only_local_filesystems_are_trusted(tmp_path: Path) -> None:
    fd = os.open("/proc", os.O_PATH)
    try:
        with HashCache(str(tmp_path)) as cache:
            assert not cache.trusts(fd, os.fstat(fd).st_dev)
    finally:
        os.close(fd)
