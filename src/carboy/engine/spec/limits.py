"""Resource limits: what Docker refuses, and the OCI `linux.resources` they become."""

from __future__ import annotations

import os
import stat

from carboy.engine.spec.controllers import Controllers
from carboy.engine.spec.facts import HostFacts
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig, Resources, ThrottleDevice

Value = dict[str, object]
"""A part of an OCI document."""

MIN_MEMORY = 6 << 20
CFS_PERIOD = 100_000
MIN_SHARES = 2
MAX_SHARES = 262_144


def check_limits(host: HostConfig, facts: HostFacts) -> list[str]:
    """Raise InvalidArgument for limits that cannot hold; gives warnings for those that have no effect.

    What this machine cannot limit is warned about and taken out of `host`.
    """
    warnings = check_resources(host, facts)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    return warnings


def check_resources(wanted: Resources, facts: HostFacts, *, update: bool = False) -> list[str]:
    """Like `check_limits`, for what can be updated too; `update`: what is absent stays as it is."""
    warnings = _check_memory(wanted, facts.controllers, update=update)
    warnings += _check_cpu(wanted, facts)
    warnings += _check_block_io(wanted, facts.controllers)
    if wanted.pids_limit is not None and not facts.controllers.pids:
        if wanted.pids_limit > 0:
            warnings.append(_unsupported("PIDs limit capabilities", "PIDs limit"))
        wanted.pids_limit = None
    for limit in wanted.ulimits:
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(
                f"ulimit {limit.name}: soft limit must be less than or equal to hard limit:"
                f" {limit.soft} > {limit.hard}"
            )
        if limit.name not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name[:40]}")
    return warnings


def _unsupported(what: str, discarded: str) -> str:
    return f"Your kernel does not support {what} or the cgroup is not mounted. {discarded} discarded."


def _check_memory(wanted: Resources, controllers: Controllers, *, update: bool) -> list[str]:
    memory, swap, reservation = wanted.memory, wanted.memory_swap, wanted.memory_reservation
    if memory < 0 or reservation < 0 or swap < -1:
        raise InvalidArgument("invalid memory limit: it is negative (only memory-swap may be -1: no limit)")
    if 0 < memory < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and memory == 0 and not update:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < reservation < MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    warnings = _discard_memory(wanted, controllers)
    if wanted.memory_swappiness == -1:
        wanted.memory_swappiness = None
    swappiness = wanted.memory_swappiness
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if wanted.kernel_memory or wanted.kernel_memory_tcp:
        warnings.append(_unsupported("kernel memory limit capabilities", "Limitation"))
        wanted.kernel_memory = wanted.kernel_memory_tcp = 0
    if wanted.oom_kill_disable and not wanted.memory and not update:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set,"
            " this can result in the system running out of resources."
        )
    return warnings


def _discard_memory(wanted: Resources, controllers: Controllers) -> list[str]:
    warnings = []
    if wanted.memory > 0 and not controllers.memory:
        warnings.append(_unsupported("memory limit capabilities", "Limitation"))
        wanted.memory, wanted.memory_swap = 0, 0
    if wanted.memory > 0 and wanted.memory_swap != -1 and not controllers.swap:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted."
            " Memory limited without swap."
        )
        wanted.memory_swap = -1
    if (wanted.memory_swappiness or -1) != -1 and not controllers.swappiness:
        warnings.append(_unsupported("memory swappiness capabilities", "Memory swappiness"))
        wanted.memory_swappiness = None
    if wanted.memory_reservation and not controllers.reservation:
        warnings.append(_unsupported("memory soft limit capabilities", "Limitation"))
        wanted.memory_reservation = 0
    if wanted.oom_kill_disable and not controllers.oom_kill_disable:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        wanted.oom_kill_disable = None
    return warnings


def _check_cpu(wanted: Resources, facts: HostFacts) -> list[str]:
    if wanted.nano_cpus:
        for value, name in ((wanted.cpu_quota, "CPU Quota"), (wanted.cpu_period, "CPU Period")):
            if value > 0:
                raise InvalidArgument(f"Conflicting options: Nano CPUs and {name} cannot both be set")
        if not facts.controllers.cpu_quota:
            raise InvalidArgument(
                "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler"
                " or the cgroup is not mounted"
            )
        if not 10_000_000 <= wanted.nano_cpus <= facts.cpus * 10**9:
            raise InvalidArgument(
                f"Range of CPUs is from 0.01 to {facts.cpus}.00,"
                f" as there are only {facts.cpus} CPUs available"
            )
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < wanted.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if wanted.cpu_shares < 0 or wanted.cpu_shares == 1:
        raise InvalidArgument(
            f"invalid CPU shares {wanted.cpu_shares}: the minimum allowed cpu-shares is {MIN_SHARES}"
        )
    if wanted.cpu_shares > MAX_SHARES:
        raise InvalidArgument(
            f"invalid CPU shares {wanted.cpu_shares}: the maximum allowed cpu-shares is {MAX_SHARES}"
        )
    _check_realtime(wanted, facts.controllers)
    _check_sets(wanted, facts)
    return _discard_cpu(wanted, facts.controllers)


def _check_realtime(wanted: Resources, controllers: Controllers) -> None:
    period, runtime = wanted.cpu_realtime_period, wanted.cpu_realtime_runtime
    for value, name in ((period, "period"), (runtime, "runtime")):
        if value < 0:
            raise InvalidArgument(f"invalid CPU real-time {name} {value}: it is negative")
        if value and not controllers.cpu_realtime:
            raise InvalidArgument(f"Your kernel does not support CPU real-time {name}")
    if period and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_sets(wanted: Resources, facts: HostFacts) -> None:
    for text, what in ((wanted.cpuset_cpus, "cpus"), (wanted.cpuset_mems, "mems")):
        numbers = parse_set(text, what)
        available = facts.cpu_set if what == "cpus" else facts.mem_set
        if not numbers <= available:
            label = "CPUs" if what == "cpus" else "memory nodes"
            raise InvalidArgument(
                f"Requested {label} are not available - requested {text}, available: {set_text(available)}"
            )


