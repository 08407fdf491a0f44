"""The figures of a container as the columns of `stats`: Docker's arithmetic."""

from __future__ import annotations

from carboy.client import document
from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json

COLUMNS = (
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
)


def row(container: str, frame: Json | None, *, whole: bool) -> dict[str, str]:
    """One container; without a frame yet, dashes."""
    if frame is None:
        return {
            "BlockIO": "--",
            "CPUPerc": "--",
            "Container": container,
            "ID": container,
            "MemPerc": "--",
            "MemUsage": "-- / --",
            "Name": "--",
            "NetIO": "--",
            "PIDs": "--",
        }
    number = document.number
    memory = document.child(frame, "memory_stats")
    used, limit = memory_used(memory), number(memory, "limit")
    networks = [one for one in document.child(frame, "networks").values() if isinstance(one, dict)]
    received = sum(number(one, "rx_bytes") for one in networks)
    sent = sum(number(one, "tx_bytes") for one in networks)
    read, written = block_io(frame)
    container_id = document.text(frame, "id")
    return {
        "BlockIO": f"{human.size(read)} / {human.size(written)}",
        "CPUPerc": f"{cpu_percent(frame):.2f}%",
        "Container": container,
        "ID": container_id if whole else container_id[:12],
        "MemPerc": f"{used / limit * 100 if limit else 0.0:.2f}%",
        "MemUsage": f"{human.binary_size(used)} / {human.binary_size(limit)}",
        "Name": document.text(frame, "name").removeprefix("/") or "--",
        "NetIO": f"{human.size(received)} / {human.size(sent)}",
        "PIDs": str(number(document.child(frame, "pids_stats"), "current")),
    }


def cpu_percent(frame: Json) -> float:
    """Of one processor: two busy ones are 200."""
    now, before = document.child(frame, "cpu_stats"), document.child(frame, "precpu_stats")
    used = _total(now) - _total(before)
    machine = document.number(now, "system_cpu_usage") - document.number(before, "system_cpu_usage")
    processors = document.number(now, "online_cpus")
    if not processors:
        usage = document.child(now, "cpu_usage").get("percpu_usage")
        processors = len(usage) if isinstance(usage, list) else 1
    return used / machine * processors * 100 if used > 0 and machine > 0 else 0.0


def _total(cpu: Json) -> int:
    return document.number(document.child(cpu, "cpu_usage"), "total_usage")


def memory_used(memory: Json) -> int:
    """Without the page cache that the kernel would give up at once."""
    usage, stats = document.number(memory, "usage"), document.child(memory, "stats")
    for key in ("total_inactive_file", "inactive_file"):  # v1, v2
        cache = document.number(stats, key)
        if key in stats and cache < usage:
            return usage - cache
    return usage


def block_io(frame: Json) -> tuple[int, int]:
    """Bytes read and written, on all devices."""
    read = written = 0
    for entry in document.children(document.child(frame, "blkio_stats"), "io_service_bytes_recursive"):
        operation = document.text(entry, "op")[:1].lower()
        if operation == "r":
            read += document.number(entry, "value")
        elif operation == "w":
            written += document.number(entry, "value")
    return read, written
