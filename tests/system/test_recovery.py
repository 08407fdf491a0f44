"""Sudden deaths of daemon, spawner, monitors and inits, seen by a user of the command line.

`test_engine_survival.py` asks the same of the API, and that no log byte is lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from support.commands import Home, home, kill_and_wait, title, until, wait_ended
from support.daemon import IMAGE, Daemon, RequestError, busybox_tar, own_daemon
from support.leftovers import control_groups

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.timeout(60)]
__all__ = ["home", "own_daemon"]

ECHO = "while read line; do echo got $line; done; exit 4"


def converse(client: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Type a line, and read one."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(line + b"\n")
    client.stdin.flush()
    return client.stdout.readline().rstrip(b"\n")


def wait_for_end(home: Home, container: str) -> int:
    """A descriptor of the container's monitor: readable when everything of it has ended."""
    return os.pidfd_open(home.monitor(container))


def test_every_command_works_after_a_sudden_death(home: Home, tmp_path: Path) -> None:
    ends = "while [ ! -e /host/end ]; do usleep 10000; done; exit"
    bind = f"{tmp_path}:/host"
    echo = home.detached("-i", IMAGE, "sh", "-c", ECHO, network="bridge")
    paused = home.detached(IMAGE, "sleep", "100")
    home.run("pause", paused)
    stopped = home.detached("--init", IMAGE, "sleep", "100")
    ended = home.detached("-v", bind, IMAGE, "sh", "-c", f"{ends} 42")
    removed = home.detached("--rm", "-v", bind, "-v", "/data", IMAGE, "sh", "-c", f"{ends} 1")
    attached = home.start("attach", echo)
    assert converse(attached, b"one") == b"got one"
    monitors = [wait_for_end(home, one) for one in (ended, removed)]
    home.kill_daemon()
    (tmp_path / "end").touch()
    for fd in monitors:
        wait_ended(fd)
        os.close(fd)
    assert converse(attached, b"two") == b"got two", "an attached client needs no daemon"

    wanted = f"{ended} exited\n{stopped} running\n{paused} paused\n{echo} running"
    until(lambda: home.text("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}") == wanted)
    assert home.text("volume", "ls", "-q") == ""
    assert home.text("wait", ended) == "42"
    assert home.text("logs", echo) == "got one\ngot two"
    assert home.text("exec", echo, "echo", "hi") == "hi"
    other = home.start("attach", echo)
    assert converse(other, b"three") == b"got three"
    home.run("kill", echo)
    assert [one.communicate(timeout=40) for one in (attached, other)] == [(b"got three\n", b""), (b"", b"")]
    assert (attached.returncode, other.returncode) == (137, 137)
    home.run("unpause", paused)
    assert home.text("exec", paused, "echo", "awake") == "awake"
    home.run("stop", "-t", "5", stopped)
    assert home.inspect(stopped, "{{.State.ExitCode}}") == "143"
    home.run("rm", "-f", echo, paused, stopped, ended)


