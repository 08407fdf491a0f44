"""What does a container's network cost? Connect and tear down, in milliseconds, as JSON.

    python benchmarks/bench_network.py [count]          (as root)

Everything happens in namespaces of the benchmark's own.  Peer: none is run here; the design's
figure for pyroute2 (a veth pair into a namespace and onto a bridge) is 4 ms, plus 230 ms to import.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable

from carboy.linux import namespaces

DEFAULT_COUNT = 100


def new_namespace() -> int:
    """A network namespace's descriptor, made by a thread that ends."""
    found: list[int] = []

    def make() -> None:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return found[0]


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that the work takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def summary(samples: list[float]) -> dict[str, float]:
    """Median and extremes, rounded."""
    return {
        "median_ms": round(statistics.median(samples), 3),
        "min_ms": round(min(samples), 3),
        "max_ms": round(max(samples), 3),
    }


def measure(count: int) -> dict[str, object]:
    """All figures; runs in a thread that is in a namespace of its own."""
    namespaces.unshare(namespaces.CLONE_NEWNET)
    start = time.perf_counter()
    from carboy.network.bridge import BridgeNetwork, Endpoint  # the import is one of the figures

    imported = (time.perf_counter() - start) * 1000
    # A fixed MTU: without an uplink, every connection would look for one again.
    network = BridgeNetwork("bench0", mtu=1400)
    first = timed(network.ensure)
    again = [timed(network.ensure) for _ in range(20)]
    containers = [new_namespace() for _ in range(count)]
    endpoints: list[Endpoint] = []
    try:
        connect = [
            timed(lambda fd=fd: endpoints.append(network.connect(fd, container_id="bench")))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            for fd in containers
        ]
        half = count // 2
        disconnect = [timed(lambda e=e: network.disconnect(e)) for e in endpoints[:half]]  # type: ignore[misc] # as above
        gone = [timed(lambda e=e: network.disconnect(e, namespace_gone=True)) for e in endpoints[half:]]  # type: ignore[misc] # as above
    finally:
        for fd in containers:
            os.close(fd)
        network.remove()
        network.close()
    return {
        "import_ms": round(imported, 1),
        "ensure_first_ms": round(first, 3),
        "ensure_again": summary(again),
        "connect": summary(connect),
        "disconnect_while_running": summary(disconnect),
        "disconnect_namespace_gone": summary(gone),
    }


def main() -> None:
    """Print the result."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_COUNT
    results: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: results.append(measure(count)))
    thread.start()
    thread.join()
    if not results:
        sys.exit(1)
    machine = {"kernel": platform.release(), "python": platform.python_version(), "cpus": os.cpu_count()}
    print(json.dumps({"question": "network", "count": count, "machine": machine, **results[0]}, indent=2))


if __name__ == "__main__":
    main()
