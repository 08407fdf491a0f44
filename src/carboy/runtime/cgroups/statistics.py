"""The figures of a group, from v1's or v2's files to the one shape of OCI `events`."""

from __future__ import annotations

from carboy.formats import cgroupstat
from carboy.formats.cgroupstat import flat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from carboy.runtime.cgroups.hierarchy import Directory

    Reader = Callable[[str], "tuple[int, Directory] | None"]

__all__ = ["flat", "read"]


def read(reader: Reader) -> dict[str, Any]:
    """All figures that the group's hierarchies offer."""
    stats: dict[str, Any] = {"cpu": _cpu(reader), "memory": _memory(reader), "pids": _pids(reader)}
    stats["blkio"] = _block_io(reader)
    return stats


def _number(directory: Directory, file: str) -> int:
    """A file with one number; `max` is UNLIMITED, a missing one 0."""
    return cgroupstat.number(_text(directory, file))


def _text(directory: Directory, file: str) -> str:
    try:
        return directory.read(file)
    except OSError:
        return ""


def _cpu(reader: Reader) -> dict[str, Any]:
    usage: dict[str, Any] = {"total": 0, "user": 0, "kernel": 0}
    throttling = {"periods": 0, "throttledPeriods": 0, "throttledTime": 0}
    member = reader("cpu")
    if member is not None:
        version, directory = member
        values = flat(_text(directory, "cpu.stat"))
        throttling["periods"] = values.get("nr_periods", 0)
        throttling["throttledPeriods"] = values.get("nr_throttled", 0)
        throttling["throttledTime"] = values.get("throttled_time", values.get("throttled_usec", 0) * 1000)
        if version == 2:
            for key, name in (("total", "usage_usec"), ("user", "user_usec"), ("kernel", "system_usec")):
                usage[key] = values.get(name, 0) * 1000
    member = reader("cpuacct")
    if member is not None and member[0] == 1:
        directory = member[1]
        usage["total"] = _number(directory, "cpuacct.usage")
        usage["percpu"] = cgroupstat.numbers(_text(directory, "cpuacct.usage_percpu"))
        usage["user"] = _number(directory, "cpuacct.usage_user")
        usage["kernel"] = _number(directory, "cpuacct.usage_sys")
    return {"usage": usage, "throttling": throttling}


def _memory(reader: Reader) -> dict[str, Any]:
    member = reader("memory")
    if member is None:
        return {"usage": {"usage": 0, "max": 0, "limit": 0, "failcnt": 0}, "cache": 0, "raw": {}}
    version, directory = member
    raw = flat(_text(directory, "memory.stat"))
    if version == 2:
        usage = {
            "usage": _number(directory, "memory.current"),
            "max": _number(directory, "memory.peak"),
            "limit": _number(directory, "memory.max"),
            "failcnt": flat(_text(directory, "memory.events")).get("max", 0),
        }
        swap = {
            "usage": _number(directory, "memory.swap.current"),
            "limit": _number(directory, "memory.swap.max"),
            "max": 0,
            "failcnt": 0,
        }
        return {"usage": usage, "swap": swap, "cache": raw.get("file", 0), "raw": raw}
    return {
        "usage": _memory_v1(directory, "memory."),
        "swap": _memory_v1(directory, "memory.memsw."),
        "kernel": _memory_v1(directory, "memory.kmem."),
        "cache": raw.get("cache", 0),
        "raw": raw,
    }


def _memory_v1(directory: Directory, prefix: str) -> dict[str, int]:
    return {
        "usage": _number(directory, f"{prefix}usage_in_bytes"),
        "max": _number(directory, f"{prefix}max_usage_in_bytes"),
        "limit": _number(directory, f"{prefix}limit_in_bytes"),
        "failcnt": _number(directory, f"{prefix}failcnt"),
    }


def _pids(reader: Reader) -> dict[str, int]:
    member = reader("pids")
    if member is None:
        return {"current": 0, "limit": 0}
    limit = _number(member[1], "pids.max")
    return {
        "current": _number(member[1], "pids.current"),
        "limit": 0 if limit == cgroupstat.UNLIMITED else limit,
    }


def _block_io(reader: Reader) -> dict[str, Any]:
    member = reader("blkio")
    if member is None:
        return {}
    version, directory = member
    if version == 2:
        words = (("rbytes", "Read"), ("wbytes", "Write"))
        return {"ioServiceBytesRecursive": _entries(cgroupstat.io_stat(_text(directory, "io.stat"), words))}
    entries: list[dict[str, Any]] = []
    # BFQ's figures where BFQ schedules, else those of throttling, which every device has.
    for file in ("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"):
        entries = entries or _entries(cgroupstat.blkio(_text(directory, file)))
    return {"ioServiceBytesRecursive": entries}


def _entries(found: Iterable[cgroupstat.Entry]) -> list[dict[str, Any]]:
    return [
        {"major": major, "minor": minor, "op": operation, "value": value}
        for major, minor, operation, value in found
    ]
