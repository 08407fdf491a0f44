"""Digests of files that have not changed since they were read: a new scan reads nothing.

    directory's path ──▶ names, and for each: inode, size, mtime, ctime (the stamp), sha256

The kernel sets ctime at every change and nobody else can, so an unchanged stamp means unchanged
contents; except that a change within the same tick of the clock leaves it as it is.  So nothing is
kept of a file that was changed shortly before it was read: within 100 ms, ten ticks of the slowest kernel,
or 2 s where times are whole seconds (ext4 with small inodes).  Nor of filesystems whose inode numbers or
times may be somebody else's word (network, FUSE).  Losing the whole cache costs reading the files
once more: it is a database of its own, not synced, and thrown away when damaged.

Immutable trees (layers) are remembered whole: by the layers and what was selected.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable
from types import TracebackType

from carboy.linux.paths import filesystem_type

STAMP = struct.Struct("=QQqq")
STAMP_SIZE = STAMP.size
RECORD_SIZE = STAMP_SIZE + 32
_SECOND = 1_000_000_000
_RACY = _SECOND // 10
_RACY_SECONDS = 2 * _SECOND
_MAX_BYTES = 256 << 20
_PENDING = 1 << 20
"""Bytes of names and records that wait to be written."""
_DAY = 86_400
_VERSION = 2
_SEAL = 4
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_Row = tuple[int, int, bytes, bytes, int]
"""Device and inode of a directory, names in it, their records, when that was used last."""

_TRUSTED = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0x01021994,  # tmpfs
        0x794C7630,  # overlay
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
    }
)
"""Magic numbers (linux/magic.h) of filesystems that live on this machine."""


def stamp_of(status: os.stat_result) -> bytes:
    """What changes whenever a file does."""
    return STAMP.pack(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class HashCache:
    """One user's view of the cache file; use as a context.  Not for several threads at once."""

    def __init__(self, directory: str, *, timeout: float = 5.0) -> None:
        self._path = f"{directory}/digests.sqlite"
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._trusted: dict[int, bool] = {}
        self._changed: list[tuple[bytes, int, int, bytes, bytes, int]] = []
        self._pending = 0
        self._now = int(time.time())
        self._loaded: bytes | None = None
        self._rows: dict[bytes, _Row] = {}

    def __enter__(self) -> HashCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, path: bytes) -> None:
        """Fetch what is known of a directory and all below it, in one go."""
        self._rows = {row[0]: row[1:] for row in self._all(path)}
        self._loaded = path

    def directory(self, path: bytes, status: os.stat_result) -> dict[bytes, bytes]:
        """Records (stamp and digest) by name of the files in a directory; empty when none are known."""
        if self._loaded is None or not (path == self._loaded or path.startswith(self._loaded + b"/")):
            row = self._one("SELECT device, inode, names, records, used FROM directories WHERE path=?", path)
        else:
            row = self._rows.get(path)
        if row is None or (row[0], row[1]) != _signed(status.st_dev, status.st_ino):
            return {}
        device, inode, names, sealed, used = row
        records = _open_seal(names, sealed)
        if records is None:
            return {}
        if self._now - used > _DAY:
            self._changed.append((path, device, inode, names, sealed, self._now))
        pieces = [records[at : at + RECORD_SIZE] for at in range(0, len(records), RECORD_SIZE)]
        return dict(zip(names.split(b"/"), pieces, strict=True))

    def keep(self, path: bytes, status: os.stat_result, records: dict[bytes, bytes]) -> None:
        """Remember the records of a directory; written soon, or by `close`."""
        if records:
            device, inode = _signed(status.st_dev, status.st_ino)
            names = b"/".join(records)
            sealed = _seal(names, b"".join(records.values()))
            self._changed.append((path, device, inode, names, sealed, self._now))
            self._pending += len(names) + len(sealed)
            if self._pending > _PENDING:
                self._write_changed()

    def trusts(self, fd: int, device: int) -> bool:
        """Whether stamps of files on this device mean anything."""
        known = self._trusted.get(device)
        if known is None:
            known = self._trusted[device] = filesystem_type(fd) in _TRUSTED
        return known

    def selection(self, key: bytes) -> bytes | None:
        """What was remembered of an immutable tree."""
        row = self._one("SELECT 0, 0, data, data, used FROM selections WHERE key=?", key)
        if row is None:
            return None
        if self._now - row[4] > _DAY:
            self.keep_selection(key, row[2][:-_SEAL])
        return _open_seal(key, row[2])

    def keep_selection(self, key: bytes, data: bytes) -> None:
        """Remember it."""
        self._write(
            "INSERT OR REPLACE INTO selections(key, data, used) VALUES (?, ?, ?)",
            [(key, _seal(key, data), self._now)],
        )

    def close(self) -> None:
        """Write what is new."""
        self._write_changed()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write_changed(self) -> None:
        if self._changed:
            self._write(
                "INSERT OR REPLACE INTO directories(path, device, inode, names, records, used)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                self._changed,
            )
        self._changed = []
        self._pending = 0

    def _all(self, path: bytes) -> list[tuple[bytes, int, int, bytes, bytes, int]]:
        try:
            return (
                self._open()
                .execute(
                    "SELECT path, device, inode, names, records, used FROM directories"
                    " WHERE path = ? OR (path >= ? AND path < ?)",
                    (path, path + b"/", path + b"0"),
                )
                .fetchall()
            )
        except sqlite3.Error as error:
            self._without(error)
            return []

    def _one(self, statement: str, key: bytes) -> _Row | None:
        try:
            row: _Row | None = self._open().execute(statement, (key,)).fetchone()
        except sqlite3.Error as error:
            self._without(error)
            return None
        return row

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """In a transaction; a cache that cannot be written is none, and no error."""
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, rows)
            _bound(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._without(error)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            with contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = _connect(self._path, self._timeout)
        return self._connection

    def _without(self, error: sqlite3.Error) -> None:
        """Go on with an empty cache: in a new file when this one is damaged, else in memory."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    os.unlink(self._path + suffix)
            with contextlib.suppress(sqlite3.Error):
                self._open()
                return
        self._connection = _connect(":memory:", self._timeout)


def _seal(name: bytes, data: bytes) -> bytes:
    """A power cut may leave halves of an old and a new page together: every row has a sum of its own."""
    return data + zlib.crc32(data, zlib.crc32(name)).to_bytes(_SEAL, "little")


def _open_seal(name: bytes, sealed: bytes) -> bytes | None:
    """The data; None when it is not what was sealed."""
    data = sealed[:-_SEAL]
    return data if _seal(name, data) == sealed else None


def is_settled(record: bytes, now: int) -> bool:
    """Whether a change after `now` (ns) would be seen in the record's stamp."""
    _, _, mtime, ctime = STAMP.unpack_from(record)
    racy = _RACY if ctime % _SECOND else _RACY_SECONDS
    return bool(ctime < now - racy and abs(now - mtime) > racy)


def _signed(*numbers: int) -> tuple[int, ...]:
    """SQLite's integers have a sign."""
    return tuple(number - (1 << 64) if number >= 1 << 63 else number for number in numbers)


def _connect(path: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            connection.executescript(
                "BEGIN;"
                "DROP TABLE IF EXISTS directories; DROP TABLE IF EXISTS selections;"
                "CREATE TABLE directories (path BLOB PRIMARY KEY, device INTEGER, inode INTEGER,"
                " names BLOB, records BLOB, used INTEGER) WITHOUT ROWID;"
                "CREATE TABLE selections (key BLOB PRIMARY KEY, data BLOB, used INTEGER);"
                f"PRAGMA user_version={_VERSION};"
                "COMMIT;"
            )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _bound(connection: sqlite3.Connection) -> None:
    """Forget what was not used for longest when the file has grown large."""
    pages, size = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if (pages - free) * size > _MAX_BYTES:
        connection.execute(
            "DELETE FROM directories WHERE used <= (SELECT coalesce(avg(used), 0) FROM directories)"
        )
        connection.execute(
            "DELETE FROM selections WHERE used <= (SELECT coalesce(avg(used), 0) FROM selections)"
        )
