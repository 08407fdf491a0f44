"""What the configuration of a container depends on besides the request: facts of this host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from carboy.engine.spec.cdi import DIRECTORIES
from carboy.engine.spec.controllers import Controllers, read_controllers
from carboy.linux import capabilities


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One reading of the host; made once by the daemon, given by tests."""

    cpus: int
    cpu_set: frozenset[int]
    mem_set: frozenset[int]
    kernel: tuple[int, int]
    machine: str
    capabilities: frozenset[str]
    seccomp_profile: bytes = b"{}"
    cgroup_parent: str = "/carboy"
    has_ipv6: bool = True
    has_time_namespace: bool = True
    thermal_throttle: tuple[str, ...] = field(default=())
    sysctls_root: str = "/proc/sys"
    controllers: Controllers = field(default_factory=Controllers)
    has_apparmor: bool = False
    has_selinux: bool = False
    cdi_directories: tuple[str, ...] = ()


def read_facts(
    *, seccomp_profile: bytes, cgroup_parent: str, cdi_directories: Sequence[str] = DIRECTORIES
) -> HostFacts:
    """Look at this machine."""
    release = os.uname().release.split("-", 1)[0].split(".")
    return HostFacts(
        cpus=os.cpu_count() or 1,
        cpu_set=_online("/sys/devices/system/cpu/online"),
        mem_set=_online("/sys/devices/system/node/online"),
        kernel=(int(release[0]), int(release[1])),
        machine=os.uname().machine,
        capabilities=_bounding_set(),
        seccomp_profile=seccomp_profile,
        cgroup_parent=cgroup_parent,
        has_ipv6=os.path.isdir("/proc/sys/net/ipv6"),
        controllers=read_controllers(),
        has_time_namespace=os.path.exists("/proc/self/ns/time"),
        has_apparmor=_switched_on("/sys/module/apparmor/parameters/enabled"),
        has_selinux=os.path.isdir("/sys/fs/selinux"),
        cdi_directories=tuple(cdi_directories),
        thermal_throttle=tuple(
            path
            for path in (
                f"/sys/devices/system/cpu/cpu{number}/thermal_throttle"
                for number in range(os.cpu_count() or 1)
            )
            if os.path.isdir(path)
        ),
    )


def _switched_on(path: str) -> bool:
    try:
        with open(path) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def _online(path: str) -> frozenset[int]:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return frozenset({0})
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return frozenset(numbers)


def _bounding_set() -> frozenset[str]:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                bits = int(line.split()[1], 16)
                return frozenset(
                    name for name, number in capabilities.NUMBERS.items() if bits & (1 << number)
                )
    return frozenset()
