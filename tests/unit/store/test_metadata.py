"""The metadata database: transactions, threads, damage, versions."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from carboy.errors import Corrupt, Internal, Unavailable, Unsupported
from carboy.store.metadata import Database


def put(db: Database, key: str, value: str) -> None:
    with db.write() as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))


def get(db: Database, key: str) -> str | None:
    with db.read() as connection:
        row = connection.execute("SELECT value FROM settings WHERE key=?", (key,)).fetchone()
    return None if row is None else str(row[0])


def everything_of(path: str) -> list[tuple[str, str]]:
    db = Database(path)
    try:
        with db.read() as connection:
            return connection.execute("SELECT * FROM settings").fetchall()
    finally:
        db.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.sqlite")


def test_what_is_written_is_there_after_reopening(path: str) -> None:
    db = Database(path)
    put(db, "a", "1")
    db.close()
    db = Database(path)
    assert get(db, "a") == "1"
    db.close()


def test_an_exception_rolls_everything_back(path: str) -> None:
    db = Database(path)
    with pytest.raises(ValueError), db.write() as connection:
        connection.execute("INSERT INTO settings VALUES ('a', '1')")
        raise ValueError
    assert get(db, "a") is None
    put(db, "a", "2")
    assert get(db, "a") == "2"
    db.close()


def test_reading_inside_a_write_sees_it(path: str) -> None:
    db = Database(path)
    with db.write() as connection:
        connection.execute("INSERT INTO settings VALUES ('a', '1')")
        assert get(db, "a") == "1"
    db.close()


def test_a_write_inside_a_write_is_a_bug(path: str) -> None:
    db = Database(path)
    with db.write(), pytest.raises(Internal), db.write():
        pass
    db.close()


def test_only_the_owner_may_read_it(path: str) -> None:
    db = Database(path)
    put(db, "a", "1")
    for name in (path, path + "-wal", path + "-shm"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    db.close()


def test_a_taken_name_is_an_integrity_error(path: str) -> None:
    db = Database(path)
    statement = "INSERT INTO containers VALUES (?, 'web', 0, x'')"
    with db.write() as connection:
        connection.execute(statement, ("1",))
    with pytest.raises(sqlite3.IntegrityError), db.write() as connection:
        connection.execute(statement, ("2",))
    db.close()


def test_a_tag_needs_its_image(path: str) -> None:
    db = Database(path)
    with pytest.raises(sqlite3.IntegrityError), db.write() as connection:
        connection.execute("INSERT INTO tags VALUES ('x', 'sha256:none', 0)")
    db.close()


def test_threads_count_together_without_losing_one(path: str) -> None:
    db = Database(path)
    put(db, "n", "0")

    def count() -> None:
        for _ in range(20):
            with db.write(durable=False) as connection:
                value = int(connection.execute("SELECT value FROM settings WHERE key='n'").fetchone()[0])
                connection.execute("UPDATE settings SET value=?", (str(value + 1),))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(db, "n") == "80"
    db.close()


def test_a_file_that_is_no_database_is_corrupt(path: str) -> None:
    Path(path).write_bytes(b"this is not a database" * 300)
    with pytest.raises(Corrupt, match="is damaged"):
        Database(path)


def test_a_damaged_page_is_corrupt(path: str) -> None:
    db = Database(path)
    for number in range(500):
        put(db, f"key{number}", "x" * 200)
    db.close()
    data = bytearray(Path(path).read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    Path(path).write_bytes(data)
    with pytest.raises(Corrupt):
        everything_of(path)


def test_a_newer_version_is_refused(path: str) -> None:
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Unsupported, match="newer Carboy"):
        Database(path)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        Database(str(tmp_path / "missing" / "db.sqlite"))
