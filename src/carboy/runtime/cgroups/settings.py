"""OCI `linux.resources` to the files and values of each controller: pure, both versions.

A group of settings is tried in order and, if the kernel refuses (the two depend on each
other: limit and swap, quota and period), in the reverse order.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    VersionOf = Callable[[str], "int | None"]


class Setting:
    """One value for the first existing one of `files`.

    controller: in v1's words.  what: the OCI name, for messages.  optional: a kernel without
    the file may ignore it (the OCI specification deprecates the field).  instead: a file that
    another setting is for; where it is, this one is optional.
    """

    __slots__ = ("controller", "files", "instead", "optional", "value", "what")

    def __init__(
        self,
        controller: str,
        files: str | tuple[str, ...],
        value: str,
        what: str,
        *,
        optional: bool = False,
        instead: str = "",
    ) -> None:
        self.controller = controller
        self.files = (files,) if isinstance(files, str) else files
        self.value = value
        self.what = what
        self.optional = optional
        self.instead = instead

    def __repr__(self) -> str:
        return f"Setting({self.controller}: {'|'.join(self.files)} = {self.value})"


def plan(resources: dict[str, Any], version_of: VersionOf) -> list[list[Setting]]:
    """Everything to be written for `resources`; devices are apart (`devices.py`).

    `version_of` tells which version serves a controller, None for nobody: v1's file names are
    then used, and the executor reports the missing controller.
    """
    groups: list[list[Setting]] = []
    for section, name, controller in SECTIONS:
        part = resources.get(name)
        if part:
            groups += section(part, version_of(controller) or 1)
    unified = resources.get("unified") or {}
    for file, value in unified.items():
        if "/" in file or file.startswith(("cgroup.", ".")) or "." not in file:
            raise InvalidArgument(f"resources.unified: {file!r} is not a control group file of a controller")
        groups.append([Setting("unified", file, str(value), f"unified[{file}]")])
    return groups


def _memory(memory: dict[str, Any], version: int) -> list[list[Setting]]:
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit is not None and limit > 0 and swap is not None and 0 < swap < limit:
        raise InvalidArgument(
            f"memory.swap ({swap}) counts memory too: it cannot be below memory.limit ({limit})"
        )
    return _memory_v2(memory) if version == 2 else _memory_v1(memory)


def _memory_v1(memory: dict[str, Any]) -> list[list[Setting]]:
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit == -1 and swap is None:
        swap = -1
    pair = []
    if limit:
        pair.append(Setting("memory", "memory.limit_in_bytes", str(limit), "memory.limit"))
    if swap:
        # Without swap accounting in the kernel there is no file, and no swap for containers either.
        pair.append(
            Setting("memory", "memory.memsw.limit_in_bytes", str(swap), "memory.swap", optional=swap == -1)
        )
    groups = [pair] if pair else []
    for key, file in (
        ("reservation", "memory.soft_limit_in_bytes"),
        ("kernel", "memory.kmem.limit_in_bytes"),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
    ):
        if memory.get(key):
            optional = key == "kernel"
            groups.append([Setting("memory", file, str(memory[key]), f"memory.{key}", optional=optional)])
    swappiness = memory.get("swappiness")
    if swappiness is not None:
        if not 0 <= swappiness <= 100:
            raise InvalidArgument(f"memory.swappiness is {swappiness}: it must be between 0 and 100")
        groups.append([Setting("memory", "memory.swappiness", str(swappiness), "memory.swappiness")])
    disable = memory.get("disableOOMKiller")
    if disable is not None:
        value = "1" if disable else "0"
        groups.append([Setting("memory", "memory.oom_control", value, "memory.disableOOMKiller")])
    return groups


def _memory_v2(memory: dict[str, Any]) -> list[list[Setting]]:
    limit, swap = memory.get("limit"), memory.get("swap")
    group = []
    if swap:
        group.append(
            Setting("memory", "memory.swap.max", swap_max(limit, swap), "memory.swap", optional=True)
        )
    elif limit == -1:
        group.append(Setting("memory", "memory.swap.max", "max", "memory.swap", optional=True))
    if limit:
        group.append(Setting("memory", "memory.max", _maximum(limit), "memory.limit"))
    groups = [group] if group else []
    if memory.get("reservation"):
        groups.append(
            [Setting("memory", "memory.low", _maximum(memory["reservation"]), "memory.reservation")]
        )
    return groups


def swap_max(limit: int | None, swap: int) -> str:
    """v1's limit on memory and swap together, as v2's limit on swap alone."""
    if swap == -1:
        return "max"
    if not limit or limit == -1:
        raise InvalidArgument(f"memory.swap is {swap}, but without memory.limit it has no meaning")
    return str(swap - limit)


def _cpu(cpu: dict[str, Any], version: int) -> list[list[Setting]]:
    groups = _cpu_v2(cpu) if version == 2 else _cpu_v1(cpu)
    if cpu.get("idle") is not None:
        groups.append([Setting("cpu", "cpu.idle", str(cpu["idle"]), "cpu.idle")])
    cpuset = []
    for key in ("cpus", "mems"):
        if cpu.get(key):
            cpuset.append(Setting("cpuset", f"cpuset.{key}", str(cpu[key]), f"cpu.{key}"))
    return groups + [[one] for one in cpuset]


def _cpu_v1(cpu: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    if cpu.get("shares"):
        groups.append([Setting("cpu", "cpu.shares", str(cpu["shares"]), "cpu.shares")])
    for keys in (("period", "quota"), ("realtimePeriod", "realtimeRuntime"), ("burst",)):
        group = [
            Setting("cpu", V1_CPU_FILES[key], str(cpu[key]), f"cpu.{key}")
            for key in keys
            if cpu.get(key) or (cpu.get(key) == 0 and key == "burst")
        ]
        if group:
            groups.append(group)
    return groups


V1_CPU_FILES = {
    "period": "cpu.cfs_period_us",
    "quota": "cpu.cfs_quota_us",
    "burst": "cpu.cfs_burst_us",
    "realtimePeriod": "cpu.rt_period_us",
    "realtimeRuntime": "cpu.rt_runtime_us",
}


def _cpu_v2(cpu: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    if cpu.get("shares"):
        groups.append([Setting("cpu", "cpu.weight", str(weight_of_shares(cpu["shares"])), "cpu.shares")])
    quota, period = cpu.get("quota"), cpu.get("period")
    burst = cpu.get("burst")
    group = []
    if quota or period:
        value = (str(quota) if quota and quota > 0 else "max") + (f" {period}" if period else "")
        group.append(Setting("cpu", "cpu.max", value, "cpu.quota"))
    if burst is not None:
        group.append(Setting("cpu", "cpu.max.burst", str(burst), "cpu.burst"))
    if group:
        groups.append(group)
    return groups


def weight_of_shares(shares: int) -> int:
    """v2's cpu.weight for v1's cpu.shares: 2, 1024 and 262144 become 1, 100 and 10000.

    The curve through these three points, as current runc and crun use it: the straight line
    that they used before gave the default of 1024 shares a weight of 39 where 100 is neutral.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2  # an extension module that only this line needs

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def _pids(pids: dict[str, Any], version: int) -> list[list[Setting]]:
    del version  # the same file in both
    limit = pids.get("limit")
    if limit is None or limit == 0:
        return []
    return [[Setting("pids", "pids.max", _maximum(limit), "pids.limit")]]


