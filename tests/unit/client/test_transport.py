"""Requests to a scripted server: reuse, errors, streams, hijacks, uploads, long socket paths."""

from __future__ import annotations

import os
import socket
import threading
from itertools import repeat
from typing import TYPE_CHECKING

import pytest

from carboy.client import address, transport
from carboy.errors import Unavailable
from support.fakeserver import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Rig:
    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.client = transport.Client(address.parse("unix://" + server.path))

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(FakeServer(str(tmp_path / "s")))
    yield rig
    rig.close()


def test_a_connection_is_reused(rig: Rig) -> None:
    rig.server.json("GET /a", {"x": 1})
    rig.server.replies["POST /b"] = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert rig.client.get_object("/a", (("q", "a b"),)) == {"x": 1}
    assert rig.client.post("/b", body={"k": [1]}) == {}
    assert rig.client.get("/a") == {"x": 1}
    assert [request[0] for request in rig.server.requests] == ["GET /a?q=a%20b", "POST /b", "GET /a"]
    assert rig.server.requests[1][2] == b'{"k":[1]}'
    assert len(rig.server._threads) == 2


def test_the_daemons_error_text_is_kept(rig: Rig) -> None:
    with pytest.raises(transport.ServerError, match="missing") as caught:
        rig.client.get("/nothing")
    assert caught.value.status == 404


def test_streams_of_documents(rig: Rig) -> None:
    body = b'7\r\n{"a":1}\r\n9\r\n\n{"b":2}\n\r\n0\r\n\r\n'
    rig.server.replies["GET /events"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    response = rig.client.request("GET", "/events")
    assert list(response.documents()) == [{"a": 1}, {"b": 2}]
    rig.client.keep(response)


def test_a_hijack_keeps_what_came_with_the_answer(rig: Rig) -> None:
    rig.server.hijack("POST /attach", b"stream")
    connection = rig.client.start_hijack("/attach")
    assert transport.finish_hijack(connection).upgraded
    data = b""
    while piece := connection.receive():
        data += piece
    assert data == b"stream"
    assert rig.server.requests[0][1]["upgrade"] == "tcp"


def test_an_upload_is_chunked(rig: Rig) -> None:
    rig.server.json("POST /load", {"ok": True})
    response = rig.client.request("POST", "/load", upload=iter([b"abc", b"", b"d" * 100_000]))
    assert response.json() == {"ok": True}
    rig.client.keep(response)
    assert rig.server.requests[0][2] == b"abc" + b"d" * 100_000


def test_a_server_that_hangs_up_is_said(rig: Rig) -> None:
    rig.server.replies["GET /x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"
    rig.server.streams["GET /x"] = b""
    with pytest.raises(Unavailable, match="closed the connection"):
        rig.client.get("/x")


def test_nobody_there(tmp_path: Path) -> None:
    client = transport.Client(address.parse(f"unix://{tmp_path}/none"))
    with pytest.raises(Unavailable, match="Is it running"):
        client.get("/_ping")


def test_socket_paths_longer_than_the_kernels_limit(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 60)
    deep.mkdir(parents=True)
    directory = os.open(deep, os.O_PATH)
    server = FakeServer(f"/proc/self/fd/{directory}/s")
    try:
        server.json("GET /a", {})
        client = transport.Client(address.parse(f"unix://{deep}/s"))
        assert client.get("/a") == {}
        client.close()
    finally:
        server.close()
        os.close(directory)


def test_waking_is_tried_once(rig: Rig, tmp_path: Path) -> None:
    woken: list[int] = []
    rig.server.json("GET /a", {})

    def wake() -> None:
        woken.append(1)
        os.symlink(rig.server.path, tmp_path / "other")

    client = transport.Client(address.parse(f"unix://{tmp_path}/other"), wake)
    assert client.get("/a") == {}
    assert client.get("/a") == {}
    assert woken == [1]
    client.close()


def test_headers_and_the_version_go_with_every_request(rig: Rig) -> None:
    rig.server.json("GET /v1.41/a", {})
    client = transport.Client(
        address.parse("unix://" + rig.server.path), headers=(("X-Meta", "yes"),), version="1.41"
    )
    try:
        assert client.get("/a") == {}
        assert rig.server.requests[0][1]["x-meta"] == "yes"
    finally:
        client.close()


def test_patience_ends(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "mute"))
    listener.listen()
    client = transport.Client(address.parse(f"unix://{tmp_path}/mute"), patience=0.05)
    try:
        with pytest.raises(Unavailable):
            client.get("/a")
    finally:
        client.close()
        listener.close()


def test_a_kept_connection_that_the_server_closed_is_replaced(rig: Rig) -> None:
    """After its 75 seconds, or with a daemon that began anew; a raw stream as well as a request."""
    rig.server.replies["GET /a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    rig.server.streams["GET /a"] = b""  # it closes after each answer
    rig.server.hijack("POST /attach", b"")
    for _ in range(2):
        assert rig.client.get("/a") == {}
        rig.server._threads[-1].join(40)
    assert transport.finish_hijack(rig.client.start_hijack("/attach")).upgraded
    assert len(rig.server.requests) == 3


def test_an_upload_ends_when_the_server_refuses_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b'HTTP/1.1 400 X\r\nContent-Length: 17\r\n\r\n{"message":"bad"}')

        thread = threading.Thread(target=refuse)
        thread.start()
        client = transport.Client(address.parse(f"unix://{tmp_path}/s"))
        try:
            with pytest.raises(transport.ServerError, match="bad"):
                client.request("POST", "/import", upload=repeat(bytes(1 << 16)))
        finally:
            client.close()
            thread.join(40)
