"""The monitor's health checks, with plain programs instead of containers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from carboy.runtime.monitor.health import Health
from carboy.runtime.monitor.loop import Loop
from carboy.runtime.monitor.program import Program
from support.commands import until
from support.monitor import PATIENCE, Message, MonitorClient, Monitors, PlainContainer


def start(
    monitors: Monitors, script: str, *, main: str = "exec sleep 100", **plan: Any
) -> tuple[MonitorClient, int]:
    container = PlainContainer(["/bin/sh", "-c", main])
    health = {
        "args": ["/bin/sh", "-c", script],
        "interval": 0.02,
        "timeout": 5,
        "start_period": 0,
        "start_interval": 0.01,
        "retries": 2,
        **plan,
    }
    client, pid = monitors.fork(container, {"health": health})
    client.event("created")
    client.request("start")
    return client, pid


def finish(client: MonitorClient, pid: int) -> Message:
    client.request("signal", signal=9)
    exited = client.event("exited")
    client.end(pid)
    return exited


def test_starting_healthy_unhealthy(tmp_path: Path, monitors: Monitors) -> None:
    flag = tmp_path / "flag"
    client, pid = start(monitors, f"echo out; echo err >&2; test -e {flag}", interval=0.1)
    assert client.request("state")["state"]["health"]["status"] == "starting"
    exec_id = client.event("probe")["exec_id"]
    first = client.event("health")
    assert (first["exec_id"], first["status"], first["changed"]) == (exec_id, "starting", False)
    assert first["result"]["exit_code"] == 1
    assert sorted(first["result"]["output"].split()) == ["err", "out"]
    assert first["result"]["start"] < first["result"]["end"]
    second = client.event("health")
    assert (second["status"], second["changed"], second["failing_streak"]) == ("unhealthy", True, 2)
    flag.touch()
    while (found := client.event("health"))["result"]["exit_code"]:
        pass
    assert (found["status"], found["changed"], found["failing_streak"]) == ("healthy", True, 0)
    flag.unlink()
    while (found := client.event("health"))["status"] == "healthy":
        pass
    assert found["failing_streak"] == 2
    assert found["changed"]
    exited = finish(client, pid)
    assert exited["health"]["status"] == "unhealthy"
    assert len(exited["health"]["log"]) <= 5
    assert json.loads((tmp_path / "bundle" / "exit.json").read_text())["health"] == exited["health"]


def test_failures_in_the_start_period_do_not_count(monitors: Monitors) -> None:
    client, pid = start(monitors, "exit 1", start_period=1.5, interval=0.3)
    assert client.event("health")["failing_streak"] == 0
    while not (found := client.event("health"))["failing_streak"]:
        pass
    assert found["status"] == "starting"
    finish(client, pid)


def test_a_time_out_kills_the_probe_and_what_it_started(tmp_path: Path, monitors: Monitors) -> None:
    mark = tmp_path / "child"
    script = f"echo begun; sleep 97 & echo $! > {mark}; wait"
    client, pid = start(monitors, script, timeout=1, retries=1)
    found = client.event("health")
    assert found["result"]["exit_code"] == -1
    assert found["result"]["output"] == "Health check exceeded timeout (1s): begun\n"
    assert found["status"] == "unhealthy"
    child = int(mark.read_text())
    state = Path(f"/proc/{child}/stat")
    if group_kill():
        until(lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z")
    finish(client, pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, 9)


def group_kill() -> bool:
    """Whether the kernel signals groups by pidfd."""
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1].partition("-")[0])) >= (6, 9)


def test_output_is_bounded_and_any_bytes_do(monitors: Monitors) -> None:
    client, pid = start(monitors, "head -c 3000000 /dev/zero | tr '\\0' 'x'; exit 0")
    assert client.event("health")["result"]["output"] == "x" * 4096 + "..."
    finish(client, pid)
    client, pid = start(monitors, "head -c 4096 /dev/zero | tr '\\0' '\\377'", interval=0.01)
    for _ in range(7):
        output = client.event("health")["result"]["output"]
        assert output == "\ufffd" * 4096
    assert len(client.request("state")["state"]["health"]["log"]) == 5
    assert len(finish(client, pid)["health"]["log"]) == 5


def test_a_probe_that_leaves_something_behind_does_not_hold_the_next(
    tmp_path: Path, monitors: Monitors
) -> None:
    mark = tmp_path / "left"
    client, pid = start(monitors, f"test -e {mark} || {{ setsid sleep 96 & echo $! > {mark}; }}; echo ok")
    assert [client.event("health")["result"]["output"] for _ in range(3)] == ["ok\n"] * 3
    finish(client, pid)
    os.kill(int(mark.read_text()), 9)


def test_a_paused_container_is_not_probed(monitors: Monitors) -> None:
    client, pid = start(monitors, "true", interval=0.05)
    client.event("health")
    client.request("pause")
    state = client.request("state")["state"]["health"]
    assert state["status"] == "unhealthy"
    client.events.clear()
    client.socket.settimeout(0.2)
    try:
        message = client.receive()
    except TimeoutError:
        message = {}
    assert message == {}
    client.socket.settimeout(PATIENCE)
    client.request("resume")
    found = client.event("health")
    assert (found["status"], found["changed"]) == ("healthy", True)
    finish(client, pid)


def test_the_end_of_the_container_in_the_middle_of_a_probe(monitors: Monitors) -> None:
    client, pid = start(monitors, "exec sleep 95", timeout=90)
    client.event("probe")
    exited = finish(client, pid)
    assert exited["health"]["log"] == []


def test_a_probe_that_leads_no_group_yet_is_killed_as_well() -> None:
    """A child between its fork and its setsid: the kernel finds no group by its pidfd."""
    probe = Program(os.fork(), -1)
    if probe.pid == 0:
        signal.pause()
        os._exit(0)
    try:
        probe.pidfd = os.pidfd_open(probe.pid)
        plan = {"args": ["true"], "interval": 0, "start_interval": 0, "start_period": 0, "timeout": 90}
        loop = Loop()
        health = Health(loop, plan, lambda _: probe, lambda _, **fields: None)
        health.begin()
        loop.step()
        health.end()
        with pytest.raises(ChildProcessError):
            os.waitpid(probe.pid, os.WNOHANG)
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(probe.pid, 9)
            os.waitpid(probe.pid, 0)


def test_without_a_health_check_there_is_no_timer(monitors: Monitors) -> None:
    container = PlainContainer(["/bin/sh", "-c", "exit 0"])
    client, pid = monitors.fork(container)
    client.event("created")
    client.request("start")
    assert "health" not in client.event("exited")
    client.end(pid)
