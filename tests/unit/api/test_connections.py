"""Clients by the thousand, slow ones, half-sent heads, browsers on TCP."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from carboy.api.listeners import Rules, listen, listen_all
from carboy.api.server import Serving, serve
from carboy.errors import InvalidArgument, Unavailable
from support.api import Client, dial, running_api
from support.fake_backend import FakeBackend

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_thousand_idle_connections(client: Client) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        crowd = [stack.enter_context(dial(client.path)) for _ in range(1000)]
        for one in crowd[::10]:
            one.sendall(PING)
        for one in crowd[::10]:
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        assert client.call("GET", "/_ping")[0] == 200


def test_kept_alive_connections_serve_many_requests(client: Client) -> None:
    with dial(client.path) as connection:
        for _ in range(100):
            connection.sendall(PING)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "beginning", [b"G", b"GET /_ping HTTP/1.1\r\nHost:", b"POST /exec/1/start HTTP/1.1\r\nHo"]
)
def test_a_head_must_come_in_time(tmp_path: Path, beginning: bytes) -> None:
    serving = Serving(head_seconds=0.2)
    path = str(tmp_path / "s")
    with (
        running_api(path, FakeBackend().backends, serving=serving),
        dial(path) as slow,
        dial(path) as idle,
    ):
        slow.sendall(beginning)
        begin = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(100) == b""
        assert 0.1 < time.monotonic() - begin < 20
        idle.sendall(PING)  # who says nothing at all may wait
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.3)
        idle.sendall(PING)
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_slow_body_does_not_run_into_the_heads_time(tmp_path: Path) -> None:
    serving = Serving(head_seconds=0.2)
    with (
        running_api(str(tmp_path / "s"), FakeBackend().backends, serving=serving),
        dial(str(tmp_path / "s")) as slow,
    ):
        slow.sendall(b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.4)
        slow.sendall(b"}")
        assert slow.recv(4096).startswith(b"HTTP/1.1 201")


@pytest.fixture
def port() -> Iterator[int]:
    """The API on TCP, without certificates."""
    listener = listen("tcp://127.0.0.1:0", Rules(insecure=True))
    ready = threading.Event()
    stop = []

    def on_ready(function: object) -> None:
        stop.append(function)
        ready.set()

    thread = threading.Thread(
        target=serve, args=([listener], FakeBackend().backends), kwargs={"on_ready": on_ready}
    )
    thread.start()
    assert ready.wait(40)
    yield int(listener.host.rpartition(":")[2])
    stop[0]()  # type: ignore[operator]  # the function that was given
    thread.join(40)


def ask(port: int, method: str, path: str, **headers: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_browsers_and_strange_names_are_refused_on_tcp(port: int) -> None:
    assert ask(port, "GET", "/_ping") == 200
    assert ask(port, "GET", "/_ping", Host="localhost:2375") == 200
    assert ask(port, "GET", "/_ping", Host="[::1]:2375") == 200
    for headers in (
        {"Origin": "https://example.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example.com"},
        {"Host": "rebound.example.com:2375"},
    ):
        assert ask(port, "GET", "/info", **headers) == 403
        # The requests that may become streams are read elsewhere, and guarded as well.
        assert ask(port, "POST", "/containers/a/attach?stream=1", **headers) == 403
        assert ask(port, "POST", "/exec/a/start", **headers) == 403


def test_tcp_without_certificates_must_be_forced() -> None:
    for host in ("tcp://127.0.0.1:0", "tcp://0.0.0.0:0", "127.0.0.1:0"):
        with pytest.raises(InvalidArgument, match="whoever reaches this port is root here"):
            listen(host)


@pytest.mark.parametrize(
    "host", ["", "nonsense", "unix://relative", "http://x", "tcp://h:99999", "tcp://h:1/x"]
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot listen on"):
        listen(host, Rules(insecure=True))


def test_all_or_none_is_listened_to(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no sockets found via socket activation"):
        listen_all([f"unix://{tmp_path}/s", "fd://"], Rules())
    assert not (tmp_path / "s").exists()


def test_an_upgrade_with_a_body_in_chunks(client: Client) -> None:
    """As docker-java sends it."""
    client.json("POST", "/containers/create?name=a", {"Image": "busybox"})
    client.call("POST", "/containers/a/start")
    made = client.json(
        "POST", "/containers/a/exec", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True}
    )[1]
    with dial(client.path) as connection:
        connection.sendall(
            f"POST /exec/{made['Id']}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            '10\r\n{"Detach":false}\r\n0\r\n\r\nearly'.encode()
        )
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while more := connection.recv(4096):
            data += more
    assert data.startswith(b"HTTP/1.1 101")
    assert b"EARLY" in data
