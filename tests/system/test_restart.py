"""Restart policies: back-off, counts, stops by hand, and what comes back after a death or a reboot."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from support.commands import kill_and_wait, until
from support.daemon import Daemon, RequestError, daemon, own_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(60)]
__all__ = ["daemon", "own_daemon"]


def policy(name: str, most: int = 0) -> dict[str, Any]:
    return {"NetworkMode": "none", "RestartPolicy": {"Name": name, "MaximumRetryCount": most}}


def run(daemon: Daemon, script: str, name: str, *, most: int = 0, binds: list[str] | None = None) -> str:
    container = daemon.create("sh", "-c", script, host={**policy(name, most), "Binds": binds or []})
    daemon.post(f"/containers/{container}/start")
    return container


def inspect(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.get(f"/containers/{container}/json")
    return found


def status(daemon: Daemon, container: str) -> str:
    found: str = inspect(daemon, container)["State"]["Status"]
    return found


def events_of(daemon: Daemon, container: str) -> list[str]:
    filters = json.dumps({"container": [container]}).replace(" ", "")
    text = daemon.request("GET", f"/events?since=0&until={time.time():.6f}&filters={filters}")
    return [json.loads(line)["Action"] for line in text.splitlines()]


def wait_running(daemon: Daemon, container: str) -> None:
    until(lambda: status(daemon, container) == "running", 25)


def wait_restarting(daemon: Daemon, container: str, count: int) -> None:
    """Until it waits for a later restart: the delay is long enough to act in."""
    until(
        lambda: (
            (found := inspect(daemon, container))["RestartCount"] >= count
            and found["State"]["Status"] == "restarting"
        )
    )


def test_on_failure_counts_and_ends(daemon: Daemon) -> None:
    container = run(daemon, "echo x; exit 3", "on-failure", most=2)
    until(lambda: status(daemon, container) == "exited")
    found = inspect(daemon, container)
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (2, 3)
    assert daemon.output(container) == b"x\n" * 3
    actions = events_of(daemon, container)
    assert actions == ["create", *["start", "die"] * 3]
    fine = run(daemon, "exit 0", "on-failure")
    assert daemon.wait(fine) == 0
    assert inspect(daemon, fine)["RestartCount"] == 0
    daemon.post(f"/containers/{container}/start")
    assert inspect(daemon, container)["RestartCount"] <= 1, "a start by hand begins anew"
    daemon.remove_all()


def test_the_delays_double(daemon: Daemon) -> None:
    container = run(daemon, "date +%s%N >> /root/x; cat /proc/uptime; exit 0", "always")
    until(lambda: daemon.output(container).count(b"\n") >= 5)
    moments = [float(line.split()[0]) for line in daemon.output(container).splitlines()]
    gaps = [after - before for before, after in itertools.pairwise(moments)][:4]
    for gap, delay in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert delay - 0.02 <= gap < delay + 0.6
    daemon.remove_all()


def test_what_can_be_done_while_it_waits(daemon: Daemon) -> None:
    container = run(daemon, "exit 5", "always")
    wait_restarting(daemon, container, 4)
    state = inspect(daemon, container)["State"]
    assert (state["Running"], state["Restarting"], state["Pid"], state["ExitCode"]) == (True, True, 0, 5)
    assert daemon.get("/containers/json")[0]["Status"].startswith("Restarting (5) ")
    exec_ = f"/containers/{container}/exec"
    for method, path, body, words in (
        ("DELETE", f"/containers/{container}", None, "container is restarting"),
        ("POST", f"/containers/{container}/pause", None, "is restarting, wait until"),
        ("POST", exec_, {"Cmd": ["true"]}, "is restarting, wait until"),
        ("POST", f"/containers/{container}/attach?stream=1&stdout=1", None, "is restarting, wait until"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            daemon.request(method, path, body)
        assert caught.value.status == 409
    daemon.post(f"/containers/{container}/stop")
    assert status(daemon, container) == "exited"
    assert events_of(daemon, container)[-1] == "stop"
    killed, removed, updated = (run(daemon, "exit 6", "always") for _ in range(3))
    for one in (killed, removed, updated):
        wait_restarting(daemon, one, 3)
    daemon.post(f"/containers/{killed}/kill")
    assert status(daemon, killed) == "exited"
    daemon.request("DELETE", f"/containers/{removed}?force=1")
    daemon.post(f"/containers/{updated}/start")
    assert inspect(daemon, updated)["RestartCount"] <= 1
    with pytest.raises(RequestError, match="AutoRemove"):
        daemon.create("true", host={**policy("always"), "AutoRemove": True})
    daemon.remove_all()


def test_another_policy_counts_from_the_next_end_on(daemon: Daemon, tmp_path: Path) -> None:
    script = "while [ ! -e /host/end ]; do usleep 10000; done; exit 3"
    container = run(daemon, script, "always", binds=[f"{tmp_path}:/host"])
    other = run(daemon, script, "no", binds=[f"{tmp_path}:/host"])
    daemon.post(f"/containers/{container}/update", {"RestartPolicy": {"Name": "no"}})
    daemon.post(
        f"/containers/{other}/update", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
    )
    (tmp_path / "end").touch()
    assert daemon.wait(container) == 3
    until(lambda: status(daemon, other) == "exited" and inspect(daemon, other)["RestartCount"] == 2)
    assert status(daemon, container) == "exited"
    assert inspect(daemon, container)["RestartCount"] == 0
    daemon.remove_all()


def test_those_who_wait_are_told_of_each_end(daemon: Daemon) -> None:
    container = run(daemon, "sleep 0.1; exit 7", "always")
    assert daemon.wait(container) == 7
    assert daemon.wait(container, "next-exit") == 7
    daemon.remove_all()


def test_a_stop_by_hand_is_honoured(daemon: Daemon) -> None:
    containers = [
        run(daemon, "trap 'exit 9' TERM; sleep 100 & wait", name) for name in ("always", "on-failure")
    ]
    for container in containers:
        daemon.post(f"/containers/{container}/stop?t=5")
        assert status(daemon, container) == "exited"
        assert events_of(daemon, container) == ["create", "start", "kill", "die", "stop"]
    killed = run(daemon, "sleep 100", "unless-stopped")
    daemon.post(f"/containers/{killed}/kill")
    assert status(daemon, killed) == "exited"
    # A signal that does not mean the end is no stop by hand.
    signalled = run(daemon, "trap 'exit 8' USR1; sleep 100 & wait", "always")
    daemon.post(f"/containers/{signalled}/kill?signal=USR1")
    until(lambda: inspect(daemon, signalled)["RestartCount"] == 1)
    until(lambda: status(daemon, signalled) == "running")
    daemon.remove_all()


def test_a_delay_survives_the_daemon(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = run(daemon, "exit 5", "always")
    steady = run(daemon, "sleep 100", "always")
    wait_restarting(daemon, container, 5)
    before = inspect(daemon, container)
    daemon.kill()
    daemon.start()
    after = inspect(daemon, container)
    assert (after["State"]["Status"], after["RestartCount"]) == ("restarting", before["RestartCount"])
    until(lambda: inspect(daemon, container)["RestartCount"] > before["RestartCount"])
    ended = after["State"]["FinishedAt"]
    assert inspect(daemon, container)["State"]["StartedAt"] > ended
    assert inspect(daemon, steady)["RestartCount"] == 0
    daemon.remove_all()


def test_ended_while_no_daemon_lived(own_daemon: Daemon, tmp_path: Path) -> None:
    daemon = own_daemon
    script = "while [ ! -e /host/$0 ]; do usleep 10000; done; rm /host/$0; exit 3"
    containers = {}
    for name in ("always", "unless-stopped", "on-failure", "no"):
        body = {**policy(name), "Binds": [f"{tmp_path}:/host"]}
        containers[name] = daemon.create("sh", "-c", script, name, host=body)
        daemon.post(f"/containers/{containers[name]}/start")
    stopped = run(daemon, "sleep 100", "unless-stopped")
    daemon.post(f"/containers/{stopped}/stop?t=0")
    created = daemon.create("sleep", "100", host=policy("always"))
    daemon.kill()
    for name in containers:
        (tmp_path / name).touch()
    until(
        lambda: all(
            (Path(daemon.root) / "containers" / one / "exit.json").exists() for one in containers.values()
        )
    )
    daemon.start()
    for name in ("always", "unless-stopped", "on-failure"):
        wait_running(daemon, containers[name])
        assert inspect(daemon, containers[name])["RestartCount"] == 1
    assert status(daemon, containers["no"]) == "exited"
    assert status(daemon, stopped) == "exited"
    assert status(daemon, created) == "created"
    assert events_of(daemon, containers["always"])[-2:] == ["die", "start"]
    daemon.remove_all()


def test_a_reboot(own_daemon: Daemon) -> None:
    daemon = own_daemon
    containers = {
        name: run(daemon, "sleep 100", name) for name in ("always", "unless-stopped", "on-failure", "no")
    }
    stopped = {name: run(daemon, "sleep 100", name) for name in ("always", "unless-stopped")}
    for one in stopped.values():
        daemon.post(f"/containers/{one}/stop?t=0")
    joined = daemon.create(
        "sleep", "100", host={**policy("always"), "NetworkMode": f"container:{containers['always']}"}
    )
    daemon.post(f"/containers/{joined}/start")
    pids = [int(inspect(daemon, one)["State"]["Pid"]) for one in [*containers.values(), joined]]
    monitors = [monitor_of(pid) for pid in pids]
    daemon.kill()
    # A power cut: every process dies at once, and the run directory is empty afterwards.
    kill_and_wait(*monitors)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    shutil.rmtree(daemon.paths.containers_run)
    daemon.start()
    for name in ("always", "unless-stopped", "on-failure"):
        wait_running(daemon, containers[name])
    wait_running(daemon, stopped["always"])
    wait_running(daemon, joined)
    assert status(daemon, stopped["unless-stopped"]) == "exited"
    found = inspect(daemon, containers["no"])["State"]
    assert (found["Status"], found["ExitCode"]) == ("exited", 255)
    daemon.remove_all()


def test_a_reboot_with_a_run_directory_that_stays(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = run(daemon, "sleep 100", "always")
    pid = int(inspect(daemon, container)["State"]["Pid"])
    path = Path(daemon.paths.container_run(container)) / "monitor.json"
    recorded = json.loads(path.read_text())
    daemon.kill()
    kill_and_wait(monitor_of(pid))
    until(lambda: not Path(f"/proc/{pid}").exists())
    # Our own number, but from another boot: must not be taken for the monitor, nor its group be swept.
    recorded |= {"boot_id": "0" * 36, "monitor_pid": os.getpid(), "cgroup": {"x": "/nowhere"}}
    path.write_text(json.dumps(recorded))
    daemon.start()
    until(lambda: status(daemon, container) == "running")
    assert inspect(daemon, container)["State"]["Pid"] != pid
    daemon.remove_all()


def test_records_of_an_older_daemon_are_read(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = run(daemon, "exit 1", "on-failure", most=1)
    until(lambda: status(daemon, container) == "exited")
    daemon.stop()
    with sqlite3.connect(daemon.paths.db) as connection:
        (text,) = connection.execute("SELECT document FROM containers").fetchone()
        document = json.loads(text)
        del document["restart_delay"], document["health"]
        connection.execute("UPDATE containers SET document = ?", (json.dumps(document).encode(),))
    connection.close()
    daemon.start()
    assert inspect(daemon, container)["RestartCount"] == 1
    daemon.remove_all()


def monitor_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
