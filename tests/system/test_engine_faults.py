"""Moments that are seldom seen: a record that cannot be written, a client between states, a sudden death."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.engine.containers.document import PendingAttach
from carboy.engine.containers.index import Index
from carboy.engine.containers.removal import Removal
from carboy.engine.containers.states import State
from carboy.errors import CarboyError, Unavailable
from carboy.formats.dockerapi.containers import (
    CreateRequest,
    HostConfig,
    RestartPolicy,
    WaitError,
    WaitResponse,
)
from support.archives import Stream
from support.commands import until
from support.daemon import Daemon, busybox_tar, own_daemon
from support.steps import Workbench, tar_of, workbench

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["own_daemon", "workbench"]


class Containers:
    """Containers of an engine in this process."""

    def __init__(self, bench: Workbench) -> None:
        self.service = bench.engine.containers
        self.lifecycle = self.service.lifecycle
        bench.engine.images.import_(
            Stream(busybox_tar()), repository="busybox", tag="", message="", changes=[], platform=None
        )

    def create(self, *command: str, **host: Any) -> str:
        request = CreateRequest(
            image="busybox", cmd=list(command), host_config=HostConfig(**{"network_mode": "none", **host})
        )
        return self.service.create(request, name=None, platform=None).id

    def ended(self, container: str) -> threading.Event:
        told = threading.Event()
        self.service.wait(container, "next-exit", lambda _response: told.set())
        return told


def read_log(service: Any, container: str) -> str:
    path = service.lifecycle.log_path(service.find(container))
    return Path(path).read_text() if os.path.exists(path) else ""


@pytest.fixture
def containers(workbench: Workbench) -> Iterator[Containers]:
    made = Containers(workbench)
    yield made
    for one in made.service.index.all():
        made.service.remove(one.id, force=True, volumes=True)


def test_a_start_whose_record_cannot_be_written(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs: so it is watched, and can be stopped."""
    container = containers.create("sleep", "1000")

    def full(*_args: object, **_more: object) -> None:
        raise Unavailable("the database: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", full)
        containers.service.start(container)
    told = containers.ended(container)
    containers.service.kill(container, signal=None)
    assert told.wait(20)
    assert containers.service.find(container).state is State.EXITED