def _discard_cpu(wanted: Resources, controllers: Controllers) -> list[str]:
    warnings = []
    if wanted.cpu_shares and not controllers.cpu_shares:
        warnings.append(
            "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded."
        )
        wanted.cpu_shares = 0
    if (wanted.cpu_period or wanted.cpu_quota) and not controllers.cpu_quota:
        warnings.append("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
        wanted.cpu_period = wanted.cpu_quota = 0
    if (wanted.cpuset_cpus or wanted.cpuset_mems) and not controllers.cpuset:
        warnings.append("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.")
        wanted.cpuset_cpus = wanted.cpuset_mems = ""
    return warnings


def _check_block_io(wanted: Resources, controllers: Controllers) -> list[str]:
    warnings = []
    if wanted.blkio_weight and not controllers.blkio_weight:
        warnings.append(_unsupported("Block I/O weight", "Weight"))
        wanted.blkio_weight = 0
    if wanted.blkio_weight_device and not controllers.blkio_weight_device:
        warnings.append(_unsupported("Block I/O weight_device", "Weight-device"))
        wanted.blkio_weight_device = []
    without = [
        one for one in wanted.blkio_weight_device if controllers.weights_need_bfq and not _has_bfq(one.path)
    ]
    if without:
        warnings.append(_unsupported("Block I/O weight_device", "Weight-device"))
        wanted.blkio_weight_device = [one for one in wanted.blkio_weight_device if one not in without]
    if not controllers.blkio_throttle and any(devices for _, devices in _throttles(wanted)):
        warnings.append(_unsupported("Block I/O throttling", "Block I/O limits"))
        wanted.blkio_device_read_bps = []
        wanted.blkio_device_write_bps = []
        wanted.blkio_device_read_iops = []
        wanted.blkio_device_write_iops = []
    for weight in (wanted.blkio_weight, *(device.weight for device in wanted.blkio_weight_device)):
        if weight and not 10 <= weight <= 1000:
            raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for _, devices in _throttles(wanted):
        for device in devices:
            if not 0 <= device.rate < 1 << 63:
                raise InvalidArgument(f"invalid rate for device {device.path[:200]}: {device.rate}")
    _block_io(wanted)  # every device must be there
    return warnings


def _has_bfq(path: str) -> bool:
    """Whether BFQ schedules a disk; True for what cannot be looked at: the kernel will tell."""
    number = _device_number(path)
    directory = f"/sys/dev/block/{number['major']}:{number['minor']}"
    for place in (directory, f"{directory}/.."):  # a partition's disk is above it
        try:
            with open(f"{place}/queue/scheduler") as file:
                return "[bfq]" in file.read()
        except OSError:
            continue
    return True


def _throttles(wanted: Resources) -> tuple[tuple[str, list[ThrottleDevice]], ...]:
    return (
        ("throttleReadBpsDevice", wanted.blkio_device_read_bps),
        ("throttleWriteBpsDevice", wanted.blkio_device_write_bps),
        ("throttleReadIOPSDevice", wanted.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", wanted.blkio_device_write_iops),
    )


def set_text(numbers: frozenset[int]) -> str:
    """A set as the kernel writes it: `0-3,7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def parse_set(text: str, what: str) -> frozenset[int]:
    """The numbers in a list such as `0-3,7`; raises InvalidArgument."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError as error:
            raise InvalidArgument(
                f"Invalid value {text[:80]} for cpuset {what}: invalid format: {text[:80]}"
            ) from error
        if not 0 <= low <= high < 8192:
            raise InvalidArgument(f"Invalid value {text[:80]} for cpuset {what}: invalid format: {text[:80]}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def resources(host: Resources, devices: list[Value]) -> Value:
    """The OCI `linux.resources`; `devices` are the rules of the device filter."""
    found: Value = {"devices": devices}
    for name, part in (("memory", _memory(host)), ("cpu", _cpu(host)), ("blockIO", _block_io(host))):
        if part:
            found[name] = part
    if host.pids_limit is not None and host.pids_limit > 0:
        found["pids"] = {"limit": host.pids_limit}
    return found


def _memory(host: Resources) -> Value:
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


def _cpu(host: Resources) -> Value:
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


def _block_io(host: Resources) -> Value:
    found: Value = {}
    if host.blkio_weight:
        found["weight"] = host.blkio_weight
    if host.blkio_weight_device:
        found["weightDevice"] = [
            {**_device_number(device.path), "weight": device.weight} for device in host.blkio_weight_device
        ]
    for name, devices in _throttles(host):
        if devices:
            found[name] = [{**_device_number(device.path), "rate": device.rate} for device in devices]
    return found


def _device_number(path: str) -> Value:
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"cannot limit the device {path[:200]}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"cannot limit the device {path[:200]!r}: {error}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"cannot limit the device {path[:200]}: it is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


_RLIMITS = frozenset(
    str.split(
        "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
    )
)


def rlimits(host: Resources) -> list[Value]:
    """The OCI `process.rlimits` of `--ulimit`; -1 is no limit."""

    def number(value: int) -> int:
        return 2**64 - 1 if value < 0 else value

    return [
        {"type": f"RLIMIT_{limit.name.upper()}", "soft": number(limit.soft), "hard": number(limit.hard)}
        for limit in host.ulimits
    ]
