"""The figures of a container: one frame of `GET /containers/{id}/stats`.

The names are snake_case on the wire too.  As Docker's, a figure that is zero or not there is
left out of the memory's and the processes' figures.
"""

import msgspec
from msgspec import UNSET, UnsetType

from carboy.formats.dockerapi.times import ZERO_TIME


class Figures(msgspec.Struct, kw_only=True):
    """The base of what is in a frame."""


class PidsStats(Figures, kw_only=True, omit_defaults=True):
    """Processes and threads."""

    current: int = 0
    limit: int = 0


class BlkioEntry(Figures, kw_only=True):
    """What one device has done."""

    major: int
    minor: int
    op: str
    value: int


class BlkioStats(Figures, kw_only=True):
    """Input and output; lists that the kernel does not offer are empty on v1, null on v2."""

    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: list[BlkioEntry] | None = None
    io_service_time_recursive: list[BlkioEntry] | None = None
    io_wait_time_recursive: list[BlkioEntry] | None = None
    io_merged_recursive: list[BlkioEntry] | None = None
    io_time_recursive: list[BlkioEntry] | None = None
    sectors_recursive: list[BlkioEntry] | None = None


class CpuUsage(Figures, kw_only=True):
    """Processor time in nanoseconds."""

    total_usage: int = 0
    percpu_usage: list[int] | UnsetType = UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class ThrottlingData(Figures, kw_only=True):
    """How often a quota held the container up."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class CpuStats(Figures, kw_only=True):
    """The container's processor time, and the whole machine's."""

    cpu_usage: CpuUsage = msgspec.field(default_factory=CpuUsage)
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET
    throttling_data: ThrottlingData = msgspec.field(default_factory=ThrottlingData)


class MemoryStats(Figures, kw_only=True, omit_defaults=True):
    """Memory in bytes; `stats` is the kernel's memory.stat."""

    usage: int = 0
    max_usage: int = 0
    stats: dict[str, int] = {}
    failcnt: int = 0
    limit: int = 0


class NetworkStats(Figures, kw_only=True):
    """One interface."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class ContainerStats(Figures, kw_only=True):
    """One frame; `name` has its leading slash.  All of the rest is empty while nothing runs."""

    read: str = ZERO_TIME
    preread: str = ZERO_TIME
    pids_stats: PidsStats = msgspec.field(default_factory=PidsStats)
    blkio_stats: BlkioStats = msgspec.field(default_factory=BlkioStats)
    num_procs: int = 0
    storage_stats: dict[str, int] = {}
    cpu_stats: CpuStats = msgspec.field(default_factory=CpuStats)
    precpu_stats: CpuStats = msgspec.field(default_factory=CpuStats)
    memory_stats: MemoryStats = msgspec.field(default_factory=MemoryStats)
    name: str
    id: str
    networks: dict[str, NetworkStats] | UnsetType = UNSET
