"""Containers through the daemon's API: life, what the inside sees, refusals, removal."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from carboy.engine.spec.security import DEFAULT_CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from carboy.linux.capabilities import NUMBERS
from support.daemon import Daemon, RequestError, daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]


def test_create_start_wait_logs(daemon: Daemon) -> None:
    assert daemon.run_container("sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")


def test_the_defaults_from_inside(daemon: Daemon) -> None:
    text = daemon.shell("cat /proc/self/status")
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    wanted = sum(1 << NUMBERS[name] for name in DEFAULT_CAPABILITIES)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[name], 16) == wanted
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["Seccomp"] == "2"
    assert fields["NoNewPrivs"] == "0"
    mounts = [line.split() for line in daemon.shell("cat /proc/mounts").splitlines()]
    options = {fields[1]: fields[3].split(",") for fields in mounts}
    for path in READONLY_PATHS:
        if os.path.exists(path):
            assert "ro" in options.get(path, ["ro"])
    for path in MASKED_PATHS:
        if os.path.isfile(path):
            assert daemon.shell(f"head -c 10 {path}") == ""
        elif os.path.isdir(path):
            assert daemon.shell(f"ls {path}") == ""
    assert {"nosuid", "nodev", "noexec"} <= set(options["/proc"])
    assert {"nosuid", "nodev", "noexec", "ro"} <= set(options["/sys"])
    assert {"nosuid", "nodev", "noexec", "mode=1777"} <= set(options["/dev/shm"]) | {"mode=1777"}
    assert daemon.shell("cat /proc/self/oom_score_adj").strip() == "0"


def test_environment_hostname_user_and_directory(daemon: Daemon) -> None:
    env = daemon.shell("env", Env=["A=1", "PATH=/bin"], Hostname="there").splitlines()
    assert {"A=1", "PATH=/bin", "HOSTNAME=there", "HOME=/root"} <= set(env)
    assert daemon.shell(
        "id -u; id -g; id -G; pwd; echo $HOME", User="me", WorkingDir="/made/dir"
    ).split() == [
        "1000",
        "1000",
        "1000",
        "2000",
        "/made/dir",
        "/home/me",
    ]
    assert daemon.shell("id -u; id -G", User="1", host={"GroupAdd": ["extra", "77"]}).split()[0] == "1"
    assert daemon.shell("hostname", Hostname="there").strip() == "there"


@pytest.mark.parametrize("user", ["nobody", "4294967296", "-1", "me:nogroup"])
def test_unknown_users_do_not_become_root(daemon: Daemon, user: str) -> None:
    with pytest.raises(RequestError, match="400"):
        daemon.run_container("id", User=user)


@pytest.mark.needs_network
def test_network_files_and_address(daemon: Daemon) -> None:
    text = daemon.shell("cat /etc/hosts; ip route", Hostname="here", host={"NetworkMode": "bridge"})
    address = next(line.split()[0] for line in text.splitlines() if line.endswith("\there"))
    assert f"src {address}" in text
    assert "default via " in text


def test_network_none_has_loopback_only(daemon: Daemon) -> None:
    assert daemon.shell("ls /sys/class/net; ip a show lo").split()[0] == "lo"


def test_bind_mounts_volumes_and_tmpfs(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host")
    host = {
        "Binds": [f"{tmp_path}:/host", f"{tmp_path}:/ro:ro", "test-volume:/etc"],
        "Tmpfs": {"/scratch": "size=1m,mode=700"},
    }
    script = "cat /host/in; echo made > /host/out; touch /ro/x; cat /etc/passwd | head -n 1; df /scratch"
    code, out, _ = daemon.run_container("sh", "-c", script, host=host)
    assert code == 0
    assert b"from the host" in out
    assert b"root:x:0" in out
    assert b"1024" in out
    assert (tmp_path / "out").read_text() == "made\n"
    assert not (tmp_path / "x").exists()
    assert [one["Name"] for one in daemon.get("/volumes")["Volumes"]] == ["test-volume"]
    daemon.request("DELETE", "/volumes/test-volume")


def test_a_missing_source_is_made_by_binds_and_refused_by_mounts(daemon: Daemon, tmp_path: Path) -> None:
    daemon.shell("true", host={"Binds": [f"{tmp_path}/made:/x"]})
    assert (tmp_path / "made").is_dir()
    mount = {"Type": "bind", "Source": f"{tmp_path}/absent", "Target": "/x"}
    with pytest.raises(RequestError, match="bind source path does not exist"):
        daemon.create("true", host={"Mounts": [mount]})


def test_limits_hold_inside(daemon: Daemon) -> None:
    host = {
        "Memory": 32 << 20,
        "PidsLimit": 40,
        "ReadonlyRootfs": True,
        "Ulimits": [{"Name": "nofile", "Soft": 50, "Hard": 60}],
        "ShmSize": 1 << 20,
    }
    text = daemon.shell(
        "ulimit -n; df -k /dev/shm | tail -n 1; echo x > /file && echo wrote; true", host=host
    )
    assert text.startswith("50\n")
    assert " 1024 " in text
    assert "wrote" not in text


def test_out_of_memory_is_noted(daemon: Daemon) -> None:
    container = daemon.create(
        "sh", "-c", "tail /dev/zero", host={"Memory": 8 << 20, "MemorySwap": 8 << 20, "NetworkMode": "none"}
    )
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 137 or daemon.get(f"/containers/{container}/json")["State"]["OOMKilled"]
    assert daemon.get(f"/containers/{container}/json")["State"]["OOMKilled"]
    daemon.request("DELETE", f"/containers/{container}")


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        (["nosuch"], "executable file not found in $PATH", 127),
        (["/nosuch"], "no such file or directory", 127),
        (["/etc/passwd"], "permission denied", 126),
    ],
)
def test_what_cannot_be_executed(daemon: Daemon, command: list[str], text: str, code: int) -> None:
    container = daemon.create(*command, host={"NetworkMode": "none"})
    with pytest.raises(RequestError, match="400") as caught:
        daemon.post(f"/containers/{container}/start")
    assert text in caught.value.message
    state = daemon.get(f"/containers/{container}/json")["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", code)
    daemon.request("DELETE", f"/containers/{container}")


def test_stop_kill_restart_pause(daemon: Daemon) -> None:
    script = "trap 'exit 5' TERM; while :; do sleep 0.05; done"
    container = daemon.create("sh", "-c", script, host={"NetworkMode": "none"})
    path = f"/containers/{container}"
    daemon.post(f"{path}/start")
    daemon.post(f"{path}/pause")
    assert daemon.get(f"{path}/json")["State"]["Status"] == "paused"
    daemon.post(f"{path}/unpause")
    daemon.post(f"{path}/stop?t=5")
    assert daemon.get(f"{path}/json")["State"]["ExitCode"] == 5
    daemon.post(f"{path}/restart?t=5")
    with pytest.raises(RequestError, match="409"):
        daemon.request("DELETE", path)
    daemon.post(f"{path}/kill")
    state = daemon.get(f"{path}/json")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 137, 0)
    with pytest.raises(RequestError, match="is not running"):
        daemon.post(f"{path}/kill")
    daemon.request("DELETE", path)
    with pytest.raises(RequestError, match="No such container"):
        daemon.get(f"{path}/json")


def test_names(daemon: Daemon) -> None:
    first = daemon.create("true", name="taken")
    with pytest.raises(RequestError, match="is already in use by container"):
        daemon.create("true", name="taken")
    daemon.post("/containers/taken/rename?name=other")
    assert daemon.get("/containers/other/json")["Id"] == first
    assert daemon.get(f"/containers/{first[:6]}/json")["Name"] == "/other"
    daemon.request("DELETE", "/containers/other")


def test_auto_remove_takes_anonymous_volumes_along(daemon: Daemon) -> None:
    container = daemon.create("true", host={"AutoRemove": True, "NetworkMode": "none"}, Volumes={"/data": {}})
    told: list[int] = []
    waiter = threading.Thread(target=lambda: told.append(daemon.wait(container, "removed")))
    waiter.start()
    daemon.post(f"/containers/{container}/start")
    waiter.join(40)
    assert told == [0]
    assert daemon.get("/containers/json?all=1") == []
    assert daemon.get("/volumes")["Volumes"] in ([], None)


def test_listing_and_filters(daemon: Daemon) -> None:
    one = daemon.create("sleep", "100", name="filter-one", Labels={"a": "1"}, host={"NetworkMode": "none"})
    two = daemon.create("true", name="filter-two", Labels={"a": "2"})
    daemon.post(f"/containers/{one}/start")

    def listed(**filters: list[str]) -> list[str]:
        text = json.dumps(filters).replace(" ", "")
        return [row["Id"] for row in daemon.get(f"/containers/json?all=1&filters={text}")]

    assert listed(label=["a"]) == [two, one]
    assert listed(label=["a=1"]) == [one]
    assert listed(name=["filter-t"]) == [two]
    assert listed(status=["running"]) == [one]
    assert listed(ancestor=["busybox:test"]) == [two, one]
    assert listed(before=["filter-two"]) == [one]
    assert [row["Id"] for row in daemon.get("/containers/json")] == [one]
    with pytest.raises(RequestError, match="invalid filter"):
        listed(nonsense=["x"])
    daemon.remove_all()


def test_namespaces_of_another_container(daemon: Daemon) -> None:
    first = daemon.create("sleep", "100", name="first", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{first}/start")
    text = daemon.shell("ps; hostname", host={"NetworkMode": "container:first", "PidMode": "container:first"})
    assert "sleep 100" in text
    daemon.remove_all()


def test_exec(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"}, Env=["FROM=config"])
    path = f"/containers/{container}"
    daemon.post(f"{path}/start")
    body = {
        "Cmd": ["sh", "-c", "echo $FROM $X; id -u; pwd; exit 9"],
        "AttachStdout": True,
        "AttachStderr": True,
        "Env": ["X=exec"],
        "User": "me",
        "WorkingDir": "/tmp",
    }
    exec_id = daemon.post(f"{path}/exec", body)["Id"]
    out = hijack(daemon, f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
    assert b"config exec\n" in out
    assert b"1000" in out
    assert b"/tmp" in out
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 9
    exec_id = daemon.post(f"{path}/exec", {"Cmd": ["nosuch"], "AttachStdout": True})["Id"]
    out = hijack(daemon, f"/exec/{exec_id}/start", {"Detach": False})
    assert b"executable file not found" in out
    assert daemon.get(f"/exec/{exec_id}/json")["ExitCode"] == 127
    daemon.request("DELETE", f"{path}?force=1")


def test_attach_before_start(daemon: Daemon) -> None:
    container = daemon.create(
        "sh", "-c", "read line; echo got $line", OpenStdin=True, StdinOnce=True, host={"NetworkMode": "none"}
    )
    results: list[bytes] = []
    path = f"/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1"
    connection = open_hijacked(daemon, path, None)
    daemon.post(f"/containers/{container}/start")
    connection.sendall(b"hello\n")
    connection.shutdown(socket.SHUT_WR)
    while data := connection.recv(65536):
        results.append(data)
    connection.close()
    assert b"got hello\n" in b"".join(results)
    assert daemon.wait(container) == 0
    daemon.request("DELETE", f"/containers/{container}")


def test_logs_follow_ends_with_the_container(daemon: Daemon) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.05; done"
    container = daemon.create("sh", "-c", script, host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    assert daemon.output(container, query="&follow=1") == b"1\n2\n3\n"
    assert daemon.output(container, query="&tail=1") == b"3\n"
    daemon.request("DELETE", f"/containers/{container}?force=1")


def test_events(daemon: Daemon) -> None:
    container = daemon.create("true", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    daemon.request("DELETE", f"/containers/{container}")
    filters = json.dumps({"container": [container]}).replace(" ", "")
    until = time.time()
    text = daemon.request("GET", f"/events?since=1&until={until:.6f}&filters={filters}")
    actions = [json.loads(line)["Action"] for line in text.splitlines()]
    assert actions == ["create", "start", "die", "destroy"]


def open_hijacked(daemon: Daemon, path: str, body: Any) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(40)
    connection.connect(daemon.socket)
    data = json.dumps(body).encode() if body is not None else b""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(1)
        assert piece, answer
        answer += piece
    assert b" 101 " in answer.splitlines()[0], answer
    return connection


def hijack(daemon: Daemon, path: str, body: Any) -> bytes:
    connection = open_hijacked(daemon, path, body)
    data = b""
    while piece := connection.recv(65536):
        data += piece
    connection.close()
    return data
