"""Clients that lie, stall, race or die: the daemon stays up, and one of many wins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from support.daemon import IMAGE, REPOSITORY, Daemon, RequestError, _running

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
HOST = {"NetworkMode": "none"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """A daemon with busybox."""
    yield from _running()


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The shared daemon; it is well and empty after each test."""
    before = len(os.listdir(f"{shared.root}/containers"))
    yield shared
    assert shared.request("GET", "/_ping") == b"OK"
    shared.remove_all()
    assert len(os.listdir(f"{shared.root}/containers")) == before
    assert not os.listdir(f"{shared.run}/containers")
    assert "Traceback" not in shared.log(), shared.log()[-3000:]


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """The results of `count` threads that begin together; a refusal is its status."""
    found: list[object] = [None] * count
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = work(number)
        except RequestError as error:
            found[number] = error.status
            if error.status in (400, 500, 503):
                found[number] = f"{error}"

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def unexpected(found: list[object]) -> list[object]:
    """The refusals that a race does not explain."""
    return [one for one in found if isinstance(one, str) and one[:4] in ("400:", "500:", "503:")]


# -- races


def test_one_of_fifty_gets_the_name(daemon: Daemon) -> None:
    found = at_once(50, lambda _: daemon.create("true", name="wanted", host=HOST))
    assert found.count(409) == 49
    assert len(daemon.get("/containers/json?all=1")) == 1


def test_creating_and_removing_one_name_at_once(daemon: Daemon) -> None:
    def both(number: int) -> object:
        if number % 2:
            return daemon.create("true", name="churn", host=HOST)
        return daemon.request("DELETE", "/containers/churn?force=1")

    for _ in range(3):
        found = at_once(20, both)
        assert all(isinstance(one, str | bytes) or one in (404, 409) for one in found), Counter(
            map(str, found)
        )
    assert len(daemon.get("/containers/json?all=1")) <= 1


def test_one_of_many_starts_it(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", host=HOST)
    at_once(10, lambda _: daemon.post(f"/containers/{container}/start"))
    assert daemon.get(f"/containers/{container}/json")["State"]["Status"] == "running"
    found = at_once(10, lambda _: daemon.post(f"/containers/{container}/stop?t=0"))
    assert not [one for one in found if one is not None]
    assert daemon.get(f"/containers/{container}/json")["State"]["ExitCode"] == 137


def test_everything_at_once_on_one_container(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", name="busy0", host=HOST)
    work: list[Callable[[], object]] = [
        lambda: daemon.post(f"/containers/{container}/start"),
        lambda: daemon.post(f"/containers/{container}/stop?t=0"),
        lambda: daemon.post(f"/containers/{container}/restart?t=0"),
        lambda: daemon.post(f"/containers/{container}/pause"),
        lambda: daemon.post(f"/containers/{container}/unpause"),
        lambda: daemon.post(f"/containers/{container}/kill"),
        lambda: daemon.post(f"/containers/{container}/rename?name=busy{time.monotonic_ns()}"),
        lambda: daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]}),
        lambda: daemon.get(f"/containers/{container}/json"),
        lambda: daemon.post(f"/commit?container={container}"),
    ]
    for _ in range(4):
        found = at_once(30, lambda number: work[number % len(work)]())
        assert not unexpected(found), unexpected(found)
    daemon.request("DELETE", f"/containers/{container}?force=1")
    for one in daemon.get("/images/json"):
        if IMAGE not in (one["RepoTags"] or []):
            daemon.request("DELETE", f"/images/{one['Id']}")


def test_removing_while_it_starts(daemon: Daemon) -> None:
    for _ in range(10):
        container = daemon.create("sleep", "100", host=HOST)

        def both(number: int, container: str = container) -> object:
            if number == 0:
                return daemon.post(f"/containers/{container}/start")
            return daemon.request("DELETE", f"/containers/{container}?force=1")

        found = at_once(2, both)
        assert not unexpected(found), unexpected(found)
        if found[1] in (404, 409):
            daemon.request("DELETE", f"/containers/{container}?force=1")
    assert not daemon.get("/containers/json?all=1")


def test_renaming_crosswise(daemon: Daemon) -> None:
    first, second = (
        daemon.create("true", name="left", host=HOST),
        daemon.create("true", name="right", host=HOST),
    )
    for _ in range(5):
        at_once(8, lambda n: daemon.post(f"/containers/{first if n % 2 else second}/rename?name=n{n % 3}"))
        names = [one["Names"][0] for one in daemon.get("/containers/json?all=1")]
        assert len(set(names)) == 2, names


