"""Metadata in SQLite: short transactions, a connection for each thread.

    with db.write() as connection:      # BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on any exception
        connection.execute("INSERT ...", (...,))
    with db.read() as connection:       # one consistent snapshot
        rows = connection.execute("SELECT ...").fetchall()

A transaction is never held while anything else is waited for.  What `write()` committed is on
the disk when it returns (WAL, synchronous=FULL), unless `durable=False` said that losing the
last moments before a power cut does no harm.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from carboy.errors import CarboyError, Corrupt, Internal, Unavailable, Unsupported
from carboy.linux.reserve import reserve
from carboy.store.schema import MIGRATIONS

_BUSY_SECONDS = 10.0
_LOG = 5 << 20
"""Bytes of the log: SQLite begins it anew after 1000 pages, with what a large transaction adds."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NOT_NOW = {
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another connection holds it",
    sqlite3.SQLITE_FULL: "no space left on device: free some space and try again",
    sqlite3.SQLITE_IOERR: "the disk reported an error (is it full?)",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}


class Database:
    """The metadata database at `path`, made and migrated when needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._index = -1
        try:
            # SQLite would create it with the umask's mode; its -wal and -shm take this file's.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Unavailable(f"cannot open the database {path}: {error.strerror}") from error
        try:
            self._migrate()
            self._hold_room()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A snapshot to read from; inside `write()` it is that transaction."""
        try:
            connection = self._connection()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)
        except sqlite3.Error as error:
            raise self._category(error) from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at the end of the block, or rolled back by an exception."""
        try:
            connection = self._connection()
            if connection.in_transaction:
                raise Internal("a write transaction was begun inside another transaction")
            if not durable:
                connection.execute("PRAGMA synchronous=NORMAL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)
                if not durable:
                    connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.IntegrityError:
            # A name that is taken: the caller knows what it means.
            raise
        except sqlite3.Error as error:
            raise self._category(error) from error

    def close(self) -> None:
        """Close every thread's connection; the database must not be used afterwards."""
        with self._lock:
            connections, self._connections = self._connections, []
            self._local = threading.local()
        for _, connection in connections:
            connection.close()
        if self._index >= 0:
            os.close(self._index)
            self._index = -1

    def _hold_room(self) -> None:
        """Blocks for what SQLite will write, so that on a full disk things can still be removed.

        Its index (-shm) is mapped, and has holes where blocks are small: the first write to one would be a
        SIGBUS.  That descriptor stays open as long as any connection is: closing one gives up all locks of
        the process on the file.
        """
        with contextlib.suppress(OSError):  # full already: the daemon starts all the same, to make room
            self._index = os.open(f"{self._path}-shm", os.O_RDWR | os.O_CLOEXEC)
            reserve(self._index, os.fstat(self._index).st_size)
        with contextlib.suppress(OSError), open(f"{self._path}-wal", "rb+", buffering=0) as log:
            reserve(log.fileno(), _LOG)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
        except sqlite3.Error:
            connection.close()
            raise
        with self._lock:
            for thread, old in self._connections:
                if not thread.is_alive():
                    old.close()
            self._connections = [pair for pair in self._connections if pair[0].is_alive()]
            self._connections.append((threading.current_thread(), connection))
        return connection

    def _migrate(self) -> None:
        with self.read() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise Unsupported(
                f"the database {self._path} has version {version}, made by a newer Carboy;"
                f" this one knows up to {len(MIGRATIONS)}: update Carboy, or use another --root"
            )
        if version == len(MIGRATIONS):
            return
        with self.write() as connection:
            # Again, under the lock: another process may have been first.
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for number in range(version, len(MIGRATIONS)):
                for statement in MIGRATIONS[number]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    def _category(self, error: sqlite3.Error) -> CarboyError:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in _DAMAGED:
            return Corrupt(
                f"the database {self._path} is damaged ({error}): restore it from a copy,"
                " or move it away to begin with an empty one (layers and volumes stay on the disk)"
            )
        if primary in _NOT_NOW:
            return Unavailable(f"cannot use the database {self._path}: {_NOT_NOW[primary]} ({error})")
        return Internal(f"the database {self._path} refused a statement: {error}")


def _roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that nothing has ended yet."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