def test_a_run_gets_its_exit_code_over_the_daemons_death(home: Home, tmp_path: Path) -> None:
    script = "echo ready; while [ ! -e /host/end ]; do usleep 10000; done; echo done; exit 7"
    run = home.start(
        "run", "--name", "over", "--network", "none", "-v", f"{tmp_path}:/host", IMAGE, "sh", "-c", script
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    home.kill_daemon()
    (tmp_path / "end").touch()
    out, err = run.communicate(timeout=40)
    assert (out, err, run.returncode) == (b"done\n", b"", 7)
    home.run("rm", "over")


@pytest.mark.parametrize("alive", [True, False], ids=["daemon-alive", "daemon-dead"])
def test_a_killed_monitor_takes_its_container_along(home: Home, alive: bool) -> None:
    # A setuid program loses the signal that it would get at its parent's death: the sweep ends it.
    extra = {"bin/busybox-setuid": (0o4755, Path("/bin/busybox").read_bytes())}
    home.run("import", "-", "setuid:test", stdin=busybox_tar(extra))
    container = home.detached(
        "-u", "1000", "--memory", "64m", "setuid:test", "busybox-setuid", "sleep", "100"
    )
    monitor = home.monitor(container)
    init = os.pidfd_open(int(home.inspect(container, "{{.State.Pid}}")))
    if not alive:
        home.kill_daemon()
    kill_and_wait(monitor)
    state = (
        home.inspect(container, "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}") if not alive else ""
    )
    assert home.text("wait", container) == "255"
    wait_ended(init)
    os.close(init)
    state = state or home.inspect(container, "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}")
    assert state.startswith("exited 255 exit unknown")
    home.run("start", container)
    assert home.text("exec", container, "echo", "again") == "again"
    home.run("rm", "-f", container)
    assert not any(container in group for group in groups(home))


def groups(home: Home) -> list[str]:
    """The control groups of this home's daemon."""
    return control_groups(Daemon(home.path).paths.cgroup_parent)


def test_a_killed_init_is_an_exit_like_any_other(home: Home) -> None:
    container = home.detached(IMAGE, "sh", "-c", "sleep 100; true")
    os.kill(int(home.inspect(container, "{{.State.Pid}}")), signal.SIGKILL)
    assert home.text("wait", container) == "137"
    assert home.inspect(container, "{{.State.Status}} [{{.State.Error}}]") == "exited []"
    home.run("rm", container)


def test_sigterm_ends_the_daemon_and_spawner_only(home: Home) -> None:
    container = home.detached(IMAGE, "sleep", "100")
    monitor, spawner = home.monitor(container), os.pidfd_open(home.spawner)
    kill_and_wait(home.daemon, number=signal.SIGTERM)
    wait_ended(spawner)
    os.close(spawner)
    assert title(monitor) == f"carboy monitor {container[:12]}"
    assert home.text("exec", container, "echo", "hi") == "hi"
    home.run("rm", "-f", container)


def test_many_commands_start_one_daemon(home: Home) -> None:
    kill_and_wait(home.daemon)
    commands = [home.start("ps", "-q") for _ in range(8)]
    for command in commands:
        _, err = command.communicate(timeout=40)
        assert (command.returncode, err) == (0, b"")
    mark = f"--root\0{home.root}\0".encode()
    daemons = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{name}/cmdline").read_bytes() or int(name) == home.daemon:
                daemons.append(int(name))
    assert daemons == [home.daemon]


def test_deaths_in_the_middle_of_starts_leave_nothing(own_daemon: Daemon) -> None:
    daemon = own_daemon
    for round_ in range(3):
        host = {"NetworkMode": "bridge" if round_ else "none", "Memory": 64 << 20}
        containers = [daemon.create("sleep", "100", host=host) for _ in range(6)]

        def start(container: str) -> None:
            with contextlib.suppress(RequestError, OSError):
                daemon.post(f"/containers/{container}/start")

        threads = [threading.Thread(target=start, args=(one,)) for one in containers]
        for thread in threads:
            thread.start()
        # Not a sleep: die at the moment when the first of them runs.
        with contextlib.suppress(RequestError, OSError):
            daemon.get(f"/containers/{containers[round_]}/json")
        daemon.kill()
        for thread in threads:
            thread.join(40)
        daemon.start()
        states = {one["Id"]: one["State"] for one in daemon.get("/containers/json?all=1")}
        assert set(containers) == set(states)
        for container, state in states.items():
            if state != "running":
                daemon.post(f"/containers/{container}/start")
        daemon.remove_all()
    assert daemon.run_container("echo", "fine")[:2] == (0, b"fine\n")
    left = [one for one in control_groups(daemon.paths.cgroup_parent) if len(one.rpartition("/")[2]) == 64]
    assert left == []
    names = subprocess.run(
        ["ls", "/sys/class/net"], capture_output=True, text=True, check=True
    ).stdout.split()
    for name in names:
        master = Path(f"/sys/class/net/{name}/master")
        assert not (master.exists() and master.resolve().name == daemon.bridge), (
            f"{name} is left on the bridge"
        )
