"""How fast does a monitor take a program's output into its log, and what does an idle one weigh?

Peer: the figures of docs/performance.md. A plain program stands in for the container: only the
monitor's own work is measured. Prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("src", "tests")]

from support.monitor import Monitors, PlainContainer  # noqa: E402 - after the path is set

LINES = 64 * 8192
SCRIPT = f"yes {'x' * 127} | head -n {LINES}"


def pss(pid: int) -> float:
    """MiB of proportional memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(directory: Path) -> dict[str, float]:
    """One run: seconds from start to exit, and the memory of the waiting monitor."""
    client, pid = Monitors(directory).fork(PlainContainer(["/bin/sh", "-c", SCRIPT]))
    client.event("created")
    memory = pss(pid)
    begin = time.perf_counter()
    client.request("start")
    client.event("exited")
    seconds = time.perf_counter() - begin
    os.waitpid(pid, 0)
    client.socket.close()
    return {"seconds": seconds, "megabytes_per_second": LINES * 128 / 1e6 / seconds, "pss_mib": memory}


def main() -> None:
    """Three runs, the best one."""
    runs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as directory:
            runs.append(measure(Path(directory)))
    best = min(runs, key=lambda run: run["seconds"])
    print(json.dumps({"question": "monitor", "python": platform.python_version(), **best}))


if __name__ == "__main__":
    main()
