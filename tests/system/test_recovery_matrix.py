"""Kill -9 of daemon, spawner, monitor and init in every state of a container: what is true afterwards.

One daemon for each victim; its fixture checks at the end that no mount, namespace, veth, control
group or process is left on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.commands import kill_and_wait, until
from support.daemon import Daemon, RequestError, own_daemon
from support.hijack import attach, read_until, run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(90)]
__all__ = ["own_daemon"]

DEAF = "trap '' TERM; echo deaf; while :; do sleep 100; done"
ECHO = "echo ready; while read line; do echo got $line; done; exit 4"


class Stage:
    """A container in each state, and what goes on with them."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.ids: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.monitors: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        self.threads: list[threading.Thread] = []
        bridge, none = {"NetworkMode": "bridge"}, {"NetworkMode": "none"}
        always = {**none, "RestartPolicy": {"Name": "always"}}
        self._make("created", "true", host=bridge)
        self._make("running", "sleep 100", host={**bridge, "Memory": 64 << 20})
        self._make("paused", "sleep 100", host=none)
        self._make("restarting", "exit 5", host=always)
        self._make("always", "sleep 100", host=always)
        self._make("exec", "sleep 100", host=none)
        self._make("attached", ECHO, host=none, OpenStdin=True)
        self._make("stopping", DEAF, host=none)
        for name in self.ids:
            if name != "created":
                daemon.post(f"/containers/{self.ids[name]}/start")
                self._look(name)
        daemon.post(f"/containers/{self.ids['paused']}/pause")
        self.exec_id = daemon.post(f"/containers/{self.ids['exec']}/exec", {"Cmd": ["sleep", "90"]})["Id"]
        daemon.post(f"/exec/{self.exec_id}/start", {"Detach": True})
        self.client = attach(daemon, self.ids["attached"], "stdin=1&stdout=1&logs=1").__enter__()
        read_until(self.client, b"ready")
        until(lambda: b"deaf" in daemon.output(self.ids["stopping"]))
        self._behind("stopping", f"/containers/{self.ids['stopping']}/stop?t=30")
        until(lambda: self.inspect("restarting")["RestartCount"] >= 3)
        until(lambda: self.state("restarting") == "restarting")

    def _make(self, name: str, script: str, **config: Any) -> None:
        self.ids[name] = self.daemon.create("sh", "-c", script, name=name, **config)

    def _look(self, name: str) -> None:
        pid = self.inspect(name)["State"]["Pid"]
        if pid:
            self.pids[name] = pid
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                self.monitors[name] = int(stat[1])

    def _behind(self, name: str, path: str) -> None:
        def ask() -> None:
            try:
                self.daemon.post(path)
                self.answers[name] = 204
            except RequestError as error:
                self.answers[name] = error.status
            except OSError:
                self.answers[name] = 0

        thread = threading.Thread(target=ask)
        thread.start()
        self.threads.append(thread)

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.daemon.get(f"/containers/{self.ids[name]}/json")
        return found

    def state(self, name: str) -> str:
        found: str = self.inspect(name)["State"]["Status"]
        return found

    def states(self) -> dict[str, str]:
        return {one["Names"][0][1:]: one["State"] for one in self.daemon.get("/containers/json?all=1")}

    def settle(self, **expected: str) -> None:
        """Until each container is in the state that is expected of it."""
        found: dict[str, str] = {}

        def same() -> bool:
            found.update(self.states())
            return all(found[name] == state for name, state in expected.items())

        with contextlib.suppress(AssertionError):
            until(same)
        assert {name: found[name] for name in expected} == expected

    def talk(self) -> None:
        """The attached client is heard and hears."""
        self.client.sendall(b"word\n")
        read_until(self.client, b"got word")

    def usable(self) -> None:
        """Whatever has happened, everything can be started, used and removed."""
        daemon = self.daemon
        for thread in self.threads:
            thread.join(40)
        self.client.close()
        for name, state in self.states().items():
            if state in ("created", "exited") and name != "restarting":
                daemon.post(f"/containers/{name}/start")
            elif state == "paused":
                daemon.post(f"/containers/{name}/unpause")
        assert run_exec(daemon, self.ids["running"], "echo", "hello") == (0, b"hello\n", b"")
        daemon.remove_all()
        assert daemon.get("/containers/json?all=1") == []


@pytest.fixture
def stage(own_daemon: Daemon) -> Stage:
    return Stage(own_daemon)


def spawner_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    pid = daemon.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(one) for one in children if b"spawner" in Path(f"/proc/{one}/cmdline").read_bytes())


