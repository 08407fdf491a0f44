"""What steps depended on, by key, and which key stood at a place of a Dockerfile last time.

Written behind: what a build tells is kept in memory until `flush`, which its end calls from a thread of
its own.  Losing it to a kill loses explanations and nothing else.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from carboy.build.operation import Ingredients
from carboy.store.metadata import Database

_LONGEST = 64 << 20
"""Bytes of JSON: ingredients that are longer (half a million files) are not kept."""
_PLACES = 20_000
_MANY = 10_000
"""Ingredients that are compressed at once, not only when they are written."""
_decoder = msgspec.json.Decoder(tuple[str, dict[str, str]])


@dataclass(frozen=True, slots=True)
class Past:
    """What stood at a place last time."""

    key: str
    instruction: str
    built_at: float


@dataclass(frozen=True, slots=True)
class Packed:
    """Very many ingredients, in little memory."""

    data: bytes
    """As in the database; empty: there are too many to be kept."""


def packed(ingredients: Ingredients) -> Ingredients | Packed:
    """The same, small: while a step runs, nobody needs to read what it depends on."""
    return ingredients if len(ingredients.values) < _MANY else Packed(_compressed(ingredients))


class History:
    """The past of all builds of one root."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._ingredients: dict[str, Ingredients | Packed] = {}
        self._places: dict[str, Past] = {}

    def remember(self, key: str, ingredients: Ingredients | Packed) -> None:
        """Keep what a step depends on."""
        with self._lock:
            self._ingredients[key] = ingredients

    def recall(self, key: str) -> Ingredients | None:
        """What a step with this key depended on, when it is still known."""
        with self._lock:
            pending = self._ingredients.get(key)
        if isinstance(pending, Ingredients):
            return pending
        if pending is not None:
            return _ingredients(pending.data)
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM build_ingredients WHERE key=?", (key,)).fetchone()
        return _ingredients(row[0]) if row is not None else None

    def knows(self, key: str) -> bool:
        """Whether `recall` would find something."""
        with self._lock:
            if key in self._ingredients:
                return True
        with self._database.read() as connection:
            found = connection.execute("SELECT 1 FROM build_ingredients WHERE key=?", (key,)).fetchone()
        return found is not None

    def stand(self, place: str, key: str, instruction: str) -> None:
        """From now on `key` is what stood at the place last time."""
        past = Past(key, printable(instruction), self._clock())
        with self._lock:
            self._places[place] = past

    def last_at(self, place: str) -> Past | None:
        """What stood at the place last time."""
        with self._lock:
            pending = self._places.get(place)
        if pending is not None:
            return pending
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT key, instruction, built_at FROM build_history WHERE place=?", (place,)
            ).fetchone()
        return Past(*row) if row is not None else None

    def flush(self) -> None:
        """Write what is pending."""
        with self._lock:
            ingredients, places = dict(self._ingredients), dict(self._places)
        if not ingredients and not places:
            return
        rows = [
            (key, data)
            for key, one in ingredients.items()
            if (data := one.data if isinstance(one, Packed) else _compressed(one))
        ]
        with self._database.write(durable=False) as connection:
            connection.executemany("INSERT OR IGNORE INTO build_ingredients VALUES (?, ?)", rows)
            connection.executemany(
                "INSERT OR REPLACE INTO build_history VALUES (?, ?, ?, ?)",
                [(place, past.key, past.instruction, past.built_at) for place, past in places.items()],
            )
        with self._lock:
            for key in ingredients:
                self._ingredients.pop(key, None)
            for place, past in places.items():
                if self._places.get(place) is past:
                    del self._places[place]

    def sweep(self) -> None:
        """Forget the oldest places, and ingredients that nothing names any more."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                "DELETE FROM build_history WHERE place IN"
                " (SELECT place FROM build_history ORDER BY built_at DESC LIMIT -1 OFFSET ?)",
                (_PLACES,),
            )
            connection.execute(
                "DELETE FROM build_ingredients WHERE key NOT IN (SELECT key FROM build_cache)"
                " AND key NOT IN (SELECT key FROM build_history)"
                " AND key NOT IN (SELECT key FROM build_record_keys)"
            )


def printable(text: str) -> str:
    """Text that any database and any JSON takes: bytes that were no UTF-8 are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _compressed(ingredients: Ingredients) -> bytes:
    """As they are kept; empty when they are too long."""
    compressor, pieces, size = zlib.compressobj(1), [], 0
    for piece in ingredients.encoded():
        size += len(piece)
        if size > _LONGEST:
            return b""
        pieces.append(compressor.compress(piece))
    return b"".join((*pieces, compressor.flush()))


def _ingredients(data: bytes) -> Ingredients | None:
    try:
        operation, values = _decoder.decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError):
        return None
    return Ingredients(operation, values)
