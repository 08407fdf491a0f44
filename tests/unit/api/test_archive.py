"""The archive endpoints over the engine in memory: headers, invitations, descriptors."""

from __future__ import annotations

import base64
import json
import os
import socket
from pathlib import Path

from carboy.linux import process
from support import tars
from support.api import Client, dial, running_api
from support.fake_backend import FakeBackend

CREATE = {"Image": "busybox", "Cmd": ["true"]}


def take(peer: socket.socket, number: int) -> int:
    """A copy of a descriptor of the client, which is this very process."""
    del peer
    own = process.pidfd_open(os.getpid())
    try:
        return process.pidfd_getfd(own, number)
    finally:
        os.close(own)


def test_the_status_is_in_a_header(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with running_api(path, FakeBackend().backends):
        api = Client(path)
        api.json("POST", "/containers/create?name=c", CREATE)
        for method in ("HEAD", "GET"):
            status, headers, _ = api.call(method, "/containers/c/archive?path=/etc/hostname")
            found = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
            assert (status, found["name"], found["size"], found["mode"]) == (200, "hostname", 5, 0o644)
            assert found["mtime"] == "1970-01-01T00:00:00Z"


def test_a_client_that_waits_is_invited(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    tar = tars.make(tars.file("f", b"x"))
    with running_api(path, FakeBackend().backends):
        Client(path).json("POST", "/containers/create?name=c", CREATE)
        with dial(path) as client:
            head = f"PUT /containers/c/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(tar)}\r\n"
            client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(tar)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_descriptors_of_the_client(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    (tmp_path / "in.tar").write_bytes(tars.make(tars.file("f", b"by descriptor")))
    with (
        running_api(path, FakeBackend().backends, take_descriptor=take),
        open(tmp_path / "in.tar", "rb") as tar,
    ):
        api = Client(path)
        api.json("POST", "/containers/create?name=c", CREATE)
        given = {"X-Carboy-Descriptor": str(tar.fileno())}
        target = "/containers/c/archive?path=/"
        assert api.call("PUT", target, headers=given)[0] == 200
        with open(tmp_path / "out.tar", "w+b") as out:
            headers = {"X-Carboy-Descriptor": str(out.fileno())}
            status, found, body = api.call("GET", "/containers/c/archive?path=/f", headers=headers)
            assert (status, body, "x-docker-container-path-stat" in found) == (200, b"", True)
            assert b"by descriptor" in (tmp_path / "out.tar").read_bytes()
        status, _, body = api.call("PUT", f"{target}&name=f", headers=given)
        assert (status, b"nothing is copied by descriptor here" in body) == (400, True)
        for name in ("..", "a/b", "a%00b"):
            status, _, body = api.call("PUT", f"{target}&name={name}", headers=given)
            assert (status, b"is not the name of a file" in body) == (400, True)