def test_the_daemon(stage: Stage) -> None:
    stage.daemon.kill()
    stage.talk()
    stage.daemon.start()
    stage.settle(
        created="created",
        running="running",
        paused="paused",
        always="running",
        exec="running",
        stopping="running",
    )
    assert stage.state("restarting") in ("restarting", "running")
    assert stage.answers["stopping"] == 0
    assert not stage.inspect("stopping")["State"]["Dead"]
    stage.talk()
    top = run_exec(stage.daemon, stage.ids["exec"], "ps")[1]
    assert b"sleep 90" in top
    for name in stage.pids.keys() - {"restarting"}:
        assert stage.inspect(name)["State"]["Pid"] == stage.pids[name]
    stage.daemon.post(f"/containers/{stage.ids['stopping']}/stop?t=0")
    stage.settle(stopping="exited")
    stage.usable()


def test_the_spawner(stage: Stage) -> None:
    kill_and_wait(spawner_of(stage.daemon))
    stage.talk()
    stage.settle(
        created="created",
        running="running",
        paused="paused",
        always="running",
        exec="running",
        stopping="running",
    )
    count = stage.inspect("restarting")["RestartCount"]
    until(lambda: stage.inspect("restarting")["RestartCount"] > count)
    stage.daemon.post(f"/containers/{stage.ids['stopping']}/kill")
    stage.usable()
    assert stage.answers["stopping"] == 204


def test_daemon_and_spawner(stage: Stage) -> None:
    spawner = spawner_of(stage.daemon)
    kill_and_wait(spawner)
    stage.daemon.kill()
    stage.daemon.start()
    stage.settle(
        created="created", running="running", paused="paused", attached="running", stopping="running"
    )
    stage.usable()


def test_the_monitors(stage: Stage) -> None:
    names = ("running", "paused", "always", "exec", "attached", "stopping")
    kill_and_wait(*(stage.monitors[name] for name in names))
    stage.settle(running="exited", paused="exited", exec="exited", attached="exited", stopping="exited")
    until(lambda: stage.inspect("always")["RestartCount"] == 1 and stage.state("always") == "running")
    for name in ("running", "paused", "exec", "attached", "stopping"):
        state = stage.inspect(name)["State"]
        assert (state["ExitCode"], state["Pid"]) == (255, 0)
        assert "exit unknown" in state["Error"]
    assert stage.client.recv(1000) == b""
    until(lambda: not any(os.path.exists(f"/proc/{stage.pids[name]}") for name in names))
    assert stage.daemon.get(f"/exec/{stage.exec_id}/json")["Running"] is False
    stage.usable()
    assert stage.answers["stopping"] == 204


def test_the_monitors_while_no_daemon_lives(stage: Stage) -> None:
    names = ("running", "paused", "always", "exec", "attached", "stopping")
    stage.daemon.kill()
    kill_and_wait(*(stage.monitors[name] for name in names))
    stage.daemon.start()
    stage.settle(running="exited", paused="exited", exec="exited", attached="exited", stopping="exited")
    until(lambda: stage.inspect("always")["RestartCount"] == 1 and stage.state("always") == "running")
    until(lambda: not any(os.path.exists(f"/proc/{stage.pids[name]}") for name in names))
    stage.usable()


@pytest.mark.parametrize("alive", [True, False], ids=["daemon-alive", "daemon-dead"])
def test_the_inits(stage: Stage, alive: bool) -> None:
    names = ("running", "always", "exec", "attached", "stopping")
    if not alive:
        stage.daemon.kill()
    for name in (*names, "paused"):
        os.kill(stage.pids[name], signal.SIGKILL)
    if not alive:
        until(lambda: not any(os.path.exists(f"/proc/{stage.pids[name]}") for name in names))
        stage.daemon.start()
    stage.settle(running="exited", exec="exited", attached="exited", stopping="exited")
    until(lambda: stage.inspect("always")["RestartCount"] == 1 and stage.state("always") == "running")
    assert {stage.inspect(name)["State"]["ExitCode"] for name in names[2:]} == {137}
    if stage.state("paused") == "paused":
        # A frozen process of v1 dies when it is thawed.
        stage.daemon.post("/containers/paused/unpause")
    stage.settle(paused="exited")
    assert stage.inspect("paused")["State"]["ExitCode"] == 137
    if alive:
        assert stage.daemon.get(f"/exec/{stage.exec_id}/json")["ExitCode"] == 137
    stage.usable()


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def monitors_below(spawner: int) -> list[int]:
    return children(spawner)


