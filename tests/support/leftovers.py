"""What a daemon that was reset has left on the machine: nothing, it is hoped."""

from __future__ import annotations

import os
import time
from pathlib import Path

from carboy.store.paths import Paths

SETTLE = 20.0
"""Seconds: a monitor's last act and the kernel's come a little later on a busy machine."""


def leftovers(home: str, root: str) -> list[str]:
    """Everything of the daemon with this root, below `home`, that stays there."""
    end = time.monotonic() + SETTLE
    while (found := _found(home, root)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _found(home: str, root: str) -> list[str]:
    paths = Paths(root, f"{home}/run")
    return [
        *control_groups(paths.cgroup_parent),
        *mounts(home),
        *(f"link cb{paths.suffix}" for name in os.listdir("/sys/class/net") if name == f"cb{paths.suffix}"),
        *processes(home),
    ]


def control_groups(path: str) -> list[str]:
    """The groups called `path`, in every hierarchy."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            directory = left.split()[4] + path
            if os.path.isdir(directory):
                found += [f"control group {one}" for one, _, _ in os.walk(directory)]
    return found


def mounts(home: str) -> list[str]:
    """Mounts below `home` that the host sees."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line}" for line in lines if f" {home}/" in line or f"={home}/" in line]


def processes(home: str) -> list[str]:
    """Processes, ourselves left out, with something below `home` open or in their arguments."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            arguments = Path(f"/proc/{name}/cmdline").read_bytes()
            links = [os.readlink(f"/proc/{name}/fd/{number}") for number in os.listdir(f"/proc/{name}/fd")]
        except OSError:
            continue
        if f"{home}/".encode() in arguments or any(link.startswith(f"{home}/") for link in links):
            found.append(f"process {name} {arguments!r}")
    return found


def mounts_of_the_machine() -> set[str]:
    """Every mount point, but those that a Docker daemon beside the tests comes and goes with."""
    points = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {point for point in points if "/overlay2/" not in point and "docker" not in point}
