"""Leases: what is being made or taken is not garbage, although nothing refers to it yet.

    with leases.hold() as lease:            # ends with the block, or with the daemon
        lease.add(LAYER, str(diff_id))
        ... ingest, then commit the record that refers to it ...

`guard` is held by the collector from the moment it reads the roots until it has deleted; a
lease takes it to add an item.  So after `add` returns, the thing is either gone already (and
`exists` says so) or safe until the lease ends.  A lease on ANY keeps everything of its kind:
for what gets its name only when it is whole.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from carboy.store.gc import ANY, Key
from carboy.store.metadata import Database


class Lease:
    """A live lease; see `Leases.hold`."""

    def __init__(self, leases: Leases, lease_id: str) -> None:
        self._leases = leases
        self.id = lease_id

    def add(self, kind: str, key: str = ANY) -> None:
        """Protect one thing, or with ANY all of a kind."""
        self._leases.add(self.id, kind, key)


class Leases:
    """The leases of one database."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.guard = threading.RLock()
        # Those that end with the daemon need not be written: each create of a container takes one.
        self._passing: dict[str, dict[Key, None]] = {}

    @contextmanager
    def hold(self, items: Iterable[Key] = ()) -> Iterator[Lease]:
        """A lease that ends with the block."""
        lease = Lease(self, self.create(items=items))
        try:
            yield lease
        finally:
            self.release(lease.id)

    def create(self, *, seconds: float | None = None, items: Iterable[Key] = ()) -> str:
        """A lease that outlives the daemon for `seconds`; without, it ends with the daemon."""
        lease_id = secrets.token_hex(16)
        with self.guard:
            if seconds is None:
                self._passing[lease_id] = dict.fromkeys(items)
                return lease_id
            now = self._clock()
            # Losing a lease in a power cut loses nothing: what it protected is unfinished then.
            with self._database.write(durable=False) as connection:
                connection.execute("INSERT INTO leases VALUES (?, ?, ?)", (lease_id, now, now + seconds))
                connection.executemany(
                    "INSERT OR IGNORE INTO lease_items VALUES (?, ?, ?)",
                    [(lease_id, kind, key) for kind, key in items],
                )
        return lease_id

    def add(self, lease_id: str, kind: str, key: str = ANY) -> None:
        """Protect one thing by an existing lease."""
        with self.guard:
            passing = self._passing.get(lease_id)
            if passing is not None:
                passing[kind, key] = None
                return
            with self._database.write(durable=False) as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO lease_items VALUES (?, ?, ?)", (lease_id, kind, key)
                )

    def release(self, lease_id: str) -> None:
        """End a lease."""
        with self.guard:
            if self._passing.pop(lease_id, None) is not None:
                return
        with self._database.write(durable=False) as connection:
            connection.execute("DELETE FROM leases WHERE id=?", (lease_id,))

    def items(self) -> list[Key]:
        """What live leases protect."""
        with self.guard:
            found = [key for held in self._passing.values() for key in held]
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT kind, key FROM lease_items JOIN leases ON leases.id = lease_id"
                    " WHERE expires_at > ?",
                    (self._clock(),),
                ).fetchall()
        return found + [(kind, key) for kind, key in rows]

    def sweep(self) -> None:
        """At the daemon's start: end the leases of the daemon before, and those that have expired."""
        with self.guard:
            self._passing.clear()
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM leases WHERE expires_at IS NULL OR expires_at <= ?", (self._clock(),)
            )
