"""The stream of events: what each thing that is done tells, in which order, and what is replayed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from typing import Any
from urllib.parse import quote

import pytest

from support.commands import until
from support.daemon import IMAGE, Daemon, busybox_tar, daemon, own_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(60)]
__all__ = ["daemon", "own_daemon"]

Event = dict[str, Any]


def events(
    daemon: Daemon, *, since: float = 0, until_: float | None = None, **filters: list[str]
) -> list[Event]:
    end = time.time() if until_ is None else until_
    text = quote(json.dumps(filters))
    answer = daemon.request("GET", f"/events?since={since:.9f}&until={end:.9f}&filters={text}")
    return [json.loads(line) for line in answer.splitlines()]


def written(daemon: Daemon) -> int:
    """Events in the database."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.paths.db}?mode=ro", uri=True)) as connection:
        found: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        return found


def told(found: list[Event]) -> list[str]:
    return [f"{one['Type']} {one['Action']}" for one in found]


LIFE = "trap 'exit 9' TERM; echo trapped; sleep 100 & wait"
"""Ends at SIGTERM, but not before it says that it does."""


def test_a_life_from_create_to_destroy(daemon: Daemon) -> None:
    begun = time.time()
    host = {"Mounts": [{"Type": "volume", "Source": "kept", "Target": "/kept"}]}
    container = daemon.create("sh", "-c", LIFE, name="life", host=host, Labels={"mine": "yes"})
    daemon.post("/containers/life/start")
    until(lambda: daemon.output(container).count(b"trapped") == 1)
    daemon.post("/containers/life/pause")
    daemon.post("/containers/life/unpause")
    daemon.post("/containers/life/rename?name=other")
    daemon.post("/containers/other/restart?t=30")
    until(lambda: daemon.output(container).count(b"trapped") == 2)
    daemon.post("/containers/other/stop?t=30")
    daemon.request("DELETE", "/containers/other")
    daemon.request("DELETE", "/volumes/kept")
    found = events(daemon, since=begun)
    up = ["volume mount", "network connect", "container start"]
    down = ["container kill", "container die", "network disconnect", "volume unmount", "container stop"]
    assert told(found) == [
        "volume create",
        "container create",
        *up,
        "container pause",
        "container unpause",
        "container rename",
        *down,
        *up,
        "container restart",
        *down,
        "container destroy",
        "volume destroy",
    ]
    moments = [one["timeNano"] for one in found]
    assert moments == sorted(set(moments))
    create = found[1]
    assert create["Actor"] == {"ID": container, "Attributes": {"image": IMAGE, "mine": "yes", "name": "life"}}
    assert (create["status"], create["id"], create["from"]) == ("create", container, IMAGE)
    assert (create["scope"], create["time"]) == ("local", create["timeNano"] // 10**9)
    by_action = {one["Action"]: one["Actor"] for one in found}
    assert by_action["rename"]["Attributes"]["oldName"] == "/life"
    assert by_action["kill"]["Attributes"]["signal"] == "15"
    die = by_action["die"]["Attributes"]
    assert (die["exitCode"], die["name"]) == ("9", "other")
    assert 0 <= int(die["execDuration"]) < 60  # whole seconds
    assert by_action["connect"]["Attributes"] == {"container": container, "name": "bridge", "type": "bridge"}
    mount = by_action["mount"]
    assert mount["ID"] == "kept"
    assert mount["Attributes"]["destination"] == "/kept"
    assert mount["Attributes"]["read/write"] == "true"
    assert "status" not in next(one for one in found if one["Type"] == "network")


def test_images_commit_and_exec(daemon: Daemon) -> None:
    begun = time.time()
    daemon.request("POST", "/images/create?fromSrc=-&repo=event&tag=one", busybox_tar())
    daemon.post("/images/event:one/tag?repo=event&tag=two")
    archive = daemon.request("GET", "/images/event:two/get")
    daemon.request("POST", "/images/load", archive)
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    exec_id = daemon.post(f"/containers/{container}/exec", {"Cmd": ["sh", "-c", "exit 3"]})["Id"]
    daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
    until(lambda: daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 3)
    daemon.post(f"/commit?container={container}&repo=event&tag=three&comment=because")
    daemon.request("DELETE", "/images/event:two")
    found = events(daemon, since=begun)
    images = [one["Action"] for one in found if one["Type"] == "image"]
    assert images == ["import", "tag", "save", "load", "tag", "untag"]
    by_action = {one["Action"].partition(":")[0]: one["Actor"]["Attributes"] for one in found}
    assert by_action["exec_create"]["execID"] == by_action["exec_start"]["execID"] == exec_id
    assert by_action["exec_die"]["exitCode"] == "3"
    assert by_action["commit"]["comment"] == "because"
    assert by_action["commit"]["imageRef"] == "event:three"
    only = events(
        daemon, since=begun, type=["container"], event=["exec_create", "exec_start"], container=[container]
    )
    assert told(only) == ["container exec_create: sh -c exit 3", "container exec_start: sh -c exit 3"]
    daemon.remove_all()
    for tag in ("one", "three"):
        daemon.request("DELETE", f"/images/event:{tag}")
    assert "delete" in [one["Action"] for one in events(daemon, since=begun, type=["image"])]


def test_labels_cannot_speak_for_the_engine(daemon: Daemon) -> None:
    """CVE-2026-53488 and its kin: what an image or a client writes into labels stays a label."""
    labels = {"exitCode": "0", "name": "evil", "image": "evil", "signal": "0", "restart-policy": "always"}
    container = daemon.create(
        "sh", "-c", "exit 3", name="honest", host={"NetworkMode": "none"}, Labels=labels
    )
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 3
    die = events(daemon, container=[container], event=["die"])[0]["Actor"]["Attributes"]
    assert (die["exitCode"], die["name"], die["image"]) == ("3", "honest", IMAGE)
    assert daemon.get(f"/containers/{container}/json")["State"]["Status"] == "exited"
    daemon.remove_all()


def test_until_in_the_future_and_relative_times(daemon: Daemon) -> None:
    before = time.time()
    container = daemon.create("true")
    ends = before + 0.5
    found = events(daemon, since=before, until_=ends, container=[container])
    assert time.time() >= ends
    assert told(found) == ["container create"]
    text = daemon.request(
        "GET", "/events?since=1m&until=0s&filters=" + quote(json.dumps({"container": [container]}))
    )
    assert json.loads(text)["Action"] == "create"
    assert container in daemon.request("GET", f"/events?until={time.time():.6f}").decode()
    daemon.remove_all()


def test_the_past_outlives_the_daemon(own_daemon: Daemon) -> None:
    daemon = own_daemon
    begun = time.time()
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    middle = time.time()
    assert daemon.stop() == 0
    daemon.start()
    daemon.post(f"/containers/{container}/kill")
    daemon.wait(container)
    until(lambda: told(events(daemon, since=middle))[-1:] == ["network disconnect"])
    assert told(events(daemon, since=begun, until_=middle)) == [
        "container create",
        "network connect",
        "container start",
    ]
    assert told(events(daemon, since=middle)) == ["container kill", "container die", "network disconnect"]
    # What was written before a sudden death is there, too: batches are half a second apart.
    until(lambda: written(daemon) == 6 + len(events(daemon, until_=begun)))
    daemon.kill()
    daemon.start()
    assert len(events(daemon, since=begun)) == 6
    daemon.remove_all()


def test_an_end_that_no_daemon_saw_is_told_by_the_next(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    until(lambda: os.path.exists(f"{daemon.root}/containers/{container}/exit.json"))
    begun = time.time()
    daemon.start()
    found = [one for one in events(daemon, since=begun) if one["Action"] == "die"]
    assert found[0]["Actor"]["Attributes"]["exitCode"] == "137"
    daemon.remove_all()
