"""Which limits this machine's control groups can hold: what `create` warns about and leaves out.

Files are looked for in a group below the root, because the root has no limits of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_V1_FILES = {
    "memory": ("memory", ("memory.limit_in_bytes",)),
    "swap": ("memory", ("memory.memsw.limit_in_bytes",)),
    "swappiness": ("memory", ("memory.swappiness",)),
    "reservation": ("memory", ("memory.soft_limit_in_bytes",)),
    "oom_kill_disable": ("memory", ("memory.oom_control",)),
    "cpu_shares": ("cpu", ("cpu.shares",)),
    "cpu_quota": ("cpu", ("cpu.cfs_quota_us",)),
    "cpu_realtime": ("cpu", ("cpu.rt_runtime_us",)),
    "cpuset": ("cpuset", ("cpuset.cpus",)),
    "pids": ("pids", ("cgroup.procs",)),
    "blkio_weight": ("blkio", ("blkio.weight", "blkio.bfq.weight")),
    "blkio_weight_device": ("blkio", ("blkio.weight_device", "blkio.bfq.weight_device")),
    "blkio_throttle": ("blkio", ("blkio.throttle.read_bps_device",)),
}
_V2_CONTROLLERS = {
    "memory": "memory",
    "swap": "memory",
    "reservation": "memory",
    "cpu_shares": "cpu",
    "cpu_quota": "cpu",
    "cpuset": "cpuset",
    "pids": "pids",
    "blkio_weight": "io",
    "blkio_weight_device": "io",
    "blkio_throttle": "io",
}


@dataclass(frozen=True, slots=True)
class Controllers:
    """What can be limited; everything, unless it is known better."""

    memory: bool = True
    swap: bool = True
    swappiness: bool = True
    reservation: bool = True
    oom_kill_disable: bool = True
    cpu_shares: bool = True
    cpu_quota: bool = True
    cpu_realtime: bool = True
    cpuset: bool = True
    pids: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    blkio_throttle: bool = True
    weights_need_bfq: bool = False
    """Whether only the scheduler BFQ knows of weights: others refuse them for their devices."""


def read_controllers(mountinfo: str = "/proc/self/mountinfo") -> Controllers:
    """Look at this machine."""
    with open(mountinfo) as file:
        v1, v2 = parse_mounts(file.read())
    unified: frozenset[str] = frozenset()
    if v2:
        try:
            with open(f"{v2}/cgroup.controllers") as file:
                unified = frozenset(file.read().split())
        except OSError:
            unified = frozenset()
    found = {
        name: _has(v1.get(controller, ""), files) or _V2_CONTROLLERS.get(name, "none") in unified
        for name, (controller, files) in _V1_FILES.items()
    }
    weights_need_bfq = "blkio" in v1 and not _has(v1["blkio"], ("blkio.weight_device",))
    return Controllers(**found, weights_need_bfq=weights_need_bfq)


def parse_mounts(text: str) -> tuple[dict[str, str], str]:
    """Of mountinfo: the mount points of v1 by controller, and v2's or ""."""
    v1: dict[str, str] = {}
    v2 = ""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        place, tail = left.split(" "), right.split(" ")
        if len(place) < 5 or len(tail) < 3:
            continue
        if tail[0] == "cgroup2":
            v2 = v2 or place[4]
        elif tail[0] == "cgroup":
            for controller in tail[2].split(","):
                v1.setdefault(controller, place[4])
    return v1, v2


def _has(directory: str, files: tuple[str, ...]) -> bool:
    if not directory:
        return False
    if any(os.path.exists(f"{directory}/{file}") for file in files):
        return True
    try:
        with os.scandir(directory) as entries:
            below = next((entry.path for entry in entries if entry.is_dir(follow_symlinks=False)), "")
    except OSError:
        return False
    # Without any group there is nothing to look at: the kernel says at the start what it cannot do.
    return not below or any(os.path.exists(f"{below}/{file}") for file in files)
