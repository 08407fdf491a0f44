"""What does one request of the API cost, without the engine?  Prints JSON.

The server (with the engine in memory of the tests) runs in a process of its own; the client
is a plain socket that sends prepared bytes, so that the figures are the server's and the
kernel's.  Peer: none; the budget is 0.5 ms for a request.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 1000
TESTS = Path(__file__).parents[1] / "tests"
SOURCE = Path(__file__).parents[1] / "src"

SERVER = """
import sys, time
began = time.perf_counter()
from carboy.api.server import serve
from carboy.api.listeners import listen
loaded = time.perf_counter() - began
from support.fake_backend import FakeBackend
def ready(stop):
    print(loaded, flush=True)
serve([listen("unix://" + sys.argv[1])], FakeBackend().backends, on_ready=ready)
"""


def request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    return (head + "Content-Type: application/json\r\n\r\n").encode() + body


def answer(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line[15:]):
                body += connection.recv(65536)
    return body


def measure(path: str, data: bytes) -> dict[str, float]:
    """Milliseconds of a request on an open connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            connection.sendall(data)
            answer(connection)
            times.append((time.perf_counter() - began) * 1000)
    return {
        "p50_ms": round(statistics.median(times), 3),
        "p95_ms": round(sorted(times)[ROUNDS * 95 // 100], 3),
    }


def hijack(path: str) -> float:
    """Milliseconds of connect, attach and the first echoed byte."""
    times = []
    for _ in range(200):
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(request("POST", "/containers/a/attach?stream=1") + b"x")
            data = b""
            while not data.endswith(b"X"):
                data += connection.recv(4096)
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 3)


def download(path: str, target: str) -> float:
    """Mbytes a second of a streamed reply of 4 MiB."""
    began = time.perf_counter()
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(request("GET", target).replace(b"Host", b"Connection: close\r\nHost"))
            while connection.recv(1 << 20):
                pass
    return round(10 * 4.19 / (time.perf_counter() - began), 1)


def main() -> None:
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "bench.sock")
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{TESTS}"}
    command = [sys.executable, "-c", SERVER, path]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    loaded = float(server.stdout.readline())
    try:
        create = json.dumps(
            {"Image": "busybox", "Cmd": ["true"], "Tty": True, "HostConfig": {"AutoRemove": True}}
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(request("POST", "/containers/create?name=a", create.encode()))
            answer(connection)
        result = {
            "question": "cost of a request without the engine",
            "import_ms": round(loaded * 1000, 1),
            "ping": measure(path, request("GET", "/_ping")),
            "inspect": measure(path, request("GET", "/v1.51/containers/a/json")),
            "create_refused": measure(
                path, request("POST", "/v1.51/containers/create?name=a", create.encode())
            ),
            "resize": measure(path, request("POST", "/v1.51/containers/a/unpause")),
            "hijack_ms": hijack(path),
            "save_mb_per_s": download(path, "/images/busybox/get"),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
        }
        print(json.dumps(result, indent=2))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        os.rmdir(folder)


if __name__ == "__main__":
    main()
