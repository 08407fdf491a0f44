"""Resource limits: what Docker refuses, and the OCI `linux.resources` they become."""

from __future__ import annotations

import os
import stat

from carboy.engine.spec.facts import HostFacts
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig, ThrottleDevice

Value = dict[str, object]
"""A part of an OCI document."""

MIN_MEMORY = 6 << 20
CFS_PERIOD = 100_000


def check_limits(host: HostConfig, facts: HostFacts) -> list[str]:
    """Raise InvalidArgument for limits that cannot hold; gives warnings for those that have no effect."""
    warnings = _check_memory(host)
    _check_cpu(host, facts)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if host.pids_limit is not None and host.pids_limit < -1:
        raise InvalidArgument(f"invalid pids limit {host.pids_limit}: use -1 for no limit")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    for limit in host.ulimits:
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(
                f"ulimit {limit.name}: soft limit must be less than or equal to hard limit:"
                f" {limit.soft} > {limit.hard}"
            )
        if limit.name not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name[:40]}")
    return warnings


def _check_memory(host: HostConfig) -> list[str]:
    memory, swap, reservation = host.memory, host.memory_swap, host.memory_reservation
    if memory < 0 or reservation < 0 or swap < -1:
        raise InvalidArgument("invalid memory limit: it is negative (only memory-swap may be -1: no limit)")
    if 0 < memory < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and memory == 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < reservation < MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    warnings = []
    if host.kernel_memory or host.kernel_memory_tcp:
        warnings.append("Kernel memory limits are gone from current kernels. Limitation discarded.")
    if host.oom_kill_disable and not memory:
        warnings.append("OOM killer is disabled for the container, but no memory limit is set.")
    return warnings


def _check_cpu(host: HostConfig, facts: HostFacts) -> None:
    if host.nano_cpus:
        for value, name in ((host.cpu_quota, "CPU Quota"), (host.cpu_period, "CPU Period")):
            if value:
                raise InvalidArgument(f"Conflicting options: Nano CPUs and {name} cannot both be set.")
        if not 10_000_000 <= host.nano_cpus <= facts.cpus * 10**9:
            raise InvalidArgument(
                f"Range of CPUs is from 0.01 to {facts.cpus}.00,"
                f" as there are only {facts.cpus} CPUs available"
            )
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if host.cpu_quota and host.cpu_quota != -1 and host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares {host.cpu_shares}: they are negative")
    for text, what in ((host.cpuset_cpus, "cpus"), (host.cpuset_mems, "mems")):
        wanted = parse_set(text, what)
        available = facts.cpu_set if what == "cpus" else facts.mem_set
        if not wanted <= available:
            label = "CPUs" if what == "cpus" else "memory nodes"
            numbers = ",".join(map(str, sorted(available)))
            raise InvalidArgument(
                f"Requested {label} are not available - requested {text}, available: {numbers}."
            )


def parse_set(text: str, what: str) -> frozenset[int]:
    """The numbers in a list such as `0-3,7`; raises InvalidArgument."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError as error:
            raise InvalidArgument(f"Invalid value {text[:80]} for cpuset {what}") from error
        if not 0 <= low <= high < 8192:
            raise InvalidArgument(f"Invalid value {text[:80]} for cpuset {what}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def resources(host: HostConfig, devices: list[Value]) -> Value:
    """The OCI `linux.resources`; `devices` are the rules of the device filter."""
    found: Value = {"devices": devices}
    for name, part in (("memory", _memory(host)), ("cpu", _cpu(host)), ("blockIO", _block_io(host))):
        if part:
            found[name] = part
    if host.pids_limit is not None and host.pids_limit > 0:
        found["pids"] = {"limit": host.pids_limit}
    return found


def _memory(host: HostConfig) -> Value:
    found: Value = {}
    if host.memory:
        found["limit"] = host.memory
        # Docker's default: as much swap again as memory.
        found["swap"] = host.memory_swap or host.memory * 2
    if host.memory_reservation:
        found["reservation"] = host.memory_reservation
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        found["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(host: HostConfig) -> Value:
    found: Value = {
        "shares": host.cpu_shares,
        "quota": host.cpu_quota,
        "period": host.cpu_period,
        "realtimePeriod": host.cpu_realtime_period,
        "realtimeRuntime": host.cpu_realtime_runtime,
        "cpus": host.cpuset_cpus,
        "mems": host.cpuset_mems,
    }
    if host.nano_cpus:
        found["period"] = CFS_PERIOD
        found["quota"] = host.nano_cpus * CFS_PERIOD // 10**9
    return {name: value for name, value in found.items() if value}


def _block_io(host: HostConfig) -> Value:
    found: Value = {}
    if host.blkio_weight:
        found["weight"] = host.blkio_weight
    if host.blkio_weight_device:
        found["weightDevice"] = [
            {**_device_number(device.path), "weight": device.weight} for device in host.blkio_weight_device
        ]
    throttles: tuple[tuple[str, list[ThrottleDevice]], ...] = (
        ("throttleReadBpsDevice", host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", host.blkio_device_write_iops),
    )
    for name, devices in throttles:
        if devices:
            found[name] = [{**_device_number(device.path), "rate": device.rate} for device in devices]
    return found


def _device_number(path: str) -> Value:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot limit the device {path[:200]}: {error}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"cannot limit the device {path[:200]}: it is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


_RLIMITS = frozenset(
    str.split(
        "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
    )
)


def rlimits(host: HostConfig) -> list[Value]:
    """The OCI `process.rlimits` of `--ulimit`; -1 is no limit."""

    def number(value: int) -> int:
        return 2**64 - 1 if value < 0 else value

    return [
        {"type": f"RLIMIT_{limit.name.upper()}", "soft": number(limit.soft), "hard": number(limit.hard)}
        for limit in host.ulimits
    ]
