"""What happens, told to subscribers, and remembered up to a bound.

The last events are kept in memory and written to the database behind the events' back: one
thread sleeps until there is something to write, so that an idle daemon does not wake up.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from carboy.errors import CarboyError
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import Event, event
from carboy.store.metadata import Database

HISTORY = 1024
_FLUSH_SECONDS = 0.5
_BY_NAME = tuple(str.split("container daemon network plugin volume node service secret config"))
"""Filters by a prefix of what the event is about: its ID or its name."""

_KNOWN = (*_BY_NAME, "event", "image", "label", "type", "scope")
_WITH_MORE = frozenset({"health_status", "exec_create", "exec_start"})

Deliver = Callable[[Event], None]
_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Event)


class Events:
    """The stream of events of one daemon."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._subscribers: dict[int, tuple[Filters, Deliver]] = {}
        self._numbers = itertools.count()
        self._last = 0
        self._unwritten: list[Event] = []
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._closing = False
        self._history: deque[Event] = deque(self._read(), maxlen=HISTORY)
        self._writer = threading.Thread(target=self._write_behind, name="events", daemon=True)
        self._writer.start()

    @property
    def listeners(self) -> int:
        """How many subscribers there are."""
        return len(self._subscribers)

    def publish(self, kind: str, action: str, object_id: str, attributes: dict[str, str]) -> None:
        """Tell and remember one event."""
        with self._lock:
            self._last = at = max(time.time_ns(), self._last + 1)
            happened = event(kind, action, object_id, attributes, at)
            self._history.append(happened)
            self._unwritten.append(happened)
            for filters, deliver in list(self._subscribers.values()):
                if _matches(happened, filters):
                    deliver(happened)
        self._wake.set()

    def subscribe(
        self, since: int | None, until: int | None, filters: Filters, deliver: Deliver
    ) -> Callable[[], None]:
        """Deliver the past since `since`, then what comes; gives the function that ends it."""
        filters.require_known(_KNOWN)
        with self._lock:
            if since is not None or until is not None:
                for past in self._history:
                    inside = past.time_nano >= (since or 0) and (until is None or past.time_nano <= until)
                    if inside and _matches(past, filters):
                        deliver(past)
            number = next(self._numbers)
            if until is None or until > time.time_ns():
                self._subscribers[number] = (filters, deliver)

        def cancel() -> None:
            with self._lock:
                self._subscribers.pop(number, None)

        return cancel

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._closing = True
        self._ending.set()
        self._wake.set()
        self._writer.join(5)

    def _read(self) -> list[Event]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM (SELECT seq, document FROM events ORDER BY seq DESC LIMIT ?)"
                " ORDER BY seq",
                (HISTORY,),
            ).fetchall()
        found = []
        for (text,) in rows:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(_decoder.decode(text))
        return found

    def _write_behind(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._ending.wait(_FLUSH_SECONDS)  # gather; nothing waits for this thread
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            batch, self._unwritten = self._unwritten, []
        if not batch:
            return
        rows = [(one.time_nano / 1e9, msgspec.json.encode(one)) for one in batch]
        try:
            with self._database.write(durable=False) as connection:
                connection.executemany("INSERT INTO events(at, document) VALUES (?, ?)", rows)
                connection.execute(
                    "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (HISTORY,)
                )
        except CarboyError:
            _log.exception("events were not written")


def _matches(happened: Event, filters: Filters) -> bool:
    """Docker's rules: all names must hold, one value of each is enough; only labels must all hold."""
    if not filters:
        return True
    attributes = happened.actor.attributes
    names = (happened.actor.id, attributes.get("name", ""))
    return (
        _action(happened.action, filters)
        and filters.exact("type", happened.type)
        and filters.exact("scope", happened.scope)
        and all(any(filters.prefix(kind, name) for name in names) for kind in _BY_NAME)
        and filters.any_of("image", _images(happened))
        and filters.labels(attributes)
    )


def _action(action: str, filters: Filters) -> bool:
    """Exactly, but actions that carry more after a colon may be asked for without it."""
    if _WITH_MORE.intersection(filters.get("event")):
        return filters.prefix("event", action)
    return filters.exact("event", action)


def _images(happened: Event) -> set[str]:
    attribute = "name" if happened.type == "image" else "image"
    names = {happened.actor.id, happened.actor.attributes.get(attribute, "")}
    return names | {_without_tag(name) for name in names}


def _without_tag(reference: str) -> str:
    repository, colon, tag = reference.partition("@")[0].rpartition(":")
    return repository if colon and "/" not in tag else reference
