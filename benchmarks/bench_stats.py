"""What do figures cost: the daemon's processor time while 50 containers are watched, and when nobody watches?

    benchmarks/bench_stats.py [--count 50] [--seconds 10] [--network bridge]

A private daemon runs `sleep` in containers of busybox; a client reads one stream of
`GET /containers/ID/stats` for each.  Processor time of the daemon (all threads) by /proc/PID/stat,
as a share of one core; wake-ups by voluntary context switches.  Limit: 5 % with 50 containers, and
no wake-ups when nobody watches.  Peer: dockerd, one goroutine per container.  Root; prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("src", "tests")]

from support.daemon import Daemon  # noqa: E402 - after the path is set


def used(pid: int) -> float:
    """Seconds of processor time, all threads, by the scheduler's own count."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def switches(pid: int) -> int:
    """How often threads have gone to sleep: each time they were woken before."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        for line in Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def watch(daemon: Daemon, containers: list[str]) -> list[socket.socket]:
    """One stream for each container."""
    streams = []
    for container in containers:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(daemon.socket)
        stream.sendall(f"GET /containers/{container}/stats HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        streams.append(stream)
    return streams


def drain(streams: list[socket.socket], seconds: float) -> int:
    """Read everything for so long; gives the number of frames."""
    poll = select.poll()
    by_number = {stream.fileno(): stream for stream in streams}
    for number in by_number:
        poll.register(number, select.POLLIN)
    frames, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            frames += by_number[number].recv(1 << 20).count(b'"preread"')
    return frames


def measure(daemon: Daemon, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    assert daemon.process is not None
    pid = daemon.process.pid
    containers = []
    for _ in range(arguments.count):
        container = daemon.create("sleep", "1000", host={"NetworkMode": arguments.network})
        daemon.post(f"/containers/{container}/start")
        containers.append(container)
    time.sleep(3)
    before, slept = used(pid), switches(pid)
    time.sleep(arguments.seconds)
    idle, wakes = used(pid) - before, switches(pid) - slept
    streams = watch(daemon, containers)
    drain(streams, 3)
    before = used(pid)
    frames = drain(streams, arguments.seconds)
    watched = used(pid) - before
    for stream in streams:
        stream.close()
    time.sleep(2)
    slept = switches(pid)
    time.sleep(arguments.seconds)
    after = switches(pid) - slept
    daemon.remove_all()
    return {
        "containers": arguments.count,
        "frames_per_second": round(frames / arguments.seconds, 1),
        "core_percent": round(watched / arguments.seconds * 100, 2),
        "microseconds_per_frame": round(watched / max(frames, 1) * 1e6),
        "idle_core_percent": round(idle / arguments.seconds * 100, 3),
        "idle_wakeups_per_second": round(wakes / arguments.seconds, 2),
        "wakeups_per_second_afterwards": round(after / arguments.seconds, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--network", default="bridge")
    arguments = parser.parse_args()
    home = tempfile.mkdtemp(prefix="carboy-bench-")
    daemon = Daemon(home)
    try:
        daemon.start()
        daemon.make_image()
        found = measure(daemon, arguments)
    finally:
        daemon.close()
        shutil.rmtree(home, ignore_errors=True)
    found["machine"] = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
