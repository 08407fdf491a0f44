"""Results of steps by key: layers that stay although no image needs them.

    find(key) ──▶ an Entry whose layers are here, held until `release`;  None: a miss
    put(key, …)   after the layers are committed, never before

So the cache is sound whenever the daemon is killed: a row says that layers were there, and `find` looks
whether they still are.  Rows are read into memory once; counters of use are written behind (`flush`).
What came with an imported cache is believed only by builds that name that cache (`origins`), until the
same is built here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from carboy.build.caching.history import History, Packed, printable
from carboy.build.operation import Filesystem, Ingredients, Value
from carboy.digest import Digest
from carboy.errors import CarboyError
from carboy.store.gc import LAYER, Key
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database

_DESCRIPTION = 400
_TOMBSTONES = 5_000
_records = msgspec.json.Decoder(dict[str, str])


@dataclass(slots=True)
class Entry:
    """What one step gave."""

    key: str
    layers: tuple[Digest, ...]
    above: bool
    """The layers lie on those of the step's first input; else they are all there is."""
    origin: str
    operation: str
    description: str
    parents: tuple[str, ...]
    """Keys of the steps before it."""
    size: int
    created_at: float
    last_used: float
    uses: int
    record: Mapping[str, str]

    @property
    def layer(self) -> Digest | None:
        """The one that it added."""
        return self.layers[-1] if self.layers else None

    def value(self, base: Value | None) -> Filesystem:
        """What the step gives, on what it stands on."""
        if self.above and isinstance(base, Filesystem):
            return Filesystem((*base.layers, *self.layers))
        return Filesystem(self.layers)

    def id(self) -> str:
        """As people see it."""
        return entry_id(self.key)