def test_an_end_whose_record_cannot_be_written(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the end comes: a restart, a removal."""
    policy = RestartPolicy(name="always")
    again, once = containers.create("sleep", "0.3", restart_policy=policy), containers.create("sleep", "0.3")
    containers.service.find(once).document.host.auto_remove = True

    def full(*_args: object, **_more: object) -> None:
        raise Unavailable("the database: the disk is full")

    for one in (again, once):
        containers.service.start(one)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", full)
        until(lambda: containers.service.find(again).document.restart_count > 1)
        until(lambda: once not in [one.id for one in containers.service.index.all()])


def test_nobody_waits_for_a_stop_in_its_grace_period(containers: Containers) -> None:
    """A second thought about a container that does not want to end: it can be had at once."""
    stubborn = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    service = containers.service
    acts: list[Callable[[str], None]] = [
        lambda one: service.remove(one, force=True, volumes=True),
        lambda one: service.stop(one, timeout=0, signal=None),
        lambda one: service.rename(one, f"n{one[:12]}"),
    ]
    for act in acts:
        container = containers.create(*stubborn)
        service.start(container)
        until(lambda one=container: "up" in read_log(service, one))  # type: ignore[misc]
        thread = threading.Thread(
            target=service.stop, args=(container,), kwargs={"timeout": -1, "signal": None}
        )
        thread.start()
        until(lambda one=container: bool(service.find(one).holders))  # type: ignore[misc]
        act(container)
        if thread.is_alive():
            with contextlib.suppress(CarboyError):
                service.kill(container, signal=None)
        thread.join(20)
        assert not thread.is_alive()


def test_a_stop_and_its_removal_are_told_in_order(own_daemon: Daemon) -> None:
    daemon = own_daemon
    began = time.time()
    for _ in range(5):
        container = daemon.create("sleep", "1000", host={"AutoRemove": True, "NetworkMode": "none"})
        daemon.post(f"/containers/{container}/start")
        daemon.post(f"/containers/{container}/stop?t=0")
    until(lambda: not daemon.get("/containers/json?all=1"))
    events = daemon.request("GET", f"/events?since={began:.9f}&until={time.time():.9f}").splitlines()
    lives: dict[str, list[str]] = {}
    for one in map(json.loads, events):
        if one["Type"] == "container" and one["Action"] != "kill":
            lives.setdefault(one["Actor"]["ID"], []).append(one["Action"])
    assert list(lives.values()) == [["create", "start", "die", "stop", "destroy"]] * 5


def test_who_attaches_while_it_starts_gets_the_output(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = containers.service.find(containers.create("sh", "-c", "sleep 0.5; echo heard"))
    ours, theirs = socket.socketpair()
    launch = containers.lifecycle._launcher.launch

    def late(one: Any) -> Any:
        launched = launch(one)
        fields: dict[str, object] = {"stdin": False, "stdout": True, "stderr": True}
        one.pending.append(PendingAttach(client=theirs.detach(), fields=fields))
        return launched

    with monkeypatch.context() as patch, ours:
        patch.setattr(containers.lifecycle._launcher, "launch", late)
        containers.service.start(container.id)
        ours.settimeout(20)
        heard = b""
        while piece := ours.recv(100):
            heard += piece
    assert heard.endswith(b"heard\n")


def test_an_address_is_written_down_before_the_program_runs(
    workbench: Workbench, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is killed right after the start: the next one must not lend the address again."""
    container = containers.create("sleep", "1000", network_mode="bridge")
    stored: list[str] = []
    launch = containers.lifecycle._launcher.launch

    def look(one: Any) -> Any:
        launched = launch(one)
        with workbench.engine.database.read() as connection:
            stored.extend(*connection.execute("SELECT document FROM containers WHERE id = ?", (one.id,)))
        return launched

    with monkeypatch.context() as patch:
        patch.setattr(containers.lifecycle._launcher, "launch", look)
        containers.service.start(container)
    endpoint = containers.service.find(container).document.endpoint
    assert endpoint is not None
    assert json.loads(stored[0])["endpoint"]["address"] == endpoint.address


def test_a_removal_that_fails_is_told_to_who_waits(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = containers.create("true", auto_remove=True)
    told: list[WaitResponse] = []
    containers.service.wait(container, "removed", told.append)

    def refuse(*_args: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Removal, "remove_files", refuse)
        containers.service.start(container)
        until(lambda: bool(told))
    assert isinstance(told[0].error, WaitError)
    assert "Input/output error" in told[0].error.message
    assert containers.service.find(container).state is State.DEAD


def test_what_cannot_be_given_back_keeps_no_container_from_ending(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = containers.create("sleep", "1000")
    containers.service.start(container)

    def refuse(*_args: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(containers.lifecycle._parts.ports, "release", refuse)
        containers.service.kill(container, signal=None)
        until(lambda: not os.path.exists(containers.lifecycle._parts.paths.container_run(container)))
    containers.service.start(container)
    assert containers.service.find(container).state is State.RUNNING


def test_a_restart_keeps_rm(own_daemon: Daemon) -> None:
    """`--rm` holds for the end after that, whatever daemon sees it."""
    daemon = own_daemon
    container = daemon.create("sleep", "1000", host={"AutoRemove": True, "NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    daemon.post(f"/containers/{container}/restart?t=0")
    assert daemon.get(f"/containers/{container}/json")["State"]["Running"]
    daemon.kill()
    daemon.start()
    assert daemon.get(f"/containers/{container}/json")["HostConfig"]["AutoRemove"] is True
    daemon.post(f"/containers/{container}/stop?t=0")
    until(lambda: not daemon.get("/containers/json?all=1"))


def test_a_restarted_container_shows_its_last_end(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = daemon.create("sleep", "1000", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    daemon.post(f"/containers/{container}/restart?t=0")
    state = daemon.get(f"/containers/{container}/json")["State"]
    assert state["Running"]
    assert not state["FinishedAt"].startswith("0001"), "as Docker: only the next end changes it"
    daemon.remove_all()


def test_a_commit_holds_no_places_of_the_engines_mounts(own_daemon: Daemon) -> None:
    """An image without /etc/hosts, /proc and so on: what a start has put there is no change of the user's."""
    daemon = own_daemon
    daemon.make_image("bare:1", tar_of({"bin/true": busybox()}, mode=0o755))
    container = daemon.post(
        "/containers/create", {"Image": "bare:1", "Cmd": ["/bin/true"], "HostConfig": {"NetworkMode": "none"}}
    )["Id"]
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    assert daemon.get(f"/containers/{container}/changes") == []
    daemon.post(f"/commit?container={container}&repo=bare&tag=2")
    layers = [daemon.get(f"/images/bare:{tag}/json")["RootFS"]["Layers"] for tag in (1, 2)]
    assert layers[0] == layers[1], "nothing has changed"
    daemon.remove_all()


def busybox() -> bytes:
    path = shutil.which("busybox")
    assert path is not None
    return Path(path).read_bytes()


def test_ancestors_are_images_not_texts(own_daemon: Daemon) -> None:
    daemon = own_daemon
    daemon.make_image("app:v1")
    daemon.post("/images/app:v1/tag?repo=app&tag=v2")
    container = daemon.post("/containers/create", {"Image": "app:v2", "Cmd": ["true"]})["Id"]

    def found(ancestor: str) -> list[str]:
        filters = json.dumps({"ancestor": [ancestor]}).replace('"', "%22").replace(" ", "")
        return [one["Id"] for one in daemon.get(f"/containers/json?all=1&filters={filters}")]

    image = daemon.get("/images/app:v1/json")["Id"]
    for name in ("app:v1", "app:v2", image, image.removeprefix("sha256:")[:8]):
        assert found(name) == [container], name
    assert found("app") == [], "that is app:latest"
    assert found("localhost") == []
    daemon.post(f"/commit?container={container}&repo=child")
    child = daemon.post("/containers/create", {"Image": "child", "Cmd": ["true"]})["Id"]
    assert set(found("app:v1")) == {container, child}, "an image's children stand on it"
    assert found("child") == [child]
    daemon.remove_all()


def test_volumes_and_sudden_deaths(own_daemon: Daemon) -> None:
    """A removal that was cut short is finished, and nobody finds old files in a new volume."""
    daemon = own_daemon
    daemon.post("/volumes/create", {"Name": "old"})
    volumes = f"{daemon.root}/volumes"
    Path(f"{volumes}/old/_data/secret").write_text("old")
    daemon.kill()
    os.rename(f"{volumes}/old", f"{volumes}/.removed-0123456789abcdef")
    daemon.start()
    assert daemon.get("/volumes")["Volumes"] == []
    assert os.listdir(volumes) == []
    daemon.make_image("data:1", tar_of({"bin/busybox": busybox(), "data/a": b"a"}, mode=0o755))
    daemon.post("/volumes/create", {"Name": "old"})
    os.mkdir(f"{volumes}/old/_filling")  # of a daemon that was killed while it filled the volume
    Path(f"{volumes}/old/_filling/half").touch()
    host = {"NetworkMode": "none", "Binds": ["old:/data"]}
    daemon.post("/containers/create", {"Image": "data:1", "Cmd": ["/bin/busybox"], "HostConfig": host})
    assert os.listdir(f"{volumes}/old") == ["_data"]
    assert os.listdir(f"{volumes}/old/_data") == ["a"]
    assert os.stat(f"{volumes}/old/_data").st_mode & 0o777 == 0o755
    daemon.remove_all()
