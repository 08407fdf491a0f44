"""Every endpoint of Docker's description, with requests made from it: never a 500, and nothing leaks."""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import time

import pytest

from carboy.api.routes import ROUTES
from support.api import Client, UnixConnection
from support.apischema import Request, broken, document, requests

BUDGET = 18.0
"""Seconds; on a quiet machine all endpoints take a third of that (tests/fuzz/fuzz_api.py goes on longer)."""


def send(client: Client, request: Request, body: bytes | None) -> tuple[int, bytes]:
    """The status and, for errors, the body: streams of other answers are left at their beginning."""
    connection = UnixConnection(client.path)
    try:
        connection.request(request.method, request.target, body=body, headers=request.headers)
        response = connection.getresponse()
        return response.status, response.read() if response.status >= 400 else b""
    finally:
        connection.close()


def test_every_endpoint_of_the_description_is_known() -> None:
    """Each has a route: served, or with an answer that says why not."""
    known = {(route.method, route.path) for route in ROUTES}
    missing = []
    for path, operations in document()["paths"].items():
        for method in operations:
            if method == "parameters":
                continue
            names = {(method.upper(), path), (method.upper(), path.replace("{name}", "{id}"))}
            if not names & known:
                missing.append(f"{method.upper()} {path}")
    assert missing == []


@pytest.mark.timeout(60)
def test_requests_of_the_description(client: Client) -> None:
    assert client.call("GET", "/_ping")[0] == 200
    client.json("POST", "/containers/create?name=a", {"Image": "busybox"})
    random_ = random.Random(1)
    begin = resources()
    deadline = time.monotonic() + BUDGET
    seen = set()
    for request in requests(seed=1, each=3):
        seen.add(request.label)
        bodies = [request.body]
        if request.body is not None:
            bodies.append(broken(random_, request.body))
        for body in bodies:
            status, answer = send(client, request, body)
            assert status != 500, (request, body, answer)
            if status >= 400 and request.method != "HEAD":
                assert json.loads(answer)["message"], request
        if time.monotonic() > deadline:
            break
    assert len(seen) > 20
    wait_for_resources(*begin)
    assert client.call("GET", "/_ping")[0] == 200


def resources() -> tuple[int, int]:
    """Descriptors and threads of this process, which is the server, too."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def wait_for_resources(descriptors: int, threads: int) -> None:
    """The pools' threads stay; what belonged to requests does not."""
    deadline = time.monotonic() + 40
    while resources()[0] > descriptors + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    left, busy = resources()
    assert left <= descriptors + 2
    assert busy <= threads + 16 + 64
