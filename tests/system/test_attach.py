"""Attach as clients of the API see it: replays, errors before the switch, heads, websockets, vanishing."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError, daemon, demultiplex
from support.hijack import attach, open_hijacked, read_all, read_until
from support.websocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocket

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

LINES = 20_000
# 100 bursts of 200 numbered lines.
BURSTS = "i=0; while [ $i -lt 100 ]; do seq $((i*200+1)) $((i*200+200)); i=$((i+1)); usleep 1000; done"


@pytest.fixture(autouse=True)
def nothing_left(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.remove_all()


def start(daemon: Daemon, *command: str, log: dict[str, Any] | None = None, **config: Any) -> str:
    host = {"NetworkMode": "none", "LogConfig": log or {}}
    container = daemon.create(*command, host=host, **config)
    daemon.post(f"/containers/{container}/start")
    return container


def numbered() -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, LINES + 1))


@pytest.mark.parametrize(
    "log",
    [
        {},
        {"Type": "local"},
        {"Type": "json-file", "Config": {"max-size": "50k", "max-file": "90"}},
        {"Type": "local", "Config": {"max-size": "20k", "max-file": "90"}},
    ],
    ids=["json-file", "local", "json-file rotated", "local compressed"],
)
def test_a_replay_and_what_follows_are_the_whole_output_once(daemon: Daemon, log: dict[str, Any]) -> None:
    container = start(daemon, "sh", "-c", BURSTS + "; read x", log=log, OpenStdin=True)
    clients = []
    for _ in range(5):
        clients.append(attach(daemon, container, "logs=1&stdin=1&stdout=1&stderr=1"))
        time.sleep(0.05)  # somewhere in the middle of the output
    clients[0].sendall(b"\n")
    for client in clients:
        with client:
            assert demultiplex(read_all(client))[1] == numbered()


def test_the_beginning_of_a_line_is_replayed(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "echo one; printf tw; read x; echo o", OpenStdin=True)
    with attach(daemon, container, "logs=1&stdin=1&stdout=1&stderr=1") as client:
        seen = read_until(client, b"tw")
        assert demultiplex(seen)[1] == b"one\ntw"
        client.sendall(b"\n")
        assert demultiplex(read_all(client))[1] == b"o\n"


def test_a_replay_alone_ends(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "echo one; echo two >&2; sleep 100")
    with attach(daemon, container, "stdout=1") as waiting:
        while not daemon.output(container):
            time.sleep(0.01)
        with open_hijacked(daemon, f"/containers/{container}/attach?logs=1&stdout=1&stderr=1") as client:
            assert demultiplex(read_all(client)) == {1: b"one\n", 2: b"two\n"}
        waiting.close()
    daemon.post(f"/containers/{container}/kill")
    daemon.wait(container)
    with open_hijacked(daemon, f"/containers/{container}/attach?logs=1&stdout=1") as client:
        assert demultiplex(read_all(client)) == {1: b"one\n", 2: b""}


def refused(daemon: Daemon, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        daemon.request("POST", path, body)
    return caught.value.status, caught.value.message


def test_what_is_refused_before_the_switch(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100", OpenStdin=True, Tty=True)
    path = f"/containers/{container}/attach?stream=1&stdin=1&stdout=1"
    assert refused(daemon, path + "&detachKeys=shift-a") == (400, "Invalid detach keys (shift-a) provided")
    exec_config = {"Cmd": ["true"], "DetachKeys": "ctrl-A"}
    assert refused(daemon, f"/containers/{container}/exec", exec_config) == (
        400,
        "Invalid escape keys (ctrl-A) provided",
    )
    assert refused(daemon, "/containers/nix/attach?stream=1") == (404, "No such container: nix")
    daemon.post(f"/containers/{container}/pause")
    assert refused(daemon, path) == (
        409,
        f"container {container} is paused, unpause the container before attach",
    )
    assert refused(daemon, f"/containers/{container}/exec", {"Cmd": ["true"]}) == (
        409,
        f"Container {container} is paused, unpause the container before exec",
    )
    daemon.post(f"/containers/{container}/unpause")


def test_a_restarting_container_is_said_to_be(daemon: Daemon) -> None:
    host = {"NetworkMode": "none", "RestartPolicy": {"Name": "always"}}
    container = daemon.create("sh", "-c", "exit 3", host=host)
    daemon.post(f"/containers/{container}/start")
    message = ""
    for _ in range(3000):  # the delays between restarts grow
        if daemon.get(f"/containers/{container}/json")["State"]["Status"] == "restarting":
            try:
                _, message = refused(daemon, f"/containers/{container}/attach?stream=1&stdout=1")
            except pytest.fail.Exception:
                continue  # it runs again
            break
        time.sleep(0.01)
    assert message == f"container {container} is restarting, wait until the container is running"


@pytest.mark.parametrize(
    ("head", "version", "status", "kind"),
    [
        ("HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp", "1.51", b"101 UPGRADED", b"multiplexed-stream"),
        ("HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp", "1.41", b"101 UPGRADED", b"raw-stream"),
        ("HTTP/1.1\r\nUpgrade: tcp", "1.42", b"101 UPGRADED", b"multiplexed-stream"),
        ("HTTP/1.1", "1.51", b"200 OK", b"raw-stream"),
        ("HTTP/1.0", "1.30", b"200 OK", b"raw-stream"),
    ],
)
def test_heads(daemon: Daemon, head: str, version: str, status: bytes, kind: bytes) -> None:
    container = start(daemon, "sh", "-c", "read x; echo $x", OpenStdin=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(40)
        client.connect(daemon.socket)
        target = f"/v{version}/containers/{container}/attach?stream=1&stdin=1&stdout=1"
        request = f"POST {target} {head}\r\nHost: x\r\n\r\n"
        client.sendall(request.encode() + b"early\n")
        answer, _, rest = (read_until(client, b"\r\n\r\n")).partition(b"\r\n\r\n")
        lines = answer.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 " + status
        assert b"Content-Type: application/vnd.docker." + kind in lines
        assert demultiplex(rest + read_all(client))[1] == b"early\n"


def test_half_closed_input_ends_the_programs(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "cat; echo end", OpenStdin=True, StdinOnce=True)
    with attach(daemon, container) as client:
        daemon.post(f"/containers/{container}/start")
        client.sendall(b"typed\n")
        client.shutdown(socket.SHUT_WR)
        assert demultiplex(read_all(client))[1] == b"typed\nend\n"


def test_clients_that_vanish_leave_nothing(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", BURSTS + "; sleep 100")
    run = json.loads(Path(daemon.paths.container_run(container), "monitor.json").read_text())
    descriptors = f"/proc/{run['monitor_pid']}/fd"
    before = len(os.listdir(descriptors))
    for number in range(30):
        client = attach(daemon, container, f"logs={number % 2}&stdin=1&stdout=1&stderr=1")
        if number % 6 == 3:  # one that gets the log: all the output may be over by now
            client.recv(10)
        client.close()
    with attach(daemon, container, "logs=1&stdout=1") as last:
        read_until(last, b"\n%d\n" % LINES)
    deadline = time.monotonic() + 40
    while len(os.listdir(descriptors)) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(os.listdir(descriptors)) <= before
    assert daemon.output(container) == numbered()


def test_a_websocket_carries_input_and_output(daemon: Daemon) -> None:
    script = "echo hello; echo bad >&2; while read x; do echo got $x; done; echo end"
    container = daemon.create("sh", "-c", script, OpenStdin=True, StdinOnce=True)
    target = f"/v1.51/containers/{container}/attach/ws?stream=1&stdin=1&stdout=1"
    client = WebSocket(daemon.socket, target)
    daemon.post(f"/containers/{container}/start")
    assert client.receive() == (BINARY, b"hello\n")
    client.send(b"x" * 300 + b"\n")
    assert client.receive() == (BINARY, b"got " + b"x" * 300 + b"\n")
    client.send(b"text\n", TEXT)
    assert client.receive() == (BINARY, b"got text\n")
    client.send(b"are you there", PING)
    assert client.receive() == (PONG, b"are you there")
    client.send(b"\x03\xe8", CLOSE)
    assert client.receive()[0] == CLOSE
    client.close()
    assert daemon.wait(container) == 0  # its input has ended
    assert daemon.output(container).endswith(b"end\n")


def test_older_websockets_get_all_streams_as_text(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "echo one; echo two >&2")
    daemon.wait(container)
    client = WebSocket(daemon.socket, f"/v1.27/containers/{container}/attach/ws?logs=1")
    frames = [client.receive() for _ in range(3)]
    client.close()
    assert sorted(frames[:2]) == [(TEXT, b"one\n"), (TEXT, b"two\n")]
    assert frames[2][0] == CLOSE


def test_a_websocket_of_a_terminal_ends_with_its_container(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "tty; read x", Tty=True, OpenStdin=True)
    client = WebSocket(daemon.socket, f"/containers/{container}/attach/ws?stream=1&stdin=1&stdout=1")
    daemon.post(f"/containers/{container}/start")
    assert client.receive() == (BINARY, b"/dev/pts/0\r\n")
    client.send(b"\n")
    assert client.read_all() in (b"\r\n", b"")
    client.close()
    assert daemon.wait(container) == 0


def test_a_websocket_that_is_none_is_refused(daemon: Daemon) -> None:
    container = start(daemon, "sleep", "100")
    with pytest.raises(RequestError) as caught:
        daemon.request("GET", f"/containers/{container}/attach/ws?stream=1&stdout=1")
    assert caught.value.status == 400
    with pytest.raises(RequestError) as caught:
        daemon.request("GET", "/containers/nix/attach/ws?stream=1")
    assert caught.value.status == 404


def test_websockets_that_vanish_leave_nothing(daemon: Daemon) -> None:
    container = start(daemon, "sh", "-c", "while sleep 0.01; do echo x; done")
    before = len(daemon.descriptors())
    for _ in range(10):
        client = WebSocket(daemon.socket, f"/containers/{container}/attach/ws?stream=1&stdout=1")
        client.receive()
        client.close()
    deadline = time.monotonic() + 40
    while len(left := daemon.descriptors()) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(left) <= before, left


def test_an_ordinary_request_follows_a_refused_attach(daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("x")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(daemon.socket)
    for path, status in (("/containers/nix/attach?stream=1", 404), ("/containers/create", 400)):
        connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
