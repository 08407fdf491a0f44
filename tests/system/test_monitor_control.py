"""Pause, memory kills, `--init`, many execs, and the end of everything that an exec left."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from carboy.runtime.monitor.supervisor import DRAIN
from support.commands import until
from support.daemon import Daemon, RequestError, daemon
from support.hijack import attach, open_hijacked, read_all, read_until, run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

NONE = {"NetworkMode": "none"}


def start(daemon: Daemon, *command: str, host: dict[str, Any] | None = None, **config: Any) -> str:
    container = daemon.create(*command, host={**NONE, **(host or {})}, **config)
    daemon.post(f"/containers/{container}/start")
    return container


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def monitor_of(daemon: Daemon, container: str) -> int:
    return parent_of(daemon.get(f"/containers/{container}/json")["State"]["Pid"])


def test_a_paused_container_stands_still(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "while :; do echo x; usleep 1000; done")
    with attach(daemon, container, "stdout=1") as client:
        read_until(client, b"x")
        daemon.post(f"/containers/{container}/pause")
        size = -1
        while size != (size := len(daemon.output(container))):
            time.sleep(0.02)  # what was in the pipe is still being logged
        with pytest.raises(RequestError, match="is paused") as caught:
            daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]})
        assert caught.value.status == 409
        for action in ("pause", "start"):
            with pytest.raises(RequestError, match="paused"):
                daemon.post(f"/containers/{container}/{action}")
        assert len(daemon.output(container)) == size
        daemon.post(f"/containers/{container}/unpause")
        read_until(client, b"x")
    daemon.post(f"/containers/{container}/pause")
    daemon.post(f"/containers/{container}/kill")
    assert daemon.get(f"/containers/{container}/json")["State"]["ExitCode"] == 137
    daemon.remove_all()


def test_an_exec_made_before_a_pause_is_refused_too(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100")
    exec_id = daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]})["Id"]
    daemon.post(f"/containers/{container}/pause")
    with pytest.raises(RequestError, match="is paused"):
        daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
    daemon.post(f"/containers/{container}/stop?t=0")
    daemon.remove_all()


def test_a_memory_kill_of_a_child_is_told_at_once(daemon: Daemon) -> None:
    limit = {"Memory": 16 << 20, "MemorySwap": 16 << 20}
    script = "tail /dev/zero; echo killed $?; sleep 100"
    since = time.time()
    container = start(daemon, "sh", "-c", script, host=limit)
    with attach(daemon, container, "stdout=1&logs=1") as client:
        read_until(client, b"killed 137")
    filters = json.dumps({"container": [container], "event": ["oom"]}).replace(" ", "")
    text = b""
    while not text:
        text = daemon.request("GET", f"/events?since={since:.6f}&until={time.time():.6f}&filters={filters}")
    state = daemon.get(f"/containers/{container}/json")["State"]
    assert state["Running"]
    daemon.post(f"/containers/{container}/kill")
    assert daemon.get(f"/containers/{container}/json")["State"]["OOMKilled"]
    text = daemon.request("GET", f"/events?since={since:.6f}&until={time.time():.6f}&filters={filters}")
    assert [json.loads(line)["Action"] for line in text.splitlines()] == ["oom"], "told once"
    daemon.remove_all()


def test_memory_within_the_limit_is_no_kill(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "exit 137", host={"Memory": 16 << 20})
    assert daemon.wait(container) == 137
    assert not daemon.get(f"/containers/{container}/json")["State"]["OOMKilled"]
    daemon.remove_all()


def test_init_forwards_signals_and_reaps(daemon: Daemon) -> None:
    script = "trap 'echo usr1; exit 9' USR1; (sleep 0.01 & exec true); echo up; while :; do usleep 5000; done"
    container = start(daemon, "sh", "-c", script, host={"Init": True})
    with attach(daemon, container, "stdout=1&logs=1") as client:
        read_until(client, b"up")
        first = run_exec(
            daemon, container, "sh", "-c", "cat /proc/1/comm; readlink /proc/1/exe; ls -l /proc/1/fd"
        )
        assert first[1].startswith(b"carboy-init\n"), first
        wait = "while grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | grep -q .; do usleep 5000; done"
        assert run_exec(daemon, container, "sh", "-c", wait)[0] == 0
        daemon.post(f"/containers/{container}/kill?signal=USR1")
        assert b"usr1" in read_all(client)
    assert daemon.wait(container) == 9
    daemon.remove_all()


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("KILL", 137)])
def test_init_ends_as_its_program(daemon: Daemon, signal: str, code: int) -> None:
    container = start(daemon, "sleep", "100", host={"Init": True})
    daemon.post(f"/containers/{container}/kill?signal={signal}")
    assert daemon.wait(container) == code
    daemon.remove_all()


def test_init_is_not_to_be_read_by_the_container(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100", host={"Init": True})
    script = "cat /proc/1/environ; cat /proc/1/maps; ls /proc/1/fd; readlink /proc/1/exe; cat /proc/1/cmdline"
    _, out, err = run_exec(daemon, container, "sh", "-c", script)
    assert b"python" not in out.lower() + err.lower()
    assert b"carboy/" not in out + err
    daemon.remove_all()


def test_many_execs_leave_nothing_in_the_monitor(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100")
    monitor = monitor_of(daemon, container)
    before = len(os.listdir(f"/proc/{monitor}/fd"))
    for number in range(15):
        assert run_exec(daemon, container, "true", Tty=False, AttachStdin=bool(number % 2))[0] == 0
    for _ in range(5):
        body = {"Cmd": ["true"], "AttachStdout": True, "Tty": True}
        exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
        with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Detach": False, "Tty": True}) as client:
            read_all(client)
    until(lambda: len(os.listdir(f"/proc/{monitor}/fd")) == before)
    daemon.remove_all()


def test_execs_end_with_their_container(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100")
    body = {"Cmd": ["sh", "-c", "echo up; sleep 100"], "AttachStdout": True}
    exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Detach": False}) as client:
        read_until(client, b"up")
        path = f"/exec/{exec_id}/json"
        until(lambda: daemon.get(path)["Pid"])  # what it prints may come before
        pid = daemon.get(path)["Pid"]
        assert parent_of(pid) == monitor_of(daemon, container)
        daemon.post(f"/containers/{container}/kill")
        read_all(client)
    shown = daemon.get(f"/exec/{exec_id}/json")
    assert (shown["Running"], shown["ExitCode"]) == (False, 137)
    assert not os.path.exists(f"/proc/{pid}")
    daemon.remove_all()


def test_children_that_hold_the_output_end_with_the_program(daemon: Daemon) -> None:
    durations: list[float] = []
    while len(durations) < 5 and min(durations, default=DRAIN) >= DRAIN * 0.75:  # a busy machine may be late
        container = start(daemon, "sh", "-c", "sleep 100 & echo up; exit 3", host={"PidMode": "host"})
        began = time.monotonic()
        assert daemon.wait(container) == 3
        durations.append(time.monotonic() - began)
        assert daemon.output(container) == b"up\n"
    assert min(durations) < DRAIN * 0.75, "the end was told as if somebody else held the output"
    daemon.remove_all()


def test_stop_signal_and_timeout(daemon: Daemon) -> None:
    script = "trap 'exit 8' USR2; trap '' TERM; echo up; while :; do usleep 5000; done"
    container = start(daemon, "sh", "-c", script, StopSignal="SIGUSR2")
    with attach(daemon, container, "stdout=1&logs=1") as client:
        read_until(client, b"up")
    daemon.post(f"/containers/{container}/stop?t=5")
    assert daemon.get(f"/containers/{container}/json")["State"]["ExitCode"] == 8
    daemon.remove_all()


def test_an_exec_in_a_group_that_somebody_has_frozen(daemon: Daemon) -> None:
    """It would stand still with whoever waits for it: it is refused, and the monitor goes on."""
    container = start(daemon, "sleep", "100")
    pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
    groups = dict(line.split(":")[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "freezer" not in groups:
        pytest.skip("the freezer is not of version 1")
    state = Path(f"/sys/fs/cgroup/freezer{groups['freezer']}/freezer.state")
    state.write_text("FROZEN")
    try:
        with pytest.raises(RequestError, match="is frozen") as caught:
            exec_id = daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]})["Id"]
            daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
        assert caught.value.status in (400, 409)
    finally:
        state.write_text("THAWED")
    assert run_exec(daemon, container, "echo", "on")[1] == b"on\n"
    daemon.remove_all()
