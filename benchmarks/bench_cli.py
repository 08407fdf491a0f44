"""How long does the command line take: to its first byte sent, and whole against a daemon?

    bench_cli.py                     start-up, `ps` against a stand-in server with 100 containers
    bench_cli.py --exec CONTAINER    also `exec CONTAINER true` on the daemon of CARBOY_HOST

Peers in the same run: the bare interpreter, and `docker exec` when there is one.
Prints JSON; times are medians in milliseconds over interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from socket import AF_UNIX, socket

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
CARBOY = [PYTHON, str(ROOT / "bin" / "carboy")]


class Stand:
    """Answers every request with 100 containers, and notes when the first byte came."""

    def __init__(self, path: str) -> None:
        self.arrived = 0.0
        item = {
            "Id": "b" * 64, "Names": ["/web"], "Image": "debian", "Command": "sleep 1000", "Created": 1,
            "State": "running", "Status": "Up 7 minutes", "Ports": [], "Labels": {}, "Mounts": [],
        }  # fmt: skip
        body = json.dumps([item] * 100).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.reply = head.encode() + body
        self.listener = socket(AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            with connection:
                try:
                    while connection.recv(65536):
                        self.arrived = self.arrived or time.perf_counter()
                        connection.sendall(self.reply)
                except OSError:
                    pass


def once(argv: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=quiet)
    os.waitpid(pid, 0)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--exec", default="")
    options = parser.parse_args()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    home = tempfile.mkdtemp()
    stand = Stand(home + "/s")
    here = {**environment, "CARBOY_HOST": f"unix://{home}/s", "DOCKER_HOST": f"unix://{home}/s"}
    cases: dict[str, tuple[list[str], dict[str, str]]] = {
        "bare interpreter": ([PYTHON, "-c", "pass"], here),
        "carboy --version": ([*CARBOY, "--version"], here),
        "carboy ps -a, 100 containers": ([*CARBOY, "ps", "-a"], here),
    }
    docker = shutil.which("docker", path="/usr/bin")
    if options.exec:
        cases["carboy exec"] = ([*CARBOY, "exec", options.exec, "true"], environment)
        if docker:
            url = environment.get("CARBOY_HOST") or environment.get("DOCKER_HOST", "")
            cases["docker exec"] = ([docker, "-H", url, "exec", options.exec, "true"], environment)
    times: dict[str, list[float]] = {name: [] for name in cases}
    first: list[float] = []
    for _ in range(options.rounds):
        for name, (argv, variables) in cases.items():
            stand.arrived = 0.0
            start = time.perf_counter()
            times[name].append(once(argv, variables))
            if name.startswith("carboy ps"):
                first.append(stand.arrived - start)
    results = {name: round(statistics.median(values) * 1000, 2) for name, values in times.items()}
    results["carboy: first byte sent"] = round(statistics.median(first) * 1000, 2)
    shutil.rmtree(home)
    machine = {"python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count()}
    print(
        json.dumps(
            {"question": "command line", "unit": "ms", "machine": machine, "results": results}, indent=1
        )
    )


if __name__ == "__main__":
    main()
