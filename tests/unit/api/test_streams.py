"""Streams: hijacked connections, wait, logs, events; and clients that vanish."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from carboy.api.handlers.streams import EventQueue
from carboy.formats.dockerapi.system import event
from support.api import Client, UnixConnection, dial, running_api
from support.fake_backend import FakeBackend, frame

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


def make(client: Client, *, tty: bool = False, start: bool = True) -> None:
    assert client.json("POST", "/containers/create?name=a", {"Image": "busybox", "Tty": tty})[0] == 201
    if start:
        assert client.call("POST", "/containers/a/start")[0] == 204


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n"):
        data += receive(connection, 1)
    return data


def head(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += receive(connection, 1)
    return data


def until(condition: object) -> None:
    """Wait for something that the server does a moment later."""
    assert callable(condition)
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.41", False, "raw"),
        ("1.42", False, "multiplexed"),
        ("1.42", True, "raw"),
    ],
)
def test_attach_switches_protocols(client: Client, version: str, tty: bool, kind: str) -> None:
    make(client, tty=tty)
    with dial(client.path) as connection:
        target = f"/v{version}/containers/a/attach?stream=1&stdin=1".encode()
        connection.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n")
        answer = head(connection)
        assert answer.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert f"application/vnd.docker.{kind}-stream".encode() in answer
        connection.sendall(b"hello")
        expected = b"HELLO" if tty else frame(1, b"HELLO")
        assert receive(connection, len(expected)) == expected
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_the_older_raw_form(client: Client) -> None:
    make(client, tty=True)
    with dial(client.path) as connection:
        connection.sendall(b"POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head(connection).startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(b"x")
        assert receive(connection, 1) == b"X"


def test_input_sent_with_the_request_is_not_lost(client: Client) -> None:
    make(client, tty=True)
    with dial(client.path) as connection:
        data = b"abc" * 100_000
        request = b"POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
        sender = threading.Thread(target=connection.sendall, args=(request + data,))
        sender.start()
        head(connection)
        assert receive(connection, len(data)) == data.upper()
        sender.join()


def test_a_request_in_pieces(client: Client) -> None:
    make(client, tty=True)
    with dial(client.path) as connection:
        for byte in b"POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\nhi":
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)
        head(connection)
        assert receive(connection, 2) == b"HI"


def test_exec_with_a_body_on_a_reused_connection(client: Client) -> None:
    make(client)
    exec_id = client.json("POST", "/containers/a/exec", {"Cmd": ["sh"], "Tty": True})[1]["Id"].encode()
    body = b'{"Detach": false, "Tty": true}'
    connection = UnixConnection(client.path)
    for _ in range(3):
        connection.request("GET", "/_ping")
        assert connection.getresponse().read() == b"OK"
    raw = connection.sock
    raw.sendall(b"POST /exec/none/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert head(raw).startswith(b"HTTP/1.1 404")
    receive(raw, len(b'{"message":"No such exec instance: none"}\n'))
    raw.sendall(
        b"POST /exec/" + exec_id + b"/start HTTP/1.1\r\nHost: x\r\n" + UPGRADE
        + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body + b"early"
    )  # fmt: skip
    assert head(raw).startswith(b"HTTP/1.1 101")
    assert receive(raw, 5) == b"EARLY"
    connection.close()


def test_a_refused_attach_is_an_ordinary_error(client: Client) -> None:
    connection = UnixConnection(client.path)
    for _ in range(2):
        connection.request(
            "POST", "/containers/none/attach?stream=1", headers={"Connection": "Upgrade", "Upgrade": "tcp"}
        )
        response = connection.getresponse()
        assert response.status == 404
        assert json.loads(response.read()) == {"message": "No such container: none"}
    connection.close()


def test_hijacking_keeps_no_descriptor(client: Client) -> None:
    make(client, tty=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with dial(client.path) as connection:
            connection.sendall(b"POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: x\r\n\r\nq")
            head(connection)
            assert receive(connection, 1) == b"Q"
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_wait_answers_its_head_at_once(client: Client, backend: FakeBackend) -> None:
    make(client)
    with dial(client.path) as connection:
        connection.sendall(b"POST /v1.41/containers/a/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"chunked" in head(connection)
        client.call("POST", "/containers/a/kill")
        assert b'{"StatusCode":137}' in connection.recv(4096)


def test_a_wait_that_nobody_listens_to_is_cancelled(client: Client, backend: FakeBackend) -> None:
    make(client)
    with dial(client.path) as connection:
        connection.sendall(b"POST /containers/a/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
    assert backend.cancelled.wait(40)
    assert client.json("POST", "/containers/a/wait?condition=never")[0] == 400


def test_logs_follow_until_the_end(client: Client, backend: FakeBackend) -> None:
    make(client)
    container = backend.fake_containers.find("a")
    backend.fake_containers.print(container, b"one\n")
    connection = UnixConnection(client.path)
    connection.request("GET", "/v1.42/containers/a/logs?stdout=1&stderr=1&follow=1")
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    assert response.read(12) == frame(1, b"one\n")
    backend.fake_containers.print(container, b"two\n", 2)
    assert response.read(12) == frame(2, b"two\n")
    backend.fake_containers.finish(container, 0)
    assert response.read() == b""
    connection.close()
    until(lambda: backend.open_readers == 0)


def test_a_follower_that_vanishes_leaves_nothing(client: Client, backend: FakeBackend) -> None:
    make(client)
    with dial(client.path) as connection:
        connection.sendall(b"GET /containers/a/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
        assert backend.open_readers == 1
    until(lambda: backend.open_readers == 0)


def test_logs_need_a_stream(client: Client) -> None:
    make(client)
    status, reply = client.json("GET", "/containers/a/logs")
    assert (status, reply["message"]) == (400, "Bad parameters: you must choose at least one stream")


def test_events_from_the_past_until_now(client: Client) -> None:
    make(client)
    _, _, data = client.call("GET", f"/events?since=0&until={time.time()}")
    found = [json.loads(line) for line in data.splitlines()]
    assert [one["Action"] for one in found] == ["create", "start"]
    assert found[0]["status"] == "create"
    query = "filters=" + json.dumps({"event": {"start": True}}).replace('"', "%22").replace(" ", "")
    _, _, data = client.call("GET", f"/events?since=0&until={time.time()}&{query}")
    assert len(data.splitlines()) == 1


def test_events_as_they_come_and_a_listener_that_vanishes(client: Client, backend: FakeBackend) -> None:
    with dial(client.path) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
        make(client, start=False)
        assert b'"Action":"create"' in connection.recv(4096)
        assert len(backend.fake_events.listeners) == 1
    until(lambda: not backend.fake_events.listeners)


def test_an_event_that_is_taken_early_does_not_end_the_stream() -> None:
    """The call that announces it comes after it was taken: waiting goes on."""
    first, second = (event("container", action, "id", {}, 1) for action in ("create", "start"))

    async def listen() -> None:
        queue = EventQueue(asyncio.get_running_loop())
        queue.deliver(first)
        assert await queue.batch(None) == [first]
        waiting = asyncio.ensure_future(queue.batch(None))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        queue.deliver(second)
        assert await waiting == [second]

    asyncio.run(listen())


def test_the_log_comes_in_chunks_that_clients_can_take(client: Client, backend: FakeBackend) -> None:
    make(client)
    backend.fake_containers.print(backend.fake_containers.find("a"), b"x" * 100_000)
    backend.fake_containers.finish(backend.fake_containers.find("a"), 0)
    with dial(client.path) as connection:
        connection.sendall(b"GET /containers/a/logs?stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
        sizes = []
        while size := int(line(connection), 16):
            sizes.append(size)
            receive(connection, size + 2)
    assert sum(sizes) == 100_008
    assert max(sizes) <= 16 << 10


def test_streams_end_when_the_server_stops(backend: FakeBackend, tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with running_api(path, backend.backends):
        connection = dial(path)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
        began = time.monotonic()
    assert time.monotonic() - began < 8  # without that, the grace of 10 s
    connection.close()
    until(lambda: not backend.fake_events.listeners)


def test_a_load_that_breaks_off_is_cancelled(client: Client, backend: FakeBackend) -> None:
    with dial(client.path) as connection:
        connection.sendall(
            b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome bytes"
        )
        time.sleep(0.05)
    assert client.call("GET", "/_ping")[0] == 200
    assert backend.fake_images.loaded == b""


def test_a_save_that_nobody_reads_ends(client: Client) -> None:
    with dial(client.path) as connection:
        connection.sendall(b"GET /images/busybox/get HTTP/1.1\r\nHost: x\r\n\r\n")
        head(connection)
    assert client.call("GET", "/_ping")[0] == 200