# -- HTTP

TRUNCATED = [
    b"",
    b"\0" * 100,
    b"GET",
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /info HTTP/9.9\r\n\r\n",
    b"\xff\xfe\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    b"GET /info HTTP/1.1\r\nHost: x\r\n" * 3,
    b"POST /containers/x/attach HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /containers/x/attach HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /containers/x/attach HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /containers/x/attach HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST /exec/" + b"a" * 100000 + b"/start HTTP/1.1\r\n\r\n",
    b"POST " * 10000,
    b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n\r\n",
    b"GET /info HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    b"GET /info HTTP/1.1\r\nX: " + b"y" * 300000 + b"\r\n\r\n",
    b"POST /containers/x/attach HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    b"GET /info HTTP/1.1\r\nA\0: b\r\n\r\n",
    b"POST /containers/x/attach HTTP/1.1\r\nX: " + b"y" * 300000,
    b"POST /containers/x/attach HTTP/1.1\nHost: x\n\n",
    b"GET http://x/info HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"POST /images/load HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(TRUNCATED)))
def test_broken_requests(daemon: Daemon, number: int) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(40)
        client.connect(daemon.socket)
        try:
            client.sendall(TRUNCATED[number])
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while data := client.recv(65536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    head = answer.split(b"\r\n")[0]
    assert not answer or head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 2", b"HTTP/1.0 4", b"HTTP/1.1 100")), head
    assert b"Traceback" not in answer
    assert b"internal error" not in answer


STALLED = [
    b"G",
    b"POST /containers/x/attach HTTP/1.1\r\nHos",
    b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
]


def test_stalled_clients_hold_nobody_up(daemon: Daemon) -> None:
    """Three hundred that send one byte, half a head, or half a body, and then nothing."""
    stalled = []
    for number in range(300):
        client = socket.socket(socket.AF_UNIX)
        client.connect(daemon.socket)
        client.sendall(STALLED[number % len(STALLED)])
        stalled.append(client)
    try:
        assert daemon.run_container("echo", "hi")[1] == b"hi\n"
        daemon.make_image("other:1", None)
        daemon.request("DELETE", "/images/other:1")
    finally:
        for client in stalled:
            client.close()
    assert_eventually(lambda: not os.listdir(f"{daemon.root}/ingest"))


def assert_eventually(true: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


BAD_NAMES = [
    "..",
    ".",
    "%2e%2e",
    "..%2f..%2fetc",
    "%2fetc%2fpasswd",
    "a%00b",
    "%00",
    "a" * 5000,
    "%c3%a9",
    "%ff%fe",
    "a%0ab",
    "%20",
    "sha256:",
    "sha256:%2e%2e",
    "a@sha256:..",
    "-rf",
    "%25",
    "%zz",
    "*",
    "a%2f..%2f..%2fb",
    "%ed%a0%80",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_hostile_names_on_every_endpoint(daemon: Daemon, name: str) -> None:
    for method, path in (
        ("GET", "/containers/{}/json"),
        ("POST", "/containers/{}/start"),
        ("POST", "/containers/{}/stop"),
        ("POST", "/containers/{}/kill"),
        ("POST", "/containers/{}/rename?name=ok1"),
        ("POST", "/containers/{}/wait"),
        ("POST", "/containers/{}/pause"),
        ("POST", "/containers/{}/resize?h=1&w=1"),
        ("POST", "/containers/{}/attach"),
        ("GET", "/containers/{}/logs?stdout=1"),
        ("DELETE", "/containers/{}?force=1"),
        ("POST", "/containers/{}/exec"),
        ("POST", "/exec/{}/start"),
        ("GET", "/exec/{}/json"),
        ("POST", "/exec/{}/resize?h=1&w=1"),
        ("GET", "/images/{}/json"),
        ("GET", "/images/{}/history"),
        ("GET", "/images/{}/get"),
        ("GET", "/images/get?names={}"),
        ("POST", "/images/{}/tag?repo=x"),
        ("POST", "/images/busybox:test/tag?repo={}"),
        ("DELETE", "/images/{}"),
        ("POST", "/images/busybox:test/tag?repo=x&tag={}"),
        ("POST", "/commit?container={}"),
        ("GET", "/volumes/{}"),
        ("DELETE", "/volumes/{}"),
        ("GET", "/networks/{}"),
        ("POST", "/containers/create?name={}"),
    ):
        takes_body = method == "POST" and path.startswith(("/containers", "/exec"))
        body = {"Cmd": ["true"], "Image": IMAGE} if takes_body else None
        with pytest.raises(RequestError) as refused:
            daemon.request(method, path.format(name), body)
        assert refused.value.status in (400, 404, 405, 409, 414, 501), (method, path, refused.value)
        assert len(refused.value.message) < 2500


# -- clients that die

CARBOY = [sys.executable, str(REPOSITORY / "bin" / "carboy")]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_is_killed_at_any_time(daemon: Daemon, kill: signal.Signals) -> None:
    environment = {**os.environ, "CARBOY_HOST": daemon.host, "PYTHONPATH": str(REPOSITORY / "src")}
    for step in range(24):
        process = subprocess.Popen(
            [*CARBOY, "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "echo a; sleep 0.05; echo b"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(step * 0.006)
        process.send_signal(kill)
        _, err = process.communicate(timeout=60)
        # ctrl-C before our first line has run: the interpreter has several ways to say it, none of which
        # names a file of ours. What is said afterwards: tests/unit/cli/test_interrupts.py.
        if b"Traceback" in err:
            assert kill == signal.SIGINT, err
            assert not [place for place in ("bin/", "src/") if f"{REPOSITORY}/{place}".encode() in err], err
        else:
            assert err.count(b"\n") <= 1, err

    def done() -> bool:
        return not [one for one in daemon.get("/containers/json?all=1") if one["State"] != "created"]

    assert_eventually(done)
    # One that was created when its client died, before the start, remains: as with Docker.
    assert len(daemon.get("/containers/json?all=1")) < 24


def test_a_client_that_dies_while_it_sends_an_image(daemon: Daemon) -> None:
    for size in (10, 5000, 3 << 20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(daemon.socket)
            client.sendall(
                b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(size)
            )
    assert_eventually(lambda: not os.listdir(f"{daemon.root}/ingest"))


# -- leaks

CYCLES = 40


def test_nothing_grows(own_daemon_quiet: Daemon) -> None:
    daemon = own_daemon_quiet

    def cycle() -> None:
        container = daemon.create("true", host={"AutoRemove": True})
        waiter = threading.Thread(target=lambda: daemon.wait(container, "removed"))
        waiter.start()
        daemon.post(f"/containers/{container}/start")
        waiter.join()

    for _ in range(20):
        cycle()
    assert_eventually(lambda: not usage(daemon)["links"])
    before = usage(daemon)
    for _ in range(CYCLES):
        cycle()
    after = usage(daemon)
    for name in ("fds", "mounts", "groups", "links", "entries", "children"):
        # The kernel ends a network namespace, and with it a veth, after its last process has gone.
        try:
            assert_eventually(lambda name=name: usage(daemon)[name] <= before[name])  # type: ignore[misc]
        except AssertionError as error:
            raise AssertionError(f"{name}: {before}, now {usage(daemon)}") from error
    assert after["threads"] <= before["threads"] + 2
    assert (after["memory"] - before["memory"]) / CYCLES < 40 << 10, (before, after)


@pytest.fixture
def own_daemon_quiet() -> Iterator[Daemon]:
    """A daemon that nobody else uses."""
    yield from _running()


def usage(daemon: Daemon) -> dict[str, int]:
    """What the daemon, its spawner and the machine hold for it."""
    assert daemon.process is not None
    processes = [daemon.process.pid, *children(daemon.process.pid)]
    suffix = daemon.bridge.removeprefix("cb-")
    groups = "/sys/fs/cgroup/memory"
    ports = f"/sys/class/net/{daemon.bridge}/brif"
    with open("/proc/self/mountinfo") as mounts:
        mounted = mounts.read().count(daemon.home)
    return {
        "fds": len(daemon.descriptors(*processes)),
        "threads": sum(len(os.listdir(f"/proc/{pid}/task")) for pid in processes),
        "children": len(processes),
        "memory": sum(memory(pid) for pid in processes),
        "mounts": mounted,
        "groups": sum(len(os.listdir(f"{groups}/{one}")) for one in os.listdir(groups) if suffix in one),
        "links": len(os.listdir(ports)) if os.path.exists(ports) else 0,
        "entries": sum(len(names) + len(files) for _, names, files in os.walk(daemon.home)),
    }


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(one) for one in file.read().split()]


def memory(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss_Anon"))
