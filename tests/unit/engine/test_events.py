"""Events: what is remembered over a restart, and Docker's rules for filters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.engine.events import HISTORY, Events
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import Event
from carboy.store.metadata import Database

NETWORK = "62" * 32


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(str(tmp_path / "db"))
    yield opened
    opened.close()


def publish_some(events: Events) -> None:
    container = {"image": "busybox:test", "name": "web", "key": "value"}
    events.publish("container", "create", "c1" * 32, container)
    events.publish("container", "exec_create: ls -l", "c1" * 32, {**container, "execID": "e"})
    events.publish("container", "health_status: healthy", "c1" * 32, container)
    events.publish("network", "connect", NETWORK, {"container": "c1" * 32, "name": "bridge"})
    events.publish("volume", "mount", "data", {"container": "c1" * 32, "driver": "local"})
    events.publish("image", "tag", "sha256:ab", {"name": "busybox:test"})
    events.publish("daemon", "reload", "d1", {"name": "machine"})


def seen(events: Events, **filters: list[str]) -> list[str]:
    found: list[Event] = []
    events.subscribe(0, time.time_ns(), Filters(filters), found.append)()
    return [f"{one.type} {one.action.partition(':')[0]}" for one in found]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["container"]}, ["container create", "container exec_create", "container health_status"]),
        ({"type": ["image", "daemon"]}, ["image tag", "daemon reload"]),
        ({"event": ["create"]}, ["container create"]),
        ({"event": ["exec"]}, []),
        ({"event": ["exec_create"]}, ["container exec_create"]),
        ({"event": ["health_status"]}, ["container health_status"]),
        ({"event": ["health_status: healthy"]}, ["container health_status"]),
        ({"event": ["health_status: unhealthy"]}, []),
        ({"container": ["we"], "event": ["create"]}, ["container create"]),
        ({"container": ["c1c1"], "event": ["create", "connect"]}, ["container create"]),
        ({"container": ["other"]}, []),
        ({"image": ["busybox"]}, str.split("create exec_create health_status tag")),
        ({"image": ["busybox:test"], "type": ["image"]}, ["image tag"]),
        ({"image": ["busy"]}, []),
        ({"volume": ["data"]}, ["volume mount"]),
        ({"network": ["bri"]}, ["network connect"]),
        ({"daemon": ["machine"]}, ["daemon reload"]),
        ({"label": ["key"]}, str.split("create exec_create health_status")),
        ({"label": ["key=value", "key=other"]}, []),
        ({"scope": ["swarm"]}, []),
        ({"plugin": ["x"]}, []),
    ],
)
def test_filters(database: Database, filters: dict[str, list[str]], expected: list[str]) -> None:
    events = Events(database)
    try:
        publish_some(events)
        found = seen(events, **filters)
        assert found == expected or [one.partition(" ")[2] for one in found] == expected
    finally:
        events.close()


def test_the_past_is_replayed_by_the_next_daemon(database: Database) -> None:
    first = Events(database)
    publish_some(first)
    middle = time.time_ns()
    first.publish("volume", "create", "late", {"driver": "local"})
    first.close()
    second = Events(database)
    try:
        found: list[Event] = []
        second.subscribe(middle, time.time_ns(), Filters(), found.append)()
        assert [(one.type, one.action, one.actor.id) for one in found] == [("volume", "create", "late")]
        found.clear()
        second.subscribe(None, middle, Filters(), found.append)()
        assert len(found) == 7
        moments = [one.time_nano for one in found]
        assert moments == sorted(set(moments))
        second.publish("volume", "create", "later", {})
        assert len(found) == 7
    finally:
        second.close()


def test_only_so_many_are_kept(database: Database) -> None:
    events = Events(database)
    for number in range(HISTORY + 10):
        events.publish("volume", "create", str(number), {})
    events.close()
    again = Events(database)
    try:
        found: list[Event] = []
        again.subscribe(0, time.time_ns(), Filters(), found.append)()
        assert [one.actor.id for one in found] == [str(number) for number in range(10, HISTORY + 10)]
    finally:
        again.close()


def test_the_future_comes_as_it_happens(database: Database) -> None:
    events = Events(database)
    try:
        found: list[Event] = []
        cancel = events.subscribe(None, None, Filters({"type": ["volume"]}), found.append)
        publish_some(events)
        cancel()
        events.publish("volume", "create", "unheard", {})
        assert [one.action for one in found] == ["mount"]
        assert events.listeners == 0
    finally:
        events.close()
