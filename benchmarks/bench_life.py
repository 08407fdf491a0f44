"""What does a container's life cost through the API alone?  Prints JSON.

A daemon of its own, driven over kept-alive connections by a client of prepared bytes: create, start, wait
and remove of `true` with the bridge network (p50; goal 30 ms), the same by eight clients at once (goal: 60 a
second on two cores), a list of 500 containers (goal 20 ms), the daemon's memory and wake-ups when idle
(goals: 80 MiB, none), 200 containers at once, and what a stream of statistics of 50 of them costs
(goal: 5 % of a core).  `--host unix://…` measures another engine's API: the peer is Docker's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from support.daemon import IMAGE, Daemon, _running, busybox_tar

QUIET = 10.0
"""Seconds over which an idle daemon is watched."""


class Connection:
    """One kept-alive connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._rest = b""

    def call(self, method: str, target: str, body: object = None, *, raw: bytes | None = None) -> bytes:
        """Status below 400, or an exception; the body."""
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        kind = "application/x-tar" if raw is not None else "application/json"
        fields = f"Host: x\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{fields}"
        self._socket.sendall(head.encode() + data)
        status, answer = self._answer()
        if status >= 400:
            raise RuntimeError(f"{method} {target}: {status} {answer.decode()}")
        return answer

    def _answer(self) -> tuple[int, bytes]:
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        status = int(head.split(b" ", 2)[1])
        if length:
            return status, self._take(int(length[1]))
        body = b""
        if re.search(rb"(?i)transfer-encoding: *chunked", head):
            while size := int(self._line(), 16):
                body += self._take(size)
                self._take(2)
            self._take(2)
        return status, body

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._more()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _more(self) -> None:
        piece = self._socket.recv(1 << 16)
        if not piece:
            raise RuntimeError("the daemon closed the connection")
        self._rest += piece

    def close(self) -> None:
        self._socket.close()


def life(
    connection: Connection, steps: dict[str, list[float]] | None = None, network: str = "bridge"
) -> float:
    """Milliseconds of one life; `steps` collects its parts."""
    began = last = time.perf_counter()

    def note(step: str) -> None:
        nonlocal last
        now = time.perf_counter()
        if steps is not None:
            steps.setdefault(step, []).append((now - last) * 1000)
        last = now

    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}
    made = json.loads(connection.call("POST", "/containers/create", body))["Id"]
    note("create")
    connection.call("POST", f"/containers/{made}/start")
    note("start")
    connection.call("POST", f"/containers/{made}/wait")
    note("wait")
    connection.call("DELETE", f"/containers/{made}")
    note("remove")
    return (time.perf_counter() - began) * 1000


def one_after_another(path: str, rounds: int, network: str) -> dict[str, Any]:
    connection = Connection(path)
    for _ in range(5):
        life(connection, network=network)
    steps: dict[str, list[float]] = {}
    times = [life(connection, steps, network) for _ in range(rounds)]
    connection.close()
    return {
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(sorted(times)[rounds * 95 // 100], 2),
        "steps_p50_ms": {step: round(statistics.median(values), 2) for step, values in steps.items()},
    }


def eight_clients(path: str, rounds: int) -> float:
    """Lives a second."""

    def work(_: int) -> None:
        connection = Connection(path)
        for _ in range(rounds):
            life(connection)
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    return round(8 * rounds / (time.perf_counter() - began), 1)


@contextmanager
def containers(connection: Connection, count: int, *command: str, start: bool) -> Iterator[list[str]]:
    body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "bridge" if start else "none"}}
    made = [json.loads(connection.call("POST", "/containers/create", body))["Id"] for _ in range(count)]
    try:
        if start:
            for one in made:
                connection.call("POST", f"/containers/{one}/start")
        yield made
    finally:
        for one in made:
            connection.call("DELETE", f"/containers/{one}?force=1")


def list_of(path: str, count: int) -> dict[str, float]:
    connection = Connection(path)
    with containers(connection, count, "true", start=False):
        times = []
        for _ in range(20):
            began = time.perf_counter()
            found = json.loads(connection.call("GET", "/containers/json?all=1"))
            times.append((time.perf_counter() - began) * 1000)
            assert len(found) == count
    connection.close()
    return {"p50_ms": round(statistics.median(times), 2)}


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """Voluntary context switches of all threads."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        match = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)
        total += int(match[1]) if match else 0
    return total


def pss(pid: int) -> float:
    match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return round(int(match[1]) / 1024, 1) if match else 0.0


def idle(pid: int) -> dict[str, float]:
    before = wakeups(pid)
    time.sleep(QUIET)
    return {"pss_mib": pss(pid), "wakeups_in_10_s": wakeups(pid) - before}


def streams_of_statistics(path: str, pid: int, made: list[str]) -> dict[str, float]:
    """Per cent of one core that the daemon spends while each container has a watcher."""
    watchers = []
    for one in made:
        watcher = socket.socket(socket.AF_UNIX)
        watcher.connect(path)
        watcher.sendall(f"GET /containers/{one}/stats HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        watchers.append(watcher)
    time.sleep(3)
    for watcher in watchers:
        watcher.setblocking(False)
    before, received = cpu_seconds([pid]), 0
    end = time.monotonic() + QUIET
    while time.monotonic() < end:
        time.sleep(0.5)
        for watcher in watchers:
            try:
                received += watcher.recv(1 << 20).count(b'"read"')
            except BlockingIOError:
                continue
    spent = cpu_seconds([pid]) - before
    for watcher in watchers:
        watcher.close()
    return {"core_percent": round(100 * spent / QUIET, 1), "samples": received}


def many_at_once(path: str, pid: int, count: int) -> dict[str, Any]:
    connection = Connection(path)
    began = time.perf_counter()
    with containers(connection, count, "sleep", "1000", start=True) as made:
        took = time.perf_counter() - began
        running = len(json.loads(connection.call("GET", "/containers/json")))
        result = {"running": running, "seconds_to_start": round(took, 1), "daemon_idle": idle(pid)}
        result["statistics_of_50"] = streams_of_statistics(path, pid, made[:50])
    connection.close()
    return result


def measure(path: str, pid: int, rounds: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "life_bridge": one_after_another(path, rounds, "bridge"),
        "life_none": one_after_another(path, rounds, "none"),
        "eight_clients_per_second": eight_clients(path, max(5, rounds // 4)),
        "list_of_500": list_of(path, 500),
    }
    if pid:
        result["idle"] = idle(pid)
        result["at_once"] = many_at_once(path, pid, 200)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="another engine's unix socket")
    parser.add_argument("--pid", type=int, default=0, help="its daemon's process")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    if options.host:
        path = options.host.removeprefix("unix://")
        repository, tag = IMAGE.split(":")
        connection = Connection(path)
        connection.call("POST", f"/images/create?fromSrc=-&repo={repository}&tag={tag}", raw=busybox_tar())
        connection.close()
        figures = measure(path, options.pid, options.rounds)
    else:
        own = _running()
        daemon: Daemon = next(own)
        assert daemon.process is not None
        figures = measure(daemon.socket, daemon.process.pid, options.rounds)
        next(own, None)
    about = {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count()}
    print(json.dumps({"question": "a container's life through the API", **about, **figures}, indent=2))


if __name__ == "__main__":
    main()
