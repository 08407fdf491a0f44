"""The monitor's loop, streams, log and protocol, with a plain program as the container."""

from __future__ import annotations

import _socket
import json
import os
import select
import socket
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import InvalidArgument
from carboy.formats import jsonlog, stdcopy
from carboy.formats.spawner import StepError
from carboy.runtime.monitor import detach
from carboy.runtime.monitor.log import JsonFile
from carboy.runtime.monitor.loop import READ, Loop
from carboy.runtime.monitor.supervisor import OOM_COUNTED, Monitor
from support.monitor import MonitorClient, Monitors, PlainContainer, read_all


def start(
    monitors: Monitors, script: str, *, terminal: bool = False, stdin: bool = False, **launch: Any
) -> tuple[MonitorClient, int]:
    container = PlainContainer(["/bin/sh", "-c", script], terminal=terminal, stdin=stdin)
    client, pid = monitors.fork(container, launch)
    client.event("created")
    return client, pid


def logged(tmp_path: Path) -> bytes:
    batches, _ = jsonlog.decode((tmp_path / "bundle" / "log").read_bytes())
    return b"".join(batch.text for batch in batches)


def streams(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for number, piece in stdcopy.Decoder().feed(data):
        found[number] = found.get(number, b"") + piece
    return found


def test_a_program_runs_is_logged_and_its_end_is_told(tmp_path: Path, monitors: Monitors) -> None:
    client, pid = start(monitors, "echo out; echo err >&2; printf tail; exit 7")
    client.request("start")
    exited = client.event("exited")
    assert exited["exit_code"] == 7
    batches, _ = jsonlog.decode((tmp_path / "bundle" / "log").read_bytes())
    assert {(batch.stream, batch.text) for batch in batches} == {
        ("stdout", b"out\n"),
        ("stderr", b"err\n"),
        ("stdout", b"tail"),
    }
    assert json.loads((tmp_path / "bundle" / "exit.json").read_text())["exit_code"] == 7
    client.end(pid)
    assert list((tmp_path / "run").iterdir()) == []


def test_several_clients_see_the_same_and_input_ends_with_the_client(monitors: Monitors) -> None:
    client, pid = start(monitors, "cat; echo done >&2", stdin=True, stdin_once=True)
    first = client.attach()
    second = client.attach(stdin=False)
    client.request("start")
    first.sendall(b"hello\n")
    first.shutdown(socket.SHUT_WR)
    assert streams(read_all(first)) == {1: b"hello\n", 2: b"done\n"}
    assert streams(read_all(second)) == {1: b"hello\n", 2: b"done\n"}
    assert client.event("exited")["exit_code"] == 0
    client.end(pid)


def test_a_lot_of_output_arrives_whole_at_the_log_and_a_slow_client(
    tmp_path: Path, monitors: Monitors
) -> None:
    client, pid = start(
        monitors, "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; head -c 8000000 /dev/zero"
    )
    slow = client.attach(stdin=False)
    client.request("start")
    received = streams(read_all(slow))[1]
    assert len(received) == len(logged(tmp_path)) == 8000000 + 1090
    client.event("exited")
    client.end(pid)


def test_signals_terminal_size_and_detach_keys(monitors: Monitors) -> None:
    client, pid = start(monitors, "stty size; read x; echo got $x; exec sleep 100", terminal=True)
    attached = client.attach()
    client.request("resize", rows=31, cols=97)
    client.request("start")
    seen = b""
    while b"31 97" not in seen:
        seen += attached.recv(1000)
    attached.sendall(b"word\n")
    while b"got word" not in seen:
        seen += attached.recv(1000)
    attached.sendall(b"\x10\x11")
    client.event("detached")
    read_all(attached)
    client.request("signal", signal=9)
    assert client.event("exited")["exit_code"] == 137
    client.end(pid)


def test_exec_has_streams_of_its_own_and_its_code_is_remembered(tmp_path: Path, monitors: Monitors) -> None:
    client, pid = start(monitors, "exec sleep 100")
    client.request("start")
    ours, theirs = socket.socketpair()
    client.attached.append(ours)
    with theirs:
        process = {"args": ["/bin/sh", "-c", "cat; exit 3"]}
        client.request(
            "exec", theirs.fileno(), exec_id="e1", process=process, stdin=True, stdout=True, stderr=True
        )
    ours.sendall(b"to exec")
    ours.shutdown(socket.SHUT_WR)
    assert streams(read_all(ours)) == {1: b"to exec"}
    assert client.event("exec_exited") == {"event": "exec_exited", "exec_id": "e1", "exit_code": 3}
    assert client.request("exec_state", exec_id="e1")["exit_code"] == 3
    client.request("signal", signal=15)
    assert client.event("exited")["exit_code"] == 143
    assert logged(tmp_path) == b""
    client.end(pid)


def test_bad_packets_do_no_harm_and_a_later_daemon_connects(tmp_path: Path, monitors: Monitors) -> None:
    client, pid = start(monitors, "exec sleep 100")
    client.request("start")
    client.socket.send(b"\xff\xfe")
    assert client.receive()["error"]["category"] == "Corrupt"
    for operation, fields in (("nonsense", {}), ("signal", {"signal": "x"}), ("attach", {}), ("exec", {})):
        with pytest.raises(StepError):
            client.request(operation, **fields)
    client.socket.close()
    again = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    again.connect(str(tmp_path / "run" / "monitor.sock"))
    later = monitors.client(again)
    hello = later.request("hello")
    assert (hello["version"], hello["state"]["status"]) == (1, "running")
    later.request("signal", signal=9)
    assert later.event("exited")["exit_code"] == 137
    later.end(pid)


def test_a_container_that_nobody_can_start_ends_with_its_daemon(tmp_path: Path, monitors: Monitors) -> None:
    client, pid = start(monitors, "exec sleep 100")
    client.socket.close()
    client.end(pid)
    assert not (tmp_path / "bundle" / "exit.json").exists()


def test_rotation_keeps_max_file_files_and_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = JsonFile(str(path), max_size=1000, max_file=3)
    for number in range(100):
        log.write(1, b"line %d\n" % number, 1)
    log.finish(1)
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"]
    text = b"".join((tmp_path / name).read_bytes() for name in ("log.2", "log.1", "log"))
    batches, consumed = jsonlog.decode(text)
    assert consumed == len(text)
    lines = b"".join(batch.text for batch in batches).splitlines()
    assert lines[-1] == b"line 99"
    assert lines == [b"line %d" % number for number in range(100 - len(lines), 100)]


def test_a_log_that_was_renamed_is_opened_anew_on_request(tmp_path: Path, monitors: Monitors) -> None:
    client, pid = start(monitors, "read x; echo one; read x; echo two", stdin=True, stdin_once=True)
    attached = client.attach(stderr=False)
    client.request("start")
    attached.sendall(b"\n")
    attached.recv(100)
    log = tmp_path / "bundle" / "log"
    log.rename(tmp_path / "bundle" / "older")
    client.request("rotate")
    attached.sendall(b"\n")
    client.event("exited")
    assert logged(tmp_path) == b"two\n"
    assert b"one" in (tmp_path / "bundle" / "older").read_bytes()
    client.end(pid)


def test_a_log_that_cannot_be_opened_anew_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    path.parent.mkdir()
    log = JsonFile(str(path), max_size=100, max_file=2)
    kept = path.open("rb")
    path.parent.rename(tmp_path / "gone")
    reader, writer = os.pipe()  # would get the log's lines if it wrote to a number that is closed
    for number in range(50):
        log.write(1, b"line %d\n" % number, 1)
    with pytest.raises(FileNotFoundError):
        log.reopen()
    log.write(1, b"last\n", 1)
    log.finish(1)
    assert b"last" in kept.read()
    kept.close()
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_full_disk_costs_the_log_only_and_is_told(monitors: Monitors) -> None:
    options = {"driver": "json-file", "path": "/dev/full"}
    client, pid = start(monitors, "read x; echo one; exit 3", stdin=True, stdin_once=True, log=options)
    attached = client.attach(stderr=False)
    client.request("start")
    attached.sendall(b"\n")
    assert streams(read_all(attached)) == {1: b"one\n"}
    exited = client.event("exited")
    assert exited["exit_code"] == 3
    assert "bytes of the log are lost" in exited["error"]
    client.end(pid)


def test_detach_keys() -> None:
    assert detach.parse("ctrl-p,ctrl-q") == b"\x10\x11"
    assert detach.parse("ctrl-@,a,ctrl-_") == b"\0a\x1f"
    with pytest.raises(InvalidArgument):
        detach.parse("ctrl-é")
    scanner = detach.Scanner(b"\x10\x11")
    assert scanner.feed(b"ab\x10") == (b"ab", False)
    assert scanner.feed(b"c\x10\x10") == (b"\x10c\x10", False)
    assert scanner.feed(b"\x11z") == (b"", True)


class Starved(PlainContainer):
    """Told of memory by a descriptor: readable as v1's eventfd, urgent as v2's memory.events."""

    def __init__(self, fd: int, events: int) -> None:
        super().__init__(["true"])
        self.fd, self.events, self.looks = fd, events, 0

    def watch_oom(self) -> tuple[int, int]:  # type: ignore[override]  # the plain one has no limit
        return self.fd, self.events

    def oom_kills(self, fd: int) -> int:
        self.looks += 1
        with socket.socket(fileno=os.dup(fd)) as told:
            told.recv(1, socket.MSG_OOB if self.events == select.EPOLLPRI else 0)
        return 0


@pytest.mark.parametrize(("events", "again"), [(select.EPOLLIN, True), (select.EPOLLPRI, False)])
def test_only_v1_counts_a_kill_for_memory_after_it_has_told(tmp_path: Path, events: int, again: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        kernel = socket.create_connection(server.getsockname())
        told, _ = server.accept()
    container = Starved(told.fileno(), events)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = {"id": "c", "bundle": str(tmp_path), "run": str(tmp_path)}
    monitor = Monitor(request, _socket.socket(fileno=theirs.detach()), container)  # type: ignore[arg-type]  # same face
    monitor._watch_memory()
    kernel.send(b"xx", socket.MSG_OOB if events == select.EPOLLPRI else 0)
    while container.looks == 0:
        monitor.loop.step()
    monitor.loop.step(OOM_COUNTED * 1.5)
    monitor.loop.step(0)
    assert (container.looks > 1) == again
    monitor.connections[0].close()
    os.close(monitor.run)
    for one in (ours, kernel, told):
        one.close()


def test_a_callback_that_fails_does_not_end_the_loop() -> None:
    loop = Loop()
    reader, writer = os.pipe()
    calls = []

    def fail(events: int) -> None:
        calls.append(events)
        raise ValueError("a bug")

    loop.watch(reader, READ, fail)
    os.write(writer, b"x")
    for _ in range(20):
        loop.step(0.0)
    assert 1 < len(calls) < 20, "tried again, but not for ever"
    os.close(reader)
    os.close(writer)
