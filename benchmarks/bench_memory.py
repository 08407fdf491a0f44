"""How much memory does an idle container cost: its monitor, its program, and the daemon behind them?

    benchmarks/bench_memory.py [--count 10] [--exec]

A private daemon runs `sleep` in containers of busybox; smaps of all processes are read when
everything is still.  PSS divides shared pages by who shares them, so that the sum over monitors
is what they cost together.  --exec runs one exec in each container first.  Peer: the same
figures of containerd's shim (docs/performance.md).  Root; prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("src", "tests")]

from support.daemon import Daemon  # noqa: E402 - after the path is set

FIELDS = ("Pss", "Private_Dirty", "Rss")


def weight(pid: int) -> dict[str, float]:
    """MiB of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        if name in FIELDS:
            found[name.lower()] = int(value.split()[0]) / 1024
    return found


def mean(pids: list[int]) -> dict[str, float]:
    """The mean weight."""
    weights = [weight(pid) for pid in pids]
    return {key: round(sum(one[key] for one in weights) / len(weights), 3) for key in weights[0]}


def mappings(pid: int) -> dict[str, int]:
    """KiB of private dirty memory by mapping, the largest first."""
    sizes: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            name = f"{os.path.basename(fields[5]) if len(fields) > 5 else 'anonymous'} {fields[1]}"
        elif fields[0] == "Private_Dirty:" and fields[1] != "0":
            sizes[name] = sizes.get(name, 0) + int(fields[1])
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def total(pids: list[int]) -> float:
    """MiB of PSS."""
    return sum(weight(pid)["pss"] for pid in pids)


def children(pid: int) -> list[int]:
    """The direct children."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start(daemon: Daemon, count: int, with_exec: bool) -> tuple[list[int], list[int]]:
    """(monitors, programs) of `count` idle containers."""
    monitors, programs = [], []
    for number in range(count):
        container = daemon.create("sleep", "3600", name=f"idle{number}", host={"NetworkMode": "none"})
        daemon.post(f"/containers/{container}/start")
        if with_exec:
            execution = daemon.post(f"/containers/{container}/exec", {"Cmd": ["true"]})["Id"]
            daemon.request("POST", f"/exec/{execution}/start", {"Detach": True})
        program = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
        programs.append(program)
        status = Path(f"/proc/{program}/status").read_text()
        monitors.append(int(status.partition("PPid:")[2].split()[0]))
    return monitors, programs


def measure(daemon: Daemon, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, in MiB."""
    assert daemon.process is not None
    own = daemon.process.pid
    container = daemon.create("true", name="warm", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    spawner = children(own)[0]
    time.sleep(1)
    before = {"daemon": weight(own), "spawner": weight(spawner)}
    base = total([own, spawner])
    monitors, programs = start(daemon, arguments.count, arguments.exec)
    time.sleep(1.5)  # timers of the monitors
    after = total([own, spawner, *monitors, *programs])
    return {
        "monitor": mean(monitors),
        "monitor_private_dirty_kib": mappings(monitors[-1]),
        "program": mean(programs),
        "daemon": weight(own),
        "spawner": weight(spawner),
        "before": before,
        "growth_per_container": round((after - base) / arguments.count, 3),
    }


def main() -> None:
    """One daemon, `--count` containers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--exec", action="store_true", help="one exec in each container first")
    arguments = parser.parse_args()
    home = tempfile.mkdtemp(prefix="carboy-bench-")
    daemon = Daemon(home)
    try:
        daemon.start()
        daemon.make_image()
        found = measure(daemon, arguments)
        print(json.dumps({"question": "memory", "python": platform.python_version(), **found}, indent=1))
    finally:
        try:
            daemon.close()
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