def _maximum(value: int) -> str:
    return "max" if value < 0 else str(value)


def _block_io(block: dict[str, Any], version: int) -> list[list[Setting]]:
    return _block_io_v2(block) if version == 2 else _block_io_v1(block)


THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def _block_io_v1(block: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    # The weight files come with the scheduler that serves them: CFQ once, BFQ now.
    if block.get("weight"):
        files: tuple[str, ...] = ("blkio.weight", "blkio.bfq.weight")
        groups.append([Setting("blkio", files, str(block["weight"]), "blockIO.weight")])
    if block.get("leafWeight"):
        groups.append([Setting("blkio", "blkio.leaf_weight", str(block["leafWeight"]), "blockIO.leafWeight")])
    for device in block.get("weightDevice") or []:
        name = f"{device['major']}:{device['minor']}"
        if device.get("weight"):
            files = ("blkio.weight_device", "blkio.bfq.weight_device")
            groups.append([Setting("blkio", files, f"{name} {device['weight']}", "blockIO.weightDevice")])
        if device.get("leafWeight"):
            value = f"{name} {device['leafWeight']}"
            groups.append([Setting("blkio", "blkio.leaf_weight_device", value, "blockIO.weightDevice")])
    for key, file, _ in THROTTLES:
        for device in block.get(key) or []:
            value = f"{device['major']}:{device['minor']} {device['rate']}"
            groups.append([Setting("blkio", file, value, f"blockIO.{key}")])
    return groups


def _block_io_v2(block: dict[str, Any]) -> list[list[Setting]]:
    groups = []
    if block.get("weight"):
        groups += _io_weight("default", block["weight"])
    for device in block.get("weightDevice") or []:
        if device.get("weight"):
            groups += _io_weight(f"{device['major']}:{device['minor']}", device["weight"])
    for key, _, word in THROTTLES:
        for device in block.get(key) or []:
            value = f"{device['major']}:{device['minor']} {word}={device['rate'] or 'max'}"
            groups.append([Setting("blkio", "io.max", value, f"blockIO.{key}")])
    return groups


def _io_weight(target: str, weight: int) -> list[list[Setting]]:
    # BFQ keeps v1's range; io.weight goes from 1 to 10000.
    bfq, what = "io.bfq.weight", "blockIO.weight"
    scaled = 1 + (weight - 10) * 9999 // 990
    return [
        [Setting("blkio", bfq, f"{target} {weight}", what, optional=True)],
        [Setting("blkio", "io.weight", f"{target} {scaled}", what, instead=bfq)],
    ]


def _hugepages(limits: list[dict[str, Any]], version: int) -> list[list[Setting]]:
    groups = []
    for limit in limits:
        size = str(limit["pageSize"])
        if not size.isalnum():
            raise InvalidArgument(f"hugepageLimits: bad page size {size!r}: use e.g. 2MB")
        word = "limit_in_bytes" if version == 1 else "max"
        group = [Setting("hugetlb", f"hugetlb.{size}.{word}", str(limit["limit"]), "hugepageLimits")]
        file = f"hugetlb.{size}.rsvd.{word}"
        group.append(Setting("hugetlb", file, str(limit["limit"]), "hugepageLimits", optional=True))
        groups.append(group)
    return groups


def _network(network: dict[str, Any], version: int) -> list[list[Setting]]:
    del version  # v2 has no such controllers
    groups = []
    if network.get("classID") is not None:
        groups.append([Setting("net_cls", "net_cls.classid", str(network["classID"]), "network.classID")])
    for priority in network.get("priorities") or []:
        value = f"{priority['name']} {priority['priority']}"
        groups.append([Setting("net_prio", "net_prio.ifpriomap", value, "network.priorities")])
    return groups


def _rdma(devices: dict[str, Any], version: int) -> list[list[Setting]]:
    del version
    groups = []
    for device, limits in devices.items():
        words = [
            f"{word}={limits[key]}"
            for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if limits.get(key) is not None
        ]
        if words:
            groups.append([Setting("rdma", "rdma.max", f"{device} {' '.join(words)}", f"rdma[{device}]")])
    return groups


SECTIONS: tuple[tuple[Callable[[Any, int], list[list[Setting]]], str, str], ...] = (
    (_memory, "memory", "memory"),
    (_cpu, "cpu", "cpu"),
    (_pids, "pids", "pids"),
    (_block_io, "blockIO", "blkio"),
    (_hugepages, "hugepageLimits", "hugetlb"),
    (_network, "network", "net_cls"),
    (_rdma, "rdma", "rdma"),
)
"""What reads a section of the resources, its OCI name, and the controller that decides its version."""
