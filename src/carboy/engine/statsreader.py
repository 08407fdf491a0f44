"""One container's figures at one moment, from v1's, v2's or a hybrid machine's files.

What Docker shows is kept, its differences between the versions too: v1 has a maximum of memory,
processor time by processor and operations with capital letters, v2 has none of them.
"""

from __future__ import annotations

import contextlib
import time

from msgspec import UNSET

from carboy.engine.statsfiles import Budget, Files, open_files
from carboy.formats import cgroupstat
from carboy.formats.cgroupstat import flat, number, numbers
from carboy.formats.dockerapi.stats import (
    BlkioEntry,
    BlkioStats,
    ContainerStats,
    CpuStats,
    CpuUsage,
    MemoryStats,
    NetworkStats,
    PidsStats,
    ThrottlingData,
)
from carboy.formats.dockerapi.times import rfc3339

_V1_MEMORY = frozenset(
    str.split(
        "active_anon active_file cache dirty hierarchical_memory_limit hierarchical_memsw_limit "
        "inactive_anon inactive_file mapped_file pgfault pgmajfault pgpgin pgpgout rss rss_huge "
        "total_active_anon total_active_file total_cache total_dirty total_inactive_anon total_inactive_file "
        "total_mapped_file total_pgfault total_pgmajfault total_pgpgin total_pgpgout total_rss "
        "total_rss_huge total_unevictable total_writeback unevictable writeback"
    )
)
_V2_MEMORY = frozenset(
    str.split(
        "active_anon active_file anon anon_thp file file_dirty file_mapped file_writeback inactive_anon "
        "inactive_file kernel_stack pgactivate pgdeactivate pgfault pglazyfree pglazyfreed pgmajfault "
        "pgrefill pgscan pgsteal shmem slab slab_reclaimable slab_unreclaimable sock thp_collapse_alloc "
        "thp_fault_alloc unevictable workingset_activate workingset_nodereclaim workingset_refault"
    )
)
_IO_WORDS = (("rbytes", "read"), ("wbytes", "write"))
_NETWORK_FIELDS = (0, 1, 2, 3, 8, 9, 10, 11)
"""Of /proc/net/dev's counters: bytes, packets, errors and drops, received and sent."""


class Machine:
    """What is the same for all containers of one moment."""

    def __init__(self, *, memory: int, proc: str = "/proc") -> None:
        self.memory = memory
        self._stat = open_files(proc, Budget(1))
        self.cpu = 0
        self.processors = 0
        self.look()  # opens the file, before there are two threads

    def look(self) -> None:
        """Read the machine's processor time."""
        self.cpu, self.processors = cgroupstat.system_cpu(self._stat.read("stat"))

    def close(self) -> None:
        """Close its file."""
        self._stat.close()


