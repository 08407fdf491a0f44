"""Exec as clients of the API see it: states, terminals, users and rights from the inside, big output."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError, daemon, demultiplex
from support.hijack import open_hijacked, read_all, read_until, run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

NOT_FOUND = b'OCI runtime exec failed: exec failed: unable to start container process: exec: "nix": '
NOT_FOUND += b"executable file not found in $PATH: unknown\r\n"


@pytest.fixture
def container(daemon: Daemon) -> Iterator[str]:
    made = daemon.create(
        "sleep", "1000", host={"NetworkMode": "none"}, Env=["A=image", "B=image"], WorkingDir="/tmp"
    )
    daemon.post(f"/containers/{made}/start")
    yield made
    daemon.remove_all()


def create(daemon: Daemon, container: str, *command: str, **config: Any) -> str:
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **config}
    exec_id: str = daemon.post(f"/containers/{container}/exec", body)["Id"]
    return exec_id


def error(daemon: Daemon, path: str, body: Any) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        daemon.post(path, body)
    return caught.value.status, caught.value.message


def output(daemon: Daemon, container: str, *command: str, **config: Any) -> bytes:
    code, out, err = run_exec(daemon, container, *command, **config)
    assert (code, err) == (0, b"")
    return out


def test_user_directory_and_environment(daemon: Daemon, container: str) -> None:
    script = 'id -u; id -G; pwd; echo "$A $B $C $HOME"; grep -c . /proc/self/status > /dev/null'
    found = output(
        daemon, container, "sh", "-c", script, User="me", WorkingDir="/etc", Env=["A=exec", "C=x=y", "B"]
    )
    assert found == b"1000\n1000 2000\n/etc\nexec  x=y /home/me\n"
    assert output(daemon, container, "sh", "-c", "pwd; echo $A") == b"/tmp\nimage\n"


def test_rights_are_the_containers_or_all(daemon: Daemon, container: str) -> None:
    def capabilities(**config: Any) -> int:
        return int(output(daemon, container, "awk", "/CapEff/ {print $2}", "/proc/self/status", **config), 16)

    usual, all_of_them = capabilities(), capabilities(Privileged=True)
    assert usual == 0xA80425FB
    assert all_of_them & usual == usual
    assert all_of_them & 1 << 21  # CAP_SYS_ADMIN
    assert capabilities(User="me") == 0


def test_limits_are_the_containers(daemon: Daemon) -> None:
    limits = [{"Name": "nofile", "Soft": 100, "Hard": 200}]
    limited = daemon.create("sleep", "1000", host={"Ulimits": limits})
    try:
        daemon.post(f"/containers/{limited}/start")
        assert output(daemon, limited, "sh", "-c", "ulimit -Sn; ulimit -Hn") == b"100\n200\n"
    finally:
        daemon.request("DELETE", f"/containers/{limited}?force=1")


def test_states_of_an_exec(daemon: Daemon, container: str) -> None:
    exec_id = create(
        daemon, container, "sh", "-c", "read x; exit 7", AttachStdin=True, Tty=False, DetachKeys="ctrl-a"
    )
    path, start = f"/exec/{exec_id}/json", f"/exec/{exec_id}/start"
    made = daemon.get(path)
    assert (made["Running"], made["ExitCode"], made["Pid"], made["CanRemove"]) == (False, None, 0, False)
    assert made["ContainerID"] == container
    assert made["DetachKeys"] == "ctrl-a"
    assert (made["OpenStdin"], made["OpenStdout"], made["OpenStderr"]) == (True, True, True)
    assert made["ProcessConfig"] == {
        "entrypoint": "sh",
        "arguments": ["-c", "read x; exit 7"],
        "tty": False,
        "privileged": False,
    }
    assert daemon.get(f"/containers/{container}/json")["ExecIDs"] == [exec_id]
    with open_hijacked(daemon, start, {}) as connection:
        assert daemon.get(path)["Running"] is True
        while not daemon.get(path)["Pid"]:
            time.sleep(0.01)
        assert error(daemon, start, {}) == (409, f"Error: Exec command {exec_id} is already running")
        connection.sendall(b"\n")
        assert read_all(connection) == b""
    assert daemon.get(path)["ExitCode"] == 7
    assert error(daemon, start, {}) == (409, f"Error: Exec command {exec_id} has already run")
    assert daemon.get(f"/containers/{container}/json")["ExecIDs"] is None
    assert error(daemon, "/exec/nix/start", {}) == (404, "No such exec instance: nix")


def test_what_cannot_be_executed(daemon: Daemon, container: str) -> None:
    exec_id = create(daemon, container, "nix")
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {}) as connection:
        assert demultiplex(read_all(connection)) == {1: NOT_FOUND, 2: b""}
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 127
    exec_id = create(daemon, container, "/etc/passwd", Tty=True)
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Tty": True}) as connection:
        assert b"permission denied" in read_all(connection)
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 126
    exec_id = create(daemon, container, "nix")
    assert error(daemon, f"/exec/{exec_id}/start", {"Detach": True}) == (400, NOT_FOUND.decode().strip())
    assert daemon.get(f"/containers/{container}/json")["ExecIDs"] is None


def test_a_stopped_container_executes_nothing(daemon: Daemon, container: str) -> None:
    exec_id = create(daemon, container, "true")
    daemon.post(f"/containers/{container}/kill")
    daemon.wait(container)
    words = f"container {container} is not running"
    assert error(daemon, f"/exec/{exec_id}/start", {}) == (409, words)
    assert error(daemon, f"/containers/{container}/exec", {"Cmd": ["true"]}) == (409, words)
    assert error(daemon, f"/containers/{container}/exec", {"Cmd": []}) == (400, "No exec command specified")


def test_a_terminal_has_its_size_from_the_beginning(daemon: Daemon, container: str) -> None:
    exec_id = create(
        daemon, container, "sh", "-c", "stty size; read x; stty size", Tty=True, AttachStdin=True
    )
    body = {"Tty": True, "ConsoleSize": [33, 99]}
    with open_hijacked(daemon, f"/exec/{exec_id}/start", body) as connection:
        assert read_until(connection, b"\r\n") == b"33 99\r\n"
        daemon.post(f"/exec/{exec_id}/resize?h=44&w=111")
        connection.sendall(b"\n")
        assert read_all(connection).endswith(b"44 111\r\n")
    exec_id = create(daemon, container, "stty", "size", Tty=True, ConsoleSize=[20, 70])
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Tty": True}) as connection:
        assert read_all(connection) == b"20 70\r\n"


def test_detach_keys_leave_it_running(daemon: Daemon, container: str) -> None:
    exec_id = create(
        daemon,
        container,
        "sh",
        "-c",
        "read x; echo $x > /tmp/x",
        Tty=True,
        AttachStdin=True,
        DetachKeys="a,b",
    )
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Tty": True}) as connection:
        connection.sendall(b"ab")
        assert read_all(connection) == b""
    assert daemon.get(f"/exec/{exec_id}/json")["Running"] is True


def test_an_exec_outlives_its_client(daemon: Daemon, container: str) -> None:
    exec_id = create(daemon, container, "sh", "-c", "echo ready; cat; echo end > /tmp/end", AttachStdin=True)
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {}) as connection:
        read_until(connection, b"ready\n")
    deadline = time.monotonic() + 40
    while daemon.get(f"/exec/{exec_id}/json")["Running"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 0  # its input ended with the client
    assert output(daemon, container, "cat", "/tmp/end") == b"end\n"


def test_huge_output_costs_no_memory(daemon: Daemon, container: str) -> None:
    """CVE-2022-31030: neither the monitor nor the daemon keeps what a client does not take."""
    run = json.loads(Path(daemon.paths.container_run(container), "monitor.json").read_text())
    assert daemon.process is not None
    pids = [run["monitor_pid"], daemon.process.pid]
    before = [resident(pid) for pid in pids]
    exec_id = create(daemon, container, "sh", "-c", "head -c 100000000 /dev/zero")
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {}) as connection:
        time.sleep(0.5)  # a client that takes nothing
        peak = [resident(pid) for pid in pids]
        received = 0
        while piece := connection.recv(1 << 20):
            received += len(piece)
    assert received > 100_000_000
    detached = create(daemon, container, "sh", "-c", "head -c 100000000 /dev/zero", AttachStdout=False)
    daemon.post(f"/exec/{detached}/start", {"Detach": True})
    while daemon.get(f"/exec/{detached}/json")["Running"]:
        time.sleep(0.02)
    after = [resident(pid) for pid in pids]
    for values in (peak, after):
        assert all(now - then < 16 << 20 for now, then in zip(values, before, strict=True))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_bytes_pass_unchanged(daemon: Daemon, container: str) -> None:
    data = bytes(range(256)) * 4000
    exec_id = create(daemon, container, "cat", AttachStdin=True)
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {}) as connection:
        connection.settimeout(40)
        received, sent = b"", 0
        while sent < len(data):
            sent += connection.send(data[sent : sent + 65536])
            received += connection.recv(1 << 20)
        connection.shutdown(1)
        received += read_all(connection)
    assert demultiplex(received)[1] == data


def test_an_exec_with_more_than_a_packet_holds(daemon: Daemon) -> None:
    """The container's own variables count as well; the kernel takes 128 KiB each, 2 MiB together."""
    variables = [f"V{number}={'x' * 1000}" for number in range(200)]
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"}, Env=["PATH=/bin", *variables])
    daemon.post(f"/containers/{container}/start")
    long = "y" * 100_000
    code, out, _ = run_exec(daemon, container, "sh", "-c", "env | wc -c; echo ${#1} ${#2}", "sh", long, long)
    assert code == 0
    count, lengths = out.splitlines()
    assert int(count) > 200_000
    assert lengths == b"100000 100000"
    daemon.remove_all()


