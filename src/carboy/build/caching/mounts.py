"""Directories that stay between builds: `RUN --mount=type=cache`.

    <cache>/mounts/<sha256 of id>        the first one of an id
    <cache>/mounts/<sha256 of id>.<n>    others, for sharing=private while the first is taken

    held = mounts.acquire_all([("pip", "shared"), ("apt", "locked")], cancellation)
    if held[0].fresh:
        ... fill held[0].path ...
    held[0].filled()
    ...
    held[0].release()

An id is a stranger's word: it is hashed, never joined to a path.  A directory is fresh until `filled` is
called: one whose filling was broken off (even by the daemon's end) is emptied and fresh again.

    sharing    takes
    shared     the first that nobody has for itself; with others
    private    the first that nobody has; for itself
    locked     the first of all, waiting until nobody has it; for itself
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from carboy.build.progress import Cancellation
from carboy.errors import InvalidArgument
from carboy.linux import tree
from carboy.linux.treesize import directory_size
from carboy.store.content import storage_error
from carboy.store.metadata import Database
from carboy.store.paths import Paths

SHARINGS = ("shared", "private", "locked")
_STRICTNESS = {name: number for number, name in enumerate(SHARINGS)}


@dataclass(slots=True)
class MountRow:
    """What is remembered of one directory."""

    name: str
    id: str
    created_at: float
    last_used: float
    uses: int
    filled: bool


@dataclass(frozen=True, slots=True)
class MountUsage:
    """One directory as `du` shows it."""

    name: str
    id: str
    created_at: float
    last_used: float
    uses: int
    size: int
    in_use: bool


@dataclass(slots=True)
class _Holders:
    """Who has a directory now."""

    count: int
    alone: bool
    filling: bool


class HeldMount:
    """A directory that is there, and stays, until `release`."""

    def __init__(self, mounts: CacheMounts, row: MountRow, path: str, *, fresh: bool) -> None:
        self._mounts = mounts
        self._row = row
        self._released = False
        self.path = path
        self.fresh = fresh
        """It is new and empty: fill it if need be, set its owner and mode, then call `filled`."""

    def filled(self) -> None:
        """It is as it should be: others may come in.  Does nothing when it was before."""
        if self.fresh:
            self.fresh = False
            self._mounts._filled(self._row)

    def release(self) -> None:
        """Let go; once is enough."""
        if not self._released:
            self._released = True
            self._mounts._release(self._row)


class CacheMounts:
    """The cache mounts of one root."""

    def __init__(self, paths: Paths, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = paths.build_cache_mounts
        self._graves = paths.ingest
        self._database = database
        self._clock = clock
        self._changed = threading.Condition()
        self._rows: dict[str, MountRow] | None = None
        self._held: dict[str, _Holders] = {}

    def acquire_all(
        self, unsafe_wanted: Sequence[tuple[str, str]], cancellation: Cancellation
    ) -> list[HeldMount]:
        """Take all that a step needs, in an order in which steps cannot wait for each other in a ring.

        Waits where it must, until Cancelled.
        The same id twice is one directory, taken in the stricter way; only its first holder is `fresh`.
        """
        strictest: dict[str, str] = {}
        for unsafe_id, sharing in unsafe_wanted:
            if sharing not in _STRICTNESS:
                raise InvalidArgument(
                    f"sharing={sharing[:80]} of a cache mount is not known: use {', '.join(SHARINGS)}"
                )
            known = strictest.get(unsafe_id, sharing)
            strictest[unsafe_id] = max(known, sharing, key=_STRICTNESS.__getitem__)
        taken: dict[str, HeldMount] = {}
        try:
            for unsafe_id in sorted(strictest):
                taken[unsafe_id] = self._acquire(unsafe_id, strictest[unsafe_id], cancellation)
        except BaseException:
            for held in taken.values():
                held.release()
            raise
        given: set[str] = set()
        answer = []
        for unsafe_id, _ in unsafe_wanted:
            held = taken[unsafe_id]
            answer.append(self._again(held) if unsafe_id in given else held)
            given.add(unsafe_id)
        return answer

    def list(self) -> list[MountUsage]:
        """Everything that is kept, measured now, by name."""
        with self._changed:
            rows = [(row, row.name in self._held) for row in self._known().values()]
        return [
            MountUsage(
                row.name,
                row.id,
                row.created_at,
                row.last_used,
                row.uses,
                directory_size(self._path(row.name)),
                in_use,
            )
            for row, in_use in sorted(rows, key=lambda pair: pair[0].name)
        ]

    def remove(self, names: Iterable[str]) -> set[str]:
        """Remove those that nobody has; returns their names.  Their space is free on return."""
        graves = []
        removed = set()
        with self._changed:
            for name in names:
                if name in self._held or name not in self._known():
                    continue
                graves.append(self._bury(name))
                del self._known()[name]
                removed.add(name)
            with self._database.write(durable=False) as connection:
                connection.executemany("DELETE FROM cache_mounts WHERE name=?", [(name,) for name in removed])
        for grave in graves:
            self._empty(grave)
        return removed

    # Inside

    def _acquire(self, unsafe_id: str, sharing: str, cancellation: Cancellation) -> HeldMount:
        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        first = hashlib.sha256(unsafe_id.encode("utf-8", "surrogateescape")).hexdigest()
        unsubscribe: Callable[[], None] | None = None
        try:
            with self._changed:
                while True:
                    cancellation.check()
                    name = self._choose(first, sharing)
                    if name is not None:
                        return self._take(name, unsafe_id, sharing)
                    if unsubscribe is None:
                        unsubscribe = cancellation.subscribe(wake)
                        cancellation.check()
                    self._changed.wait()
        finally:
            if unsubscribe is not None:
                unsubscribe()

    def _choose(self, first: str, sharing: str) -> str | None:
        """The directory to take; None: wait."""
        number = 0
        while True:
            name = f"{first}.{number}" if number else first
            holders = self._held.get(name)
            if holders is None:
                return name
            if sharing == "locked":
                return None
            if sharing == "shared" and (holders.filling or not holders.alone):
                return None if holders.filling else name
            number += 1

    def _take(self, name: str, unsafe_id: str, sharing: str) -> HeldMount:
        now = self._clock()
        path = self._path(name)
        row = self._known().get(name)
        fresh = row is None or not row.filled or not os.path.isdir(path)
        if row is None:
            row = MountRow(name, unsafe_id, now, now, 0, filled=False)
        row.last_used = now
        row.uses += 1
        if fresh:
            row.filled = False
            self._make(name)
        self._known()[name] = row
        self._store(row)
        holders = self._held.get(name)
        if holders is not None:
            holders.count += 1
        else:
            alone = sharing != "shared"
            self._held[name] = _Holders(1, alone=alone, filling=fresh and not alone)
        return HeldMount(self, row, path, fresh=fresh)

    def _again(self, held: HeldMount) -> HeldMount:
        """One more hold on the same directory, for the second mount of an id."""
        with self._changed:
            self._held[held._row.name].count += 1
        return HeldMount(self, held._row, held.path, fresh=False)

    def _filled(self, row: MountRow) -> None:
        with self._changed:
            row.filled = True
            self._store(row)
            holders = self._held.get(row.name)
            if holders is not None:
                holders.filling = False
            self._changed.notify_all()

    def _release(self, row: MountRow) -> None:
        with self._changed:
            holders = self._held[row.name]
            holders.count -= 1
            row.last_used = self._clock()
            if not holders.count:
                del self._held[row.name]
            self._changed.notify_all()

    def _known(self) -> dict[str, MountRow]:
        if self._rows is None:
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT name, id, created_at, last_used, uses, filled FROM cache_mounts"
                ).fetchall()
            self._rows = {
                row[0]: MountRow(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in rows
            }
            self._adopt(self._rows)
        return self._rows

    def _adopt(self, rows: dict[str, MountRow]) -> None:
        """Directories whose row a power cut took: they are listed, so that they can be pruned."""
        now = self._clock()
        for name in os.listdir(self._directory):
            if name not in rows:
                rows[name] = MountRow(name, "?", now, now, 0, filled=False)

    def _store(self, row: MountRow) -> None:
        with self._database.write(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO cache_mounts VALUES (?, ?, ?, ?, ?, ?)",
                (
                    row.name,
                    row.id.encode("utf-8", "backslashreplace").decode(),
                    row.created_at,
                    row.last_used,
                    row.uses,
                    row.filled,
                ),
            )

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"

    def _make(self, name: str) -> None:
        """An empty directory, whatever was there before."""
        try:
            if os.path.lexists(self._path(name)):
                self._empty(self._bury(name))
            os.mkdir(self._path(name), 0o755)
            os.chmod(self._path(name), 0o755)
        except OSError as error:
            raise storage_error(error, "make the directory of a cache mount") from error

    def _bury(self, name: str) -> str:
        grave = f"removed-{secrets.token_hex(8)}"
        try:
            os.rename(self._path(name), f"{self._graves}/{grave}")
        except FileNotFoundError:
            pass
        return grave

    def _empty(self, grave: str) -> None:
        parent = os.open(self._graves, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            tree.remove(parent, grave)
        finally:
            os.close(parent)
