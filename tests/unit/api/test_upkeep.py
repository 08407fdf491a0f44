"""Stats, top, update and prunes over a real socket with the engine in memory."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

from carboy.formats.dockerapi.stats import ContainerStats
from support.api import Client
from support.commands import until
from support.fake_backend import FakeBackend
from unit.api.test_endpoints import make


def test_one_frame(client: Client) -> None:
    container_id = make(client)
    for query in ("stream=0", "stream=false&one-shot=true", "stream=False"):
        status, frame = client.json("GET", f"/v1.41/containers/a/stats?{query}")
        assert status == 200
        assert (frame["name"], frame["id"]) == ("/a", container_id)
    assert client.json("GET", "/containers/none/stats")[0] == 404
    status, reply = client.json("GET", "/v1.41/containers/a/stats?one-shot=1")
    assert (status, reply["message"]) == (400, "cannot have stream=true and one-shot=true")


def listen(client: Client, path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(40)
    connection.connect(client.path)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def test_a_stream_until_the_container_is_removed(client: Client, backend: FakeBackend) -> None:
    container_id = make(client)
    connection = listen(client, "/containers/a/stats")
    upkeep = backend.fake_upkeep
    until(lambda: len(upkeep.watchers) == 1)
    received = b""
    while b'"preread"' not in received:
        received += connection.recv(65536)
    upkeep.feed(ContainerStats(name="/a", id=container_id, num_procs=7))
    while b'"num_procs":7' not in received:
        received += connection.recv(65536)
    upkeep.feed(None)
    while not received.endswith(b"0\r\n\r\n"):
        received += connection.recv(65536)
    connection.close()
    until(lambda: not upkeep.watchers)


def test_a_client_that_goes_or_does_not_read_holds_nobody_up(client: Client, backend: FakeBackend) -> None:
    container_id = make(client)
    deaf, gone = listen(client, "/containers/a/stats"), listen(client, "/containers/a/stats")
    upkeep = backend.fake_upkeep
    until(lambda: len(upkeep.watchers) == 2)
    gone.close()
    until(lambda: len(upkeep.watchers) == 1)
    large = {str(number): number for number in range(5000)}
    frame = ContainerStats(name="/a", id=container_id, storage_stats=large)
    for _ in range(300):
        upkeep.feed(frame)  # far more than a socket's buffers take
    assert client.call("GET", "/_ping")[0] == 200
    deaf.close()
    until(lambda: not upkeep.watchers)


def test_top(client: Client) -> None:
    container_id = make(client)
    assert client.json("GET", "/containers/a/top") == (
        409,
        {"message": f"container {container_id} is not running"},
    )
    client.call("POST", "/containers/a/start")
    assert client.json("GET", "/containers/a/top")[1] == {
        "Titles": ["PID", "CMD"],
        "Processes": [["1", "sleep 100"]],
    }
    assert client.json("GET", "/containers/a/top?ps_args=--bogus")[0] == 400


def test_update(client: Client, backend: FakeBackend) -> None:
    make(client)
    body = {"Memory": 64 << 20, "PidsLimit": None, "RestartPolicy": {"Name": "always"}, "Odd": 1}
    assert client.json("POST", "/containers/a/update", body) == (200, {"Warnings": None})
    (request,) = backend.fake_upkeep.updates
    assert request.memory == 64 << 20
    assert request.pids_limit is None
    assert request.restart_policy.name == "always"
    assert request.unknown_fields == ["Odd"]
    assert client.json("POST", "/containers/a/update", {"Memory": 5})[0] == 400
    assert client.json("POST", "/containers/a/update", {"Memory": "many"})[0] == 400
    assert client.json("POST", "/containers/none/update", {})[0] == 404


def test_prunes(client: Client) -> None:
    container_id = make(client)
    assert client.json("POST", "/containers/prune") == (
        200,
        {"ContainersDeleted": [container_id], "SpaceReclaimed": 0},
    )
    assert client.json("POST", "/images/prune")[1] == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    assert client.json("POST", "/build/prune")[1] == {"CachesDeleted": None, "SpaceReclaimed": 0}
    filters = quote(json.dumps({"nonsense": ["x"]}))
    for kind in ("containers", "images"):
        assert client.json("POST", f"/{kind}/prune?filters={filters}")[0] == 400
