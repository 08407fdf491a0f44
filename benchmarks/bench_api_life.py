"""How long does a container's whole life take over the API alone?  Prints JSON.

create + start + wait + remove of `true` in a busybox image, over kept-alive connections of a
plain socket client: one client's median, and how many a second eight clients get done.  Goals:
p50 of at most 30 ms with the bridge network, at least 60 a second with 8 clients on 2 cores.

    python benchmarks/bench_api_life.py [--rounds N] [--network bridge]

A daemon of its own, below a temporary directory; needs root and busybox-static.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("tests", "src")]


from support.daemon import IMAGE, Daemon  # noqa: E402 - needs the path above

STEPS = ("create", "start", "wait", "remove")
CLIENTS = 8


class Client:
    """One kept-alive connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._data = b""

    def call(self, method: str, target: str, body: bytes = b"") -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self._socket.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while b"\r\n\r\n" not in self._data:
            self._more()
        top, _, self._data = self._data.partition(b"\r\n\r\n")
        lower = top.lower()
        if b"transfer-encoding: chunked" in lower:
            return self._chunks()
        length = 0
        for line in lower.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        while len(self._data) < length:
            self._more()
        answer, self._data = self._data[:length], self._data[length:]
        if not top.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {target}: {top!r} {answer!r}")
        return answer

    def _chunks(self) -> bytes:
        found = b""
        while True:
            while b"\r\n" not in self._data:
                self._more()
            size, _, self._data = self._data.partition(b"\r\n")
            length = int(size, 16)
            while len(self._data) < length + 2:
                self._more()
            found += self._data[:length]
            self._data = self._data[length + 2 :]
            if not length:
                return found

    def _more(self) -> None:
        piece = self._socket.recv(1 << 16)
        if not piece:
            raise RuntimeError("the daemon hung up")
        self._data += piece


def life(client: Client, network: str) -> list[float]:
    """Milliseconds of each step."""
    body = json.dumps({"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}).encode()
    moments = [time.perf_counter()]
    container = json.loads(client.call("POST", "/containers/create", body))["Id"]
    moments.append(time.perf_counter())
    client.call("POST", f"/containers/{container}/start")
    moments.append(time.perf_counter())
    client.call("POST", f"/containers/{container}/wait")
    moments.append(time.perf_counter())
    client.call("DELETE", f"/containers/{container}")
    moments.append(time.perf_counter())
    return [(after - before) * 1000 for before, after in itertools.pairwise(moments)]


def alone(path: str, network: str, rounds: int) -> dict[str, float]:
    client = Client(path)
    for _ in range(5):
        life(client, network)
    found = [life(client, network) for _ in range(rounds)]
    totals = sorted(sum(steps) for steps in found)
    result = {
        "p50_ms": round(statistics.median(totals), 2),
        "p95_ms": round(totals[len(totals) * 95 // 100], 2),
    }
    for number, name in enumerate(STEPS):
        result[f"{name}_p50_ms"] = round(statistics.median(steps[number] for steps in found), 2)
    return result


def together(path: str, network: str, rounds: int) -> float:
    """Lives a second with CLIENTS clients."""
    each = max(1, rounds // CLIENTS)

    def work() -> None:
        client = Client(path)
        for _ in range(each):
            life(client, network)

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(each * CLIENTS / (time.perf_counter() - began), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--network", action="append")
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="carboy-life-")
    run = tempfile.mkdtemp(prefix="carboy-life-", dir="/run")  # in memory, as a daemon's is
    os.symlink(run, f"{home}/run")
    daemon = Daemon(home)
    try:
        daemon.start()
        daemon.make_image()
        result: dict[str, object] = {
            "question": "a container's life over the API",
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
        }
        for network in options.network or ["bridge", "none"]:
            result[network] = {
                "one_client": alone(daemon.socket, network, options.rounds),
                "eight_clients_per_s": together(daemon.socket, network, options.rounds * 2),
            }
        print(json.dumps(result, indent=2))
        daemon.close()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.close()
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
