"""Kill -9 of daemon and spawner: containers run on, no log byte is lost, the next daemon knows all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.daemon import Daemon, RequestError, own_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(60)]
__all__ = ["own_daemon"]

# Prints in bursts, until told otherwise by a file on the host.
COUNT = (
    "i=0; while [ ! -e /host/stop ]; do n=$((i+200));"
    " while [ $i -lt $n ]; do i=$((i+1)); echo line $i; done; sleep 0.05; done; echo end $i; exit 3"
)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only another process's state shows."""
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def spawner_of(daemon: Daemon) -> int:
    """The process id of the daemon's spawner."""
    assert daemon.process is not None
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    found = [int(pid) for pid in children if b"spawner" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found[0]


def check_log(daemon: Daemon, container: str) -> None:
    """Every line from the first to the last, in order."""
    lines = daemon.output(container).split(b"\n")
    count = int(lines[-2].removeprefix(b"end "))
    assert lines[:-2] == [b"line %d" % number for number in range(1, count + 1)]


def test_kill_daemon_and_spawner_while_twenty_print(own_daemon: Daemon, tmp_path: Path) -> None:
    daemon = own_daemon
    host = {"NetworkMode": "none", "Binds": [f"{tmp_path}:/host"]}
    containers = [daemon.create("sh", "-c", COUNT, host=host) for _ in range(20)]
    for container in containers:
        daemon.post(f"/containers/{container}/start")
    early = daemon.create("sh", "-c", "while [ ! -e /host/early ]; do sleep 0.02; done; exit 42", host=host)
    daemon.post(f"/containers/{early}/start")
    pids = {one: daemon.get(f"/containers/{one}/json")["State"]["Pid"] for one in [*containers, early]}
    os.kill(spawner_of(daemon), signal.SIGKILL)
    daemon.kill()
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids.values())
    (tmp_path / "early").touch()
    until(lambda: not os.path.exists(f"/proc/{pids[early]}"))
    until(lambda: os.path.exists(f"{daemon.root}/containers/{early}/exit.json"))
    daemon.start()
    states = {one["Id"]: one["State"] for one in daemon.get("/containers/json?all=1")}
    assert states == {**dict.fromkeys(containers, "running"), early: "exited"}
    state = daemon.get(f"/containers/{early}/json")["State"]
    assert (state["ExitCode"], state["Error"]) == (42, "")
    assert daemon.output(containers[0], query="&tail=1").startswith(b"line ")
    daemon.post(f"/containers/{containers[19]}/stop?t=0")
    (tmp_path / "stop").touch()
    for container in containers[:19]:
        assert daemon.wait(container) == 3
        check_log(daemon, container)
    assert daemon.get(f"/containers/{containers[19]}/json")["State"]["ExitCode"] == 137
    daemon.post(f"/containers/{early}/start")
    assert daemon.wait(early) == 42
    daemon.remove_all()


def test_the_spawner_alone(own_daemon: Daemon) -> None:
    daemon = own_daemon
    running = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{running}/start")
    os.kill(spawner_of(daemon), signal.SIGKILL)
    assert daemon.run_container("echo", "again")[:2] == (0, b"again\n")
    assert daemon.get(f"/containers/{running}/json")["State"]["Running"]
    daemon.remove_all()


def test_sigterm_leaves_containers_running_and_the_next_daemon_serves_them(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = daemon.create("sh", "-c", "sleep 100", OpenStdin=True)
    daemon.post(f"/containers/{container}/start")
    before = daemon.get(f"/containers/{container}/json")
    spawner = spawner_of(daemon)
    assert daemon.stop() == 0
    assert not os.path.exists(f"/proc/{spawner}")
    assert os.path.exists(f"/proc/{before['State']['Pid']}")
    daemon.start()
    after = daemon.get(f"/containers/{container}/json")
    assert after["State"] == before["State"]
    assert after["NetworkSettings"]["IPAddress"] == before["NetworkSettings"]["IPAddress"] != ""
    other = daemon.create("sleep", "100")
    daemon.post(f"/containers/{other}/start")
    assert (
        daemon.get(f"/containers/{other}/json")["NetworkSettings"]["IPAddress"]
        != (after["NetworkSettings"]["IPAddress"])
    )
    daemon.post(f"/containers/{container}/kill")
    assert daemon.wait(container) == 137
    daemon.remove_all()


def test_a_killed_monitor_is_an_unknown_exit(own_daemon: Daemon) -> None:
    daemon = own_daemon
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert b"carboy monitor " + container[:12].encode() in Path(f"/proc/{monitor}/cmdline").read_bytes()
    os.kill(monitor, signal.SIGKILL)
    assert daemon.wait(container) == 255
    assert "exit unknown" in daemon.get(f"/containers/{container}/json")["State"]["Error"]
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    daemon.remove_all()


def test_one_daemon_for_a_root(own_daemon: Daemon) -> None:
    second = Daemon(own_daemon.home)
    with pytest.raises(AssertionError, match="another daemon"):
        second.start()
    assert second.process is not None
    assert second.process.wait(40) == 1
    assert own_daemon.request("GET", "/_ping") == b"OK"


def test_directories_are_closed_to_others(own_daemon: Daemon) -> None:
    root = Path(own_daemon.root)
    for name, mode in (("", 0o711), ("containers", 0o711), ("layers", 0o700), ("blobs", 0o700)):
        assert (root / name).stat().st_mode & 0o777 == mode
    assert (root / "db.sqlite").stat().st_mode & 0o077 == 0
    assert Path(own_daemon.socket).stat().st_mode & 0o777 == 0o660


def test_unfinished_containers_are_swept(own_daemon: Daemon) -> None:
    daemon = own_daemon
    kept = daemon.create("true")
    daemon.stop()
    stray = Path(daemon.root) / "containers" / ("f" * 64)
    (stray / "snapshot").mkdir(parents=True)
    other = Path(daemon.root) / "containers" / "not-ours"
    other.mkdir()
    daemon.start()
    assert not stray.exists()
    assert other.exists()
    other.rmdir()
    assert daemon.get(f"/containers/{kept}/json")["State"]["Status"] == "created"
    with pytest.raises(RequestError):
        daemon.get(f"/containers/{'f' * 64}/json")
