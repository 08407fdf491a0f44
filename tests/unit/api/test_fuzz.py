"""Hostile requests: whatever is sent, the answer is never a 500, and the server goes on."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from carboy.api.routes import ROUTES
from support.api import Client, dial

WORDS = [
    "",
    "0",
    "-1",
    "99999999999999999999",
    "true",
    "../../etc/passwd",
    "\0",
    "é\U0001f600",
    "a" * 3000,
    "%",
    "{",
    "[]",
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1.5,
    "",
    "x",
    "\0",
    [],
    {},
    [None],
    {"": None},
    [[[]]],
    {"a": {"b": []}},
]
FIELDS = [
    "Image",
    "Cmd",
    "Env",
    "HostConfig",
    "Labels",
    "ExposedPorts",
    "NetworkingConfig",
    "Tty",
    "ConsoleSize",
    "Name",
    "DriverOpts",
    "Healthcheck",
    "Entrypoint",
    "User",
    "Detach",
    "StopTimeout",
]
QUERY = [
    "all",
    "limit",
    "size",
    "filters",
    "name",
    "t",
    "signal",
    "h",
    "w",
    "condition",
    "force",
    "v",
    "stdout",
    "since",
    "until",
    "tail",
    "fromSrc",
    "repo",
    "tag",
    "names",
    "container",
    "changes",
    "platform",
    "detachKeys",
    "stream",
]
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LASTING = [route for route in ROUTES if route.path != "/carboy/system/reset"]
ENDLESS = (
    "/events",
    "/containers/{id}/stats",
    "/containers/{id}/wait",
    "/containers/{id}/attach",
    "/exec/{id}/start",
)


def target(random_: random.Random, path: str) -> str:
    while "{" in path:
        begin, end = path.index("{"), path.index("}")
        path = path[:begin] + quote(random_.choice([*WORDS[1:], "a", "busybox"]), safe="") + path[end + 1 :]
    pairs = [
        f"{quote(random_.choice(QUERY))}={quote(random_.choice(WORDS))}" for _ in range(random_.randrange(4))
    ]
    prefix = random_.choice(["", "/v1.24", "/v1.51"])
    return f"{prefix}{path}?{'&'.join(pairs)}"


def body(random_: random.Random) -> bytes | None:
    kind = random_.randrange(4)
    if kind == 0:
        return None
    if kind == 1:
        return random_.randbytes(random_.randrange(200))
    document = {random_.choice(FIELDS): random_.choice(VALUES) for _ in range(random_.randrange(6))}
    if kind == 3:
        document = {"Image": "busybox", "HostConfig": document, **document}
    return json.dumps(document).encode()


@pytest.mark.parametrize("route", LASTING, ids=lambda route: f"{route.method} {route.path}")
def test_no_request_is_an_internal_error(client: Client, route: Any) -> None:
    random_ = random.Random(f"{route.method} {route.path}")
    client.json("POST", "/containers/create?name=a", {"Image": "busybox"})
    if route.path in ENDLESS:
        ends = "until=1" if route.path == "/events" else "condition=never"
        assert client.call(route.method, f"{route.path.replace('{id}', 'none')}?{ends}")[0] < 500
        return
    for _ in range(12):
        content = body(random_) if route.method in ("POST", "PUT") else None
        headers = {"Content-Type": random_.choice(["application/json", "application/json", "x", ""])}
        status, _, data = client.call(route.method, target(random_, route.path), content, headers)
        assert status != 500, data
        if status >= 400 and route.method != "HEAD":
            assert json.loads(data)["message"]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /exec/x/start HTTP/9\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"POST /exec/" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_refused(client: Client, data: bytes) -> None:
    with dial(client.path) as connection:
        connection.sendall(data)
        answer = connection.recv(65536)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400"), answer[:200]
    assert client.call("GET", "/_ping")[0] == 200


def test_requests_in_one_packet_are_answered_in_order(client: Client) -> None:
    with dial(client.path) as connection:
        connection.sendall(
            b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" * 5
            + b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while more := connection.recv(65536):
            data += more
    assert data.count(b"200 OK") == 5
    assert data.rindex(b"404") > data.rindex(b"200 OK")