class Reader:
    """The figures of one run of one container."""

    def __init__(self, groups: dict[str, str], process: str, budget: Budget) -> None:
        """groups: see `recorded_groups`.  process: /proc/PID for its network, "" for none."""
        self._files: dict[str, Files] = {}
        self._versions: dict[str, int] = {}
        self._process: Files | None = None
        opened: dict[str, Files] = {}
        for controller in ("cpu", "cpuacct", "memory", "pids", "blkio"):
            path = groups.get(controller) or groups.get("unified")
            if path is None:
                continue
            if path not in opened:
                try:
                    opened[path] = open_files(path, budget)
                except OSError:
                    continue
            self._files[controller] = opened[path]
            self._versions[controller] = 1 if controller in groups else 2
        self._opened = list(opened.values())
        if process:
            with contextlib.suppress(OSError):
                self._process = open_files(process, budget)

    def close(self) -> None:
        """Close all files."""
        for files in self._opened:
            files.close()
        self._opened.clear()
        self._files.clear()
        if self._process is not None:
            self._process.close()
            self._process = None

    def read(self, name: str, container_id: str, machine: Machine) -> ContainerStats:
        """A frame; what cannot be read is zero."""
        return ContainerStats(
            read=rfc3339(time.time_ns()),
            pids_stats=self._pids(),
            blkio_stats=self._blkio(),
            cpu_stats=self._cpu(machine),
            memory_stats=self._memory(machine),
            name=f"/{name}",
            id=container_id,
            networks=self._networks() or UNSET,
        )

    def _of(self, controller: str) -> tuple[int, Files | None]:
        return self._versions.get(controller, 0), self._files.get(controller)

    def _pids(self) -> PidsStats:
        version, files = self._of("pids")
        if files is None:
            return PidsStats()
        limit = number(files.read("pids.max"))
        if version == 1 and limit == cgroupstat.UNLIMITED:
            limit = 0
        return PidsStats(current=number(files.read("pids.current")), limit=limit)

    def _cpu(self, machine: Machine) -> CpuStats:
        found = CpuStats(system_cpu_usage=machine.cpu, online_cpus=machine.processors)
        version, files = self._of("cpu")
        if files is not None:
            values = flat(files.read("cpu.stat"))
            found.throttling_data = ThrottlingData(
                periods=values.get("nr_periods", 0),
                throttled_periods=values.get("nr_throttled", 0),
                throttled_time=values.get("throttled_time", values.get("throttled_usec", 0) * 1000),
            )
            if version == 2:
                found.cpu_usage = CpuUsage(
                    total_usage=values.get("usage_usec", 0) * 1000,
                    usage_in_kernelmode=values.get("system_usec", 0) * 1000,
                    usage_in_usermode=values.get("user_usec", 0) * 1000,
                )
        version, files = self._of("cpuacct")
        if files is not None and version == 1:
            ticks = flat(files.read("cpuacct.stat"))
            found.cpu_usage = CpuUsage(
                total_usage=number(files.read("cpuacct.usage")),
                percpu_usage=numbers(files.read("cpuacct.usage_percpu")),
                usage_in_kernelmode=ticks.get("system", 0) * cgroupstat.TICK,
                usage_in_usermode=ticks.get("user", 0) * cgroupstat.TICK,
            )
        return found

    def _memory(self, machine: Machine) -> MemoryStats:
        version, files = self._of("memory")
        if files is None:
            return MemoryStats()
        raw = flat(files.read("memory.stat"))
        if version == 2:
            if "workingset_refault" not in raw:  # split in two since Linux 5.9
                raw["workingset_refault"] = raw.get("workingset_refault_anon", 0) + raw.get(
                    "workingset_refault_file", 0
                )
            return MemoryStats(
                usage=number(files.read("memory.current")),
                stats={name: value for name, value in raw.items() if name in _V2_MEMORY},
                failcnt=flat(files.read("memory.events")).get("oom", 0),
                limit=min(number(files.read("memory.max")), machine.memory),
            )
        return MemoryStats(
            usage=number(files.read("memory.usage_in_bytes")),
            max_usage=number(files.read("memory.max_usage_in_bytes")),
            stats={name: value for name, value in raw.items() if name in _V1_MEMORY},
            failcnt=number(files.read("memory.failcnt")),
            limit=min(number(files.read("memory.limit_in_bytes")), machine.memory),
        )

    def _blkio(self) -> BlkioStats:
        version, files = self._of("blkio")
        if files is None:
            return BlkioStats()
        if version == 2:
            found = [_entry(one) for one in cgroupstat.io_stat(files.read("io.stat"), _IO_WORDS)]
            return BlkioStats(io_service_bytes_recursive=found)
        # BFQ's figures where BFQ schedules, else those of throttling, which every device has.
        return BlkioStats(
            io_service_bytes_recursive=_blkio_v1(files, "io_service_bytes_recursive"),
            io_serviced_recursive=_blkio_v1(files, "io_serviced_recursive"),
            io_queue_recursive=[],
            io_service_time_recursive=[],
            io_wait_time_recursive=[],
            io_merged_recursive=[],
            io_time_recursive=[],
            sectors_recursive=[],
        )

    def _networks(self) -> dict[str, NetworkStats]:
        if self._process is None:
            return {}
        found = {}
        for name, counters in cgroupstat.interfaces(self._process.read("net/dev", keep=False)).items():
            if len(counters) == 16:
                values = [counters[index] for index in _NETWORK_FIELDS]
                found[name] = NetworkStats(**dict(zip(NetworkStats.__struct_fields__, values, strict=True)))
        return found


def _blkio_v1(files: Files, name: str) -> list[BlkioEntry]:
    found = [_entry(one) for one in cgroupstat.blkio(files.read(f"blkio.bfq.{name}"))]
    return found or [_entry(one) for one in cgroupstat.blkio(files.read(f"blkio.throttle.{name}"))]


def _entry(one: cgroupstat.Entry) -> BlkioEntry:
    return BlkioEntry(major=one[0], minor=one[1], op=one[2], value=one[3])
