"""Floods: what a container prints, and crowds of clients that do not read, cost the daemon little."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError
from support.daemon import daemon as daemon

pytestmark = [pytest.mark.needs_root]


def peak_mib(process: int) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024


def monitor_of(daemon: Daemon, container: str) -> int:
    document = json.loads(Path(f"{daemon.run}/containers/{container}/monitor.json").read_text())
    return int(document["monitor_pid"])


def start(daemon: Daemon, *command: str, **config: Any) -> str:
    host = {"NetworkMode": "none", **config.pop("HostConfig", {})}
    container = daemon.create(*command, host=host, **config)
    daemon.post(f"/containers/{container}/start")
    return container


def connect(daemon: Daemon, request: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(40)
    client.connect(daemon.socket)
    client.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


@pytest.mark.parametrize(
    "log",
    [
        {"Type": "json-file", "Config": {"max-size": "2m", "labels": "a"}},
        {"Type": "local", "Config": {"max-size": "2m", "labels": "a"}},
    ],
    ids=["json-file", "local"],
)
def test_lines_that_carry_large_labels_cost_the_monitor_little(
    daemon: Daemon, log: dict[str, object]
) -> None:
    container = start(daemon, "yes", "", HostConfig={"LogConfig": log}, Labels={"a": "x" * 3_000})
    try:
        monitor = monitor_of(daemon, container)
        path = Path(daemon.root) / "containers" / container
        deadline = time.monotonic() + 40
        while not any(one.stat().st_size > 1 << 17 for one in path.rglob("*log") if one.is_file()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert peak_mib(monitor) < 120
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_labels_of_an_image_cannot_make_each_line_huge(daemon: Daemon) -> None:
    config = {"LogConfig": {"Type": "json-file", "Config": {"labels-regex": "."}}, "NetworkMode": "none"}
    container = daemon.create("true", host=config, Labels={"a": "x" * 1_000_000})
    with pytest.raises(RequestError, match="name fewer") as caught:
        daemon.post(f"/containers/{container}/start")
    assert caught.value.status == 400
    daemon.request("DELETE", f"/containers/{container}")


def test_a_tag_that_repeats_a_long_command_stays_short(daemon: Daemon) -> None:
    tag = "{{.Command}}" * 300
    log = {"LogConfig": {"Type": "json-file", "Config": {"tag": tag}}}
    assert daemon.run_container("echo", "x" * 100_000, host=log)[0] == 0
    assert daemon.process is not None
    assert peak_mib(daemon.process.pid) < 200
    log = {"LogConfig": {"Type": "json-file", "Config": {"tag": tag * 100}}}
    with pytest.raises(RequestError, match="longer than") as caught:
        daemon.run_container("true", host=log)
    assert caught.value.status == 400


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "a?" * 40 + "a" * 40])
def test_patterns_for_labels_end(daemon: Daemon, pattern: str) -> None:
    log = {"LogConfig": {"Type": "json-file", "Config": {"labels-regex": pattern, "env-regex": pattern}}}
    begun = time.monotonic()
    labels, env = {"a" * 39 + "!": "x"}, ["a" * 39 + "!=x"]
    assert daemon.run_container("true", host=log, Labels=labels, Env=env)[0] == 0
    assert time.monotonic() - begun < 200


def test_input_that_comes_with_the_request_of_an_attach_is_not_lost(daemon: Daemon) -> None:
    container = start(daemon, "wc", "-c", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    path = f"/containers/{container}/attach?stream=1&stdin=1&stdout=1"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(40)
        client.connect(daemon.socket)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        client.sendall(head.encode() + b"x" * 200_000)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.endswith(b"200000\n")
    daemon.request("DELETE", f"/containers/{container}?force=1")


def test_a_crowd_that_does_not_read_is_served_and_forgotten(daemon: Daemon) -> None:
    log = {"Type": "json-file", "Config": {"max-size": "1m"}}
    container = start(daemon, "yes", HostConfig={"LogConfig": log})
    before = len(daemon.descriptors())
    paths = [f"/containers/{container}/{what}" for what in ("stats", "logs?follow=1&stdout=1")]
    clients = [connect(daemon, f"GET {path}") for path in (*paths, "/events") for _ in range(160)]
    try:
        # More followers than there are inotify instances: all of them are answered.
        for client in clients[160:320]:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        begun = time.monotonic()
        assert daemon.request("GET", "/_ping") == b"OK"
        assert time.monotonic() - begun < 20
        assert daemon.process is not None
        assert peak_mib(daemon.process.pid) < 300
    finally:
        for client in clients:
            client.close()
        daemon.request("DELETE", f"/containers/{container}?force=1")
    deadline = time.monotonic() + 40
    while len(daemon.descriptors()) > before + 10:
        assert time.monotonic() < deadline, "descriptors of clients that went away are kept"
        time.sleep(0.05)


def test_top_and_stats_of_a_crowd(daemon: Daemon) -> None:
    script = "i=0; while [ $i -lt 900 ]; do sleep 100 & i=$((i+1)); done; echo made; wait"
    container = start(daemon, "sh", "-c", script, HostConfig={"PidsLimit": 1000})
    try:
        deadline = time.monotonic() + 40
        while not daemon.output(container):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(daemon.get(f"/containers/{container}/top")["Processes"]) == 901
        frame = daemon.get(f"/containers/{container}/stats?stream=0&one-shot=1")
        assert frame["pids_stats"]["current"] == 901
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_process_names_make_no_rows_of_their_own(daemon: Daemon) -> None:
    name = r"/tmp/a\nroot 1 0 evil\033[31m\342\200\250root 1 0 evil"
    script = f'p="$(printf "{name}")"; printf "#!/bin/sh\\nsleep 50; :\\n" > "$p"; chmod +x "$p"; "$p"; :'
    container = start(daemon, "sh", "-c", script)
    try:
        deadline = time.monotonic() + 40
        rows: list[list[str]] = []
        while len(rows) < 3:
            assert time.monotonic() < deadline
            rows = daemon.get(f"/containers/{container}/top")["Processes"]
        assert len(rows) == 3
        assert not any(letter in cell for row in rows for cell in row for letter in "\n\033\u2028")
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_what_is_too_long_is_the_clients_fault(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100")
    try:
        for path, body in (
            ("update", {"CpusetMems": ",".join(["0"] * 100_000)}),
            ("exec", {"Cmd": ["true"], "Env": ["A=" + "x" * 200_000]}),
        ):
            with pytest.raises(RequestError) as caught:
                made = daemon.post(f"/containers/{container}/{path}", body)
                daemon.request("POST", f"/exec/{made['Id']}/start", {"Detach": True})
            assert caught.value.status == 400
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_a_flood_of_health_checks_does_not_hide_a_container_from_the_next_daemon(daemon: Daemon) -> None:
    check = {"Test": ["CMD-SHELL", "tr '\\0' '\\377' </dev/zero | head -c 20000; exit 1"], "Retries": 1}
    container = start(daemon, "sleep", "100", Healthcheck={**check, "Interval": 20_000_000})
    try:
        for _ in range(80):
            made = daemon.post(f"/containers/{container}/exec", {"Cmd": ["sleep", "100"]})
            daemon.request("POST", f"/exec/{made['Id']}/start", {"Detach": True})
        deadline = time.monotonic() + 40
        while len(daemon.get(f"/containers/{container}/json")["State"]["Health"]["Log"]) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        daemon.kill()
        daemon.start()
        state = daemon.get(f"/containers/{container}/json")["State"]
        assert (state["Status"], state["Health"]["Status"]) == ("running", "unhealthy")
        assert peak_mib(monitor_of(daemon, container)) < 40
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")


def test_nothing_of_the_host_is_seen_through_probes_execs_and_copies(daemon: Daemon) -> None:
    watch = (
        "while true; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue;"
        " for f in $p/fd/* $p/exe $p/cwd $p/root; do l=$(readlink $f) && case $l in"
        " *carboy*|*python*|*socket:*|*/containers/*) echo $f $l;; esac; done; done; done 2>/dev/null"
    )
    check = {"Test": ["CMD", "true"], "Interval": 10_000_000}
    container = start(daemon, "sh", "-c", watch, Healthcheck=check)
    try:
        for _ in range(20):
            made = daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]})
            daemon.request("POST", f"/exec/{made['Id']}/start", {"Detach": True})
            daemon.request("GET", f"/containers/{container}/archive?path=/etc")
        assert daemon.output(container) == b""
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")
