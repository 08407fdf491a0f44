"""A daemon that was forced to listen on TCP without certificates: loud, and deaf to its containers."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from support.daemon import Daemon, RequestError, running_daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]


@pytest.fixture(scope="module")
def exposed() -> Iterator[Daemon]:
    yield from running_daemon("--host", "tcp://0.0.0.0:0", "--insecure-tcp")


def port_of(daemon: Daemon) -> int:
    found = re.search(r"API listen on tcp://0.0.0.0:(\d+)", daemon.log())
    assert found
    return int(found[1])


def status(port: int, address: str = "127.0.0.1") -> int:
    connection = HTTPConnection(address, port, timeout=40)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_says_so_loudly(exposed: Daemon) -> None:
    assert "WHOEVER REACHES THIS PORT IS ROOT ON THIS MACHINE" in exposed.log()
    assert status(port_of(exposed)) == 200


def test_cve_2025_9074_containers_do_not_reach_the_api(exposed: Daemon) -> None:
    gateway = exposed.get("/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
    port = port_of(exposed)
    request = f"printf 'GET /info HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {gateway} {port}; echo done"
    code, out, _ = exposed.run_container("sh", "-c", request, host={"NetworkMode": "bridge"})
    assert (code, out) == (0, b"done\n")
    assert "a container was refused" in exposed.log()
    assert status(port, gateway) == 200  # the host itself, by the same address


def test_a_stop_that_waits_long_keeps_nobody_from_working(exposed: Daemon) -> None:
    """Many clients start what is being stopped; others are served, and `kill` ends it."""
    container = exposed.create("sleep", "1000", host={"NetworkMode": "none"})
    exposed.post(f"/containers/{container}/start")
    stop = threading.Thread(target=exposed.request, args=("POST", f"/containers/{container}/stop?t=100"))
    stop.start()
    others = [
        threading.Thread(target=ask, args=(exposed, f"/containers/{container}/pause")) for _ in range(20)
    ]
    for one in others:
        one.start()
    assert exposed.get("/containers/json?all=1")[0]["Id"] == container
    ask(exposed, f"/containers/{container}/start")  # it runs: 304, at once
    exposed.request("POST", f"/containers/{container}/kill")
    for one in (stop, *others):
        one.join(40)
        assert not one.is_alive()
    exposed.remove_all()


def ask(daemon: Daemon, path: str) -> None:
    with contextlib.suppress(RequestError):
        daemon.request("POST", path)
