"""Health checks of real containers: states, events, the log, pauses, and a daemon that dies meanwhile."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from support.commands import until
from support.daemon import IMAGE, Daemon, RequestError, busybox_tar, daemon, own_daemon
from support.hijack import run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(60)]
__all__ = ["daemon", "own_daemon"]

MS = 10**6
SECOND = 10**9
QUICK = {"Interval": 50 * MS, "Timeout": 5 * SECOND, "Retries": 2}


def start(daemon: Daemon, test: list[str], *, host: dict[str, Any] | None = None, **config: Any) -> str:
    health = {"Test": test, **QUICK, **config.pop("health", {})}
    host = {"NetworkMode": "none", **(host or {})}
    container = daemon.create("sleep", "100", host=host, Healthcheck=health, **config)
    daemon.post(f"/containers/{container}/start")
    return container


def health(daemon: Daemon, container: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.get(f"/containers/{container}/json")["State"]["Health"]
    return found


def wait_for(daemon: Daemon, container: str, status: str) -> dict[str, Any]:
    until(lambda: health(daemon, container)["Status"] == status)
    return health(daemon, container)


def events_of(daemon: Daemon, container: str) -> list[dict[str, Any]]:
    filters = json.dumps({"container": [container]}).replace(" ", "")
    text = daemon.request("GET", f"/events?since=0&until={time.time():.6f}&filters={filters}")
    return [json.loads(line) for line in text.splitlines()]


def listed(daemon: Daemon, **filters: list[str]) -> dict[str, str]:
    text = json.dumps(filters).replace(" ", "")
    found = daemon.get(f"/containers/json?all=1&filters={text}")
    return {one["Id"]: one["Status"] for one in found}


def test_from_starting_to_healthy_to_unhealthy_and_back(daemon: Daemon, tmp_path: Path) -> None:
    bind = {"Binds": [f"{tmp_path}:/host"]}
    slow = start(daemon, ["CMD", "true"], health={"Interval": 60 * SECOND})
    container = start(
        daemon, ["CMD-SHELL", "echo checked $KEY; test -e /host/ok"], host=bind, Env=["KEY=value"]
    )
    assert health(daemon, slow)["Status"] == "starting"
    assert listed(daemon, health=["starting"])[slow].endswith("(health: starting)")
    found = wait_for(daemon, container, "unhealthy")
    assert found["FailingStreak"] >= 2
    assert found["Log"][0]["ExitCode"] == 1
    assert found["Log"][0]["Output"] == "checked value\n"
    assert found["Log"][0]["Start"] < found["Log"][0]["End"]
    (tmp_path / "ok").touch()
    assert wait_for(daemon, container, "healthy")["FailingStreak"] == 0
    assert listed(daemon, health=["healthy"])[container].endswith("(healthy)")
    (tmp_path / "ok").unlink()
    wait_for(daemon, container, "unhealthy")
    assert listed(daemon, health=["unhealthy"])[container].endswith("(unhealthy)")
    actions = [one["Action"] for one in events_of(daemon, container)]
    changes = [one for one in actions if one.startswith("health_status")]
    assert changes == [f"health_status: {one}" for one in ("unhealthy", "healthy", "unhealthy")]
    first = actions.index("exec_create: /bin/sh -c echo checked $KEY; test -e /host/ok")
    assert actions[first + 1] == "exec_start: /bin/sh -c echo checked $KEY; test -e /host/ok"
    die = next(one for one in events_of(daemon, container) if one["Action"] == "exec_die")
    assert die["Actor"]["Attributes"]["exitCode"] == "1"
    assert len(die["Actor"]["Attributes"]["execID"]) == 64
    assert die["Actor"]["Attributes"]["image"] == IMAGE
    plain = daemon.create("true")
    assert "Health" not in daemon.get(f"/containers/{plain}/json")["State"]
    assert set(listed(daemon, health=["none"])) == {plain}
    with pytest.raises(RequestError, match="invalid filter 'health=well'"):
        listed(daemon, health=["well"])
    daemon.post(f"/containers/{container}/stop?t=0")
    after = health(daemon, container)
    assert after["Status"] == "unhealthy"
    assert len(after["Log"]) == 5
    daemon.remove_all()


def test_a_probe_is_the_container_s_user_with_its_limits(daemon: Daemon) -> None:
    script = "id -u; pwd; grep -c . /proc/self/cgroup >/dev/null; grep NoNewPrivs /proc/self/status; exit 3"
    options = {"SecurityOpt": ["no-new-privileges"]}
    container = start(daemon, ["CMD-SHELL", script], host=options, User="me", WorkingDir="/tmp")
    until(lambda: bool(health(daemon, container)["Log"]))
    log = health(daemon, container)["Log"][0]
    assert log["ExitCode"] == 3
    assert log["Output"] == "1000\n/tmp\nNoNewPrivs:\t1\n"
    daemon.remove_all()


def test_probes_and_execs_have_the_container_s_oom_score(daemon: Daemon) -> None:
    container = start(daemon, ["CMD", "cat", "/proc/self/oom_score_adj"], host={"OomScoreAdj": 300})
    assert wait_for(daemon, container, "healthy")["Log"][0]["Output"] == "300\n"
    assert run_exec(daemon, container, "cat", "/proc/self/oom_score_adj")[1] == b"300\n"
    daemon.remove_all()


def test_a_probe_that_cannot_run_or_takes_too_long(daemon: Daemon) -> None:
    missing = start(daemon, ["CMD", "nothing-here"])
    slow = start(daemon, ["CMD-SHELL", "echo begun; sleep 100; true"], health={"Timeout": 200 * MS})
    found = wait_for(daemon, missing, "unhealthy")
    assert found["Log"][0]["ExitCode"] == -1
    assert "executable file not found in $PATH" in found["Log"][0]["Output"]
    found = wait_for(daemon, slow, "unhealthy")
    assert found["Log"][0]["Output"] == "Health check exceeded timeout (200ms): begun\n"
    pid = daemon.get(f"/containers/{slow}/json")["State"]["Pid"]
    daemon.post(f"/containers/{slow}/pause")
    daemon.post(f"/containers/{slow}/unpause")
    inside = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: len(inside.read_text().split()) <= 3)  # killed with their probe; at most one runs
    daemon.remove_all()


def test_paused_containers_are_not_probed(daemon: Daemon) -> None:
    container = start(daemon, ["CMD", "true"])
    wait_for(daemon, container, "healthy")
    daemon.post(f"/containers/{container}/pause")
    before = health(daemon, container)
    assert before["Status"] == "unhealthy"
    assert listed(daemon)[container].endswith("(Paused)")
    time.sleep(0.2)
    assert health(daemon, container)["Log"][-1] == before["Log"][-1]
    daemon.post(f"/containers/{container}/unpause")
    wait_for(daemon, container, "healthy")
    daemon.remove_all()


def test_images_and_overrides(daemon: Daemon) -> None:
    change = "HEALTHCHECK --interval=100ms --retries=7 CMD echo from the image"
    query = f"fromSrc=-&repo=checked&tag=test&changes={change.replace(' ', '%20')}"
    daemon.request("POST", f"/images/create?{query}", busybox_tar())
    body = {"Image": "checked:test", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}}
    containers = [
        daemon.post("/containers/create", {**body, **more})["Id"]
        for more in ({}, {"Healthcheck": {"Retries": 1}}, {"Healthcheck": {"Test": ["NONE"]}})
    ]
    for container in containers:
        daemon.post(f"/containers/{container}/start")
    assert wait_for(daemon, containers[0], "healthy")["Log"][0]["Output"] == "from the image\n"
    configured = daemon.get(f"/containers/{containers[1]}/json")["Config"]["Healthcheck"]
    assert (configured["Interval"], configured["Retries"]) == (100 * MS, 1)
    assert "Health" not in daemon.get(f"/containers/{containers[2]}/json")["State"]
    with pytest.raises(RequestError, match="Interval in Healthcheck cannot be less than 1ms") as caught:
        daemon.post("/containers/create", {**body, "Healthcheck": {"Interval": 1}})
    assert caught.value.status == 400
    daemon.remove_all()
    daemon.request("DELETE", "/images/checked:test")


def test_checks_go_on_without_a_daemon_and_the_next_one_knows(own_daemon: Daemon, tmp_path: Path) -> None:
    daemon = own_daemon
    count = "echo x >> /host/count; wc -l < /host/count; test -e /host/ok"
    container = start(daemon, ["CMD-SHELL", count], host={"Binds": [f"{tmp_path}:/host"]})
    wait_for(daemon, container, "unhealthy")
    daemon.kill()
    (tmp_path / "ok").touch()
    lines = tmp_path / "count"
    before = len(lines.read_text())
    until(lambda: len(lines.read_text()) >= before + 12)
    daemon.start()
    found = health(daemon, container)
    assert (found["Status"], found["FailingStreak"]) == ("healthy", 0)
    assert len(found["Log"]) == 5
    numbers = [int(one["Output"]) for one in found["Log"]]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    # Its end while no daemon lives: the log comes with the exit.
    daemon.kill()
    pid = int(daemon_pid(daemon, container))
    until(lambda: not Path(f"/proc/{pid}").exists())
    daemon.start()
    after = health(daemon, container)
    assert after["Status"] == "unhealthy"
    assert len(after["Log"]) == 5
    daemon.remove_all()


def daemon_pid(daemon: Daemon, container: str) -> int:
    """Kill the container's init by what its monitor has recorded; gives its process id."""
    import os
    import signal

    path = Path(daemon.paths.container_run(container)) / "monitor.json"
    pid: int = json.loads(path.read_text())["init_pid"]
    os.kill(pid, signal.SIGKILL)
    return pid