def inits_below(spawner: int) -> list[int]:
    return [child for monitor in children(spawner) for child in children(monitor)]


@pytest.mark.parametrize(
    "find", [monitors_below, inits_below, lambda spawner: [spawner]], ids=["monitor", "init", "spawner"]
)
def test_in_the_middle_of_starts(own_daemon: Daemon, find: Callable[[int], list[int]]) -> None:
    daemon = own_daemon
    host = {"NetworkMode": "bridge", "Memory": 64 << 20}
    containers = [daemon.create("sleep", "100", host=host) for _ in range(6)]
    outcomes: dict[str, str] = {}
    ended = threading.Event()

    def start_all() -> None:
        for container in containers:
            try:
                daemon.post(f"/containers/{container}/start")
                outcomes[container] = "started"
            except RequestError as error:
                outcomes[container] = error.message
        ended.set()

    spawner = spawner_of(daemon)
    thread = threading.Thread(target=start_all)
    thread.start()
    killed = 0
    while not ended.is_set() and killed < 4:
        for pid in find(spawner):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if find.__name__ == "<lambda>":
            break
    thread.join(40)
    assert len(outcomes) == len(containers), "no start hangs"
    for container, outcome in outcomes.items():
        state = daemon.get(f"/containers/{container}/json")["State"]
        assert state["Status"] in (("running", "exited") if outcome == "started" else ("created", "exited"))
        if outcome != "started":
            assert state["Error"] == "" or state["Pid"] == 0
            assert len(outcome) > 10
        if state["Status"] == "running":
            assert os.path.exists(f"/proc/{state['Pid']}")
        else:
            daemon.post(f"/containers/{container}/start")
    until(lambda: {one["State"] for one in daemon.get("/containers/json?all=1")} == {"running"})
    daemon.remove_all()


@pytest.mark.parametrize("gone", ["nothing", "files", "all-but-record"])
def test_a_removal_that_was_begun_is_finished(own_daemon: Daemon, gone: str) -> None:
    daemon = own_daemon
    container = daemon.create("true", host={"NetworkMode": "none"}, Volumes={"/data": {}})
    kept = daemon.create("true", name="kept")
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    daemon.kill()
    directory = Path(daemon.paths.container(container))
    if gone == "files":
        (directory / "config.json").unlink()
    elif gone == "all-but-record":
        shutil.rmtree(directory)
    with contextlib.closing(sqlite3.connect(daemon.paths.db)) as connection, connection:
        query = "SELECT document FROM containers WHERE id = ?"
        document = json.loads(connection.execute(query, (container,)).fetchone()[0])
        document["state"] = "removing"
        connection.execute(
            "UPDATE containers SET document = ? WHERE id = ?", (json.dumps(document).encode(), container)
        )
    daemon.start()
    until(lambda: [one["Id"] for one in daemon.get("/containers/json?all=1")] == [kept])
    assert not directory.exists()
    daemon.remove_all()


def test_a_daemon_killed_while_it_removes(own_daemon: Daemon) -> None:
    daemon = own_daemon
    script = "mkdir /many; cd /many; i=0; while [ $i -lt 800 ]; do : > $i; i=$((i+1)); done"
    containers = [daemon.create("sh", "-c", script, host={"NetworkMode": "none"}) for _ in range(2)]
    for one in containers:
        daemon.post(f"/containers/{one}/start")
    for one in containers:
        daemon.wait(one)

    def remove(container: str) -> None:
        with contextlib.suppress(RequestError, OSError):
            daemon.request("DELETE", f"/containers/{container}")

    threads = [threading.Thread(target=remove, args=(one,)) for one in containers]
    many = Path(daemon.paths.upper(containers[0])) / "many"
    before = len(os.listdir(many))
    for thread in threads:
        thread.start()
    with contextlib.suppress(OSError):
        while len(os.listdir(many)) == before:
            pass
    daemon.kill()
    for thread in threads:
        thread.join(40)
    daemon.start()

    def true_states() -> bool:
        found = {one["Id"]: one["State"] for one in daemon.get("/containers/json?all=1")}
        return all(os.path.isdir(daemon.paths.container(one)) == (one in found) for one in containers)

    until(true_states)
    daemon.remove_all()


def test_a_client_that_waits_is_told_by_a_broken_connection(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(daemon.socket)
        client.sendall(f"POST /containers/{container}/wait HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        daemon.kill()
        while client.recv(1000):
            pass
    daemon.start()
    daemon.remove_all()