def entry_id(key: str) -> str:
    """A key as people see it."""
    return key.removeprefix("sha256:")[:25]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `put` keeps."""

    key: str
    value: Filesystem
    base: Value | None
    operation: str
    description: str
    parents: tuple[str, ...] = ()
    record: Mapping[str, str] | None = None
    origin: str = ""
    created_at: float | None = None
    """When it was made, where that was not now."""


class CacheSource(Protocol):
    """An imported cache."""

    @property
    def origin(self) -> str:
        """What it is named in `Entry.origin`."""
        ...

    def bring(self, key: str) -> bool:
        """Put what it knows of the key into the cache; False when that is nothing."""
        ...


class BuildCache:
    """The cache of one root."""

    def __init__(
        self, database: Database, layers: LayerStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._layers = layers
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] | None = None
        self._in_use: dict[str, int] = {}
        self._used: set[str] = set()
        self.history = History(database, clock=clock)

    # For the solver

    def find(self, key: str, *, not_before: float = 0.0, origins: Collection[str] = ()) -> Entry | None:
        """What the step with this key gave; held until `release`.

        not_before: older entries are misses.  origins: of imported caches that are believed.
        """
        with self._lock:
            entry = self._known().get(key)
            if entry is None or (entry.origin and entry.origin not in origins):
                return None
            if entry.created_at < not_before:
                return None
            if not all(self._layers.exists(layer) for layer in entry.layers):
                self._drop([key])
                return None
            entry.last_used = self._clock()
            entry.uses += 1
            self._used.add(key)
            self._in_use[key] = self._in_use.get(key, 0) + 1
            return entry

    def put(self, made: Made) -> Entry:
        """Keep what a step gave, whose layers are in the store; held until `release`."""
        now = self._clock()
        base = made.base.layers if isinstance(made.base, Filesystem) else ()
        above = isinstance(made.base, Filesystem) and made.value.layers[: len(base)] == base
        layers = made.value.layers[len(base) :] if above else made.value.layers
        entry = Entry(
            made.key,
            layers,
            above,
            made.origin,
            made.operation,
            printable(made.description)[:_DESCRIPTION],
            made.parents,
            sum(self._layers.get(layer).size for layer in layers),
            min(made.created_at or now, now),
            now,
            0,
            dict(made.record or {}),
        )
        with self._lock:
            before = self._known().get(made.key)
            if made.origin and before is not None and not before.origin:
                entry = before  # what was made here counts more
            else:
                self._known()[made.key] = entry
                self._store(entry)
            self._in_use[made.key] = self._in_use.get(made.key, 0) + 1
        return entry

    def release(self, keys: Iterable[str]) -> None:
        """The build that found or put these has ended."""
        with self._lock:
            for key in keys:
                left = self._in_use.get(key, 0) - 1
                if left > 0:
                    self._in_use[key] = left
                else:
                    self._in_use.pop(key, None)

    def peek(self, key: str) -> Entry | None:
        """What is known of a key, without using it."""
        with self._lock:
            return self._known().get(key)

    def pruned_at(self, key: str) -> float | None:
        """When an entry was pruned."""
        with self._database.read() as connection:
            row = connection.execute("SELECT at FROM build_pruned WHERE key=?", (key,)).fetchone()
        return row[0] if row is not None else None

    def remember(self, key: str, ingredients: Ingredients | Packed) -> None:
        """Keep what a step depends on, for explanations and records."""
        self.history.remember(key, ingredients)

    # For everybody else

    def roots(self) -> list[Key]:
        """What the collector must leave: the layers of all entries."""
        with self._lock:
            return [
                (LAYER, name)
                for name in dict.fromkeys(
                    str(layer) for entry in self._known().values() for layer in entry.layers
                )
            ]

    def size(self) -> int:
        """Bytes of all layers, as far as is known without looking at them."""
        with self._lock:
            return sum(entry.size for entry in self._known().values())

    def records(self) -> list[Entry]:
        """All entries whose layers are here, oldest first."""
        with self._lock:
            gone = [
                entry.key
                for entry in self._known().values()
                if not all(self._layers.exists(layer) for layer in entry.layers)
            ]
            self._drop(gone)
            return sorted(self._known().values(), key=lambda entry: (entry.created_at, entry.key))

    def is_used(self, key: str) -> bool:
        """Whether a build under way holds it."""
        with self._lock:
            return key in self._in_use

    def remove(self, keys: Iterable[str]) -> list[Entry]:
        """Forget entries that no build holds; returns them.  Their layers are the collector's then."""
        now = self._clock()
        with self._lock:
            known = self._known()
            removed = [known[key] for key in keys if key in known and key not in self._in_use]
            self._drop([entry.key for entry in removed])
            with self._database.write(durable=False) as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO build_pruned VALUES (?, ?)",
                    [(entry.key, now) for entry in removed],
                )
                connection.execute(
                    "DELETE FROM build_pruned WHERE key IN"
                    " (SELECT key FROM build_pruned ORDER BY at DESC LIMIT -1 OFFSET ?)",
                    (_TOMBSTONES,),
                )
        return removed

    def flush(self) -> None:
        """Write what was kept back: counters of use, ingredients, places."""
        with self._lock:
            known = self._known()
            rows = [(known[key].last_used, known[key].uses, key) for key in self._used if key in known]
            self._used.clear()
            if rows:
                with self._database.write(durable=False) as connection:
                    connection.executemany("UPDATE build_cache SET last_used=?, uses=? WHERE key=?", rows)
        self.history.flush()

    # Inside, under the lock

    def _known(self) -> dict[str, Entry]:
        if self._entries is None:
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT key, layers, above, origin, operation, description, parents, size,"
                    " created_at, last_used, uses, record FROM build_cache"
                ).fetchall()
            self._entries = {}
            for row in rows:
                try:
                    entry = _entry(row)
                except (CarboyError, msgspec.DecodeError):
                    continue  # damaged: a miss
                self._entries[entry.key] = entry
        return self._entries

    def _store(self, entry: Entry) -> None:
        with self._database.write(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO build_cache VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.key,
                    " ".join(str(layer) for layer in entry.layers),
                    entry.above,
                    entry.origin,
                    entry.operation,
                    entry.description,
                    " ".join(entry.parents),
                    entry.size,
                    entry.created_at,
                    entry.last_used,
                    entry.uses,
                    msgspec.json.encode(entry.record),
                ),
            )

    def _drop(self, keys: list[str]) -> None:
        if not keys:
            return
        for key in keys:
            self._known().pop(key, None)
        with self._database.write(durable=False) as connection:
            connection.executemany("DELETE FROM build_cache WHERE key=?", [(key,) for key in keys])


def _entry(row: tuple[str, str, int, str, str, str, str, int, float, float, int, bytes]) -> Entry:
    key, layers, above, origin, operation, description, parents, size, created_at, last_used, uses, record = (
        row
    )
    return Entry(
        key,
        tuple(Digest.parse(layer) for layer in layers.split()),
        bool(above),
        origin,
        operation,
        description,
        tuple(parents.split()),
        size,
        created_at,
        last_used,
        uses,
        _records.decode(record),
    )