def test_execs_that_meet_the_end_of_their_container(daemon: Daemon) -> None:
    """Each is started, or told that nothing runs: never what the daemon stumbled over."""
    for _ in range(6):
        container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
        daemon.post(f"/containers/{container}/start")
        body = {"Cmd": ["true"]}
        execs = [daemon.post(f"/containers/{container}/exec", body)["Id"] for _ in range(4)]
        told: list[str] = []

        def start(exec_id: str, told: list[str] = told) -> None:
            try:
                daemon.post(f"/exec/{exec_id}/start", {"Detach": True})
            except RequestError as error:
                told.append(f"{error.status} {error}")

        threads = [threading.Thread(target=start, args=(one,)) for one in execs]
        for thread in threads:
            thread.start()
        daemon.post(f"/containers/{container}/kill")
        with contextlib.suppress(RequestError):
            daemon.get(f"/containers/{container}/top")
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not [text for text in told if text.startswith("500") or "Errno" in text], told
        daemon.remove_all()


def test_a_program_with_a_very_long_name(daemon: Daemon) -> None:
    container = daemon.create("n" * 100_000, host={"NetworkMode": "none"})
    with pytest.raises(RequestError) as caught:
        daemon.post(f"/containers/{container}/start")
    assert caught.value.status == 400
    assert "Unterminated" not in str(caught.value)
    daemon.remove_all()
