"""Limits given at the making of a container: what the kernel has of them, and what the inside sees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, daemon
from system.test_upkeep import group_file, started

__all__ = ["daemon"]
pytestmark = [pytest.mark.needs_root]
MEGA = 1 << 20

V1 = os.path.exists("/sys/fs/cgroup/memory")


def disk() -> tuple[str, str]:
    """A whole disk of this machine: (path, major:minor)."""
    for name in sorted(os.listdir("/sys/block"), reverse=True):
        if os.path.exists(f"/dev/{name}"):
            return f"/dev/{name}", Path(f"/sys/block/{name}/dev").read_text().strip()
    pytest.skip("needs a block device")


HALF = {"CpuQuota": 20_000, "CpuPeriod": 40_000}
LIMITS: list[tuple[dict[str, Any], str, str, str, str, str]] = [
    # host, controller, v1's file, its value, v2's file, its value
    ({"Memory": 64 * MEGA}, "memory", "memory.limit_in_bytes", str(64 * MEGA), "memory.max", str(64 * MEGA)),
    (
        {"Memory": 64 * MEGA, "MemorySwap": 96 * MEGA},
        "memory",
        "memory.memsw.limit_in_bytes",
        str(96 * MEGA),
        "memory.swap.max",
        str(32 * MEGA),
    ),
    (
        {"MemoryReservation": 32 * MEGA},
        "memory",
        "memory.soft_limit_in_bytes",
        str(32 * MEGA),
        "memory.low",
        str(32 * MEGA),
    ),
    ({"CpuShares": 512}, "cpu", "cpu.shares", "512", "cpu.weight", "59"),
    ({"NanoCpus": 500_000_000}, "cpu", "cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000"),
    (
        {"CpuQuota": 20_000, "CpuPeriod": 40_000},
        "cpu",
        "cpu.cfs_period_us",
        "40000",
        "cpu.max",
        "20000 40000",
    ),
    (HALF, "cpu", "cpu.cfs_quota_us", "20000", "cpu.max", "20000 40000"),
    ({"CpusetCpus": "0"}, "cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
    ({"CpusetMems": "0"}, "cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
    ({"PidsLimit": 17}, "pids", "pids.max", "17", "pids.max", "17"),
    ({"PidsLimit": -5}, "pids", "pids.max", "max", "pids.max", "max"),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: f"{next(reversed(one[0]))}-{one[2]}")
def test_the_kernel_holds_the_limit(
    daemon: Daemon, limit: tuple[dict[str, Any], str, str, str, str, str]
) -> None:
    host, controller, v1, v1_value, v2, v2_value = limit
    container = started(daemon, "sleep", "100", host=host)
    found = group_file(daemon, container, controller, v1, v2)
    assert found in (v1_value, v2_value)
    daemon.request("DELETE", f"/containers/{container}?force=1")


@pytest.mark.skipif(not V1, reason="these limits are v1's alone")
@pytest.mark.parametrize(
    ("host", "controller", "file", "value"),
    [
        ({"MemorySwappiness": 11}, "memory", "memory.swappiness", "11"),
        ({"OomKillDisable": True, "Memory": 64 * MEGA}, "memory", "memory.oom_control", "oom_kill_disable 1"),
        ({"BlkioWeight": 321}, "blkio", "blkio.bfq.weight", "321"),
    ],
)
def test_limits_of_version_one(
    daemon: Daemon, host: dict[str, Any], controller: str, file: str, value: str
) -> None:
    created = daemon.post(
        "/containers/create",
        {"Image": "busybox:test", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none", **host}},
    )
    if created["Warnings"]:
        pytest.skip(created["Warnings"][0])
    container = created["Id"]
    daemon.post(f"/containers/{container}/start")
    assert group_file(daemon, container, controller, file, file).startswith(value)
    daemon.request("DELETE", f"/containers/{container}?force=1")


@pytest.mark.parametrize(
    ("field", "v1", "word"),
    [
        ("BlkioDeviceReadBps", "blkio.throttle.read_bps_device", "rbps"),
        ("BlkioDeviceWriteBps", "blkio.throttle.write_bps_device", "wbps"),
        ("BlkioDeviceReadIOps", "blkio.throttle.read_iops_device", "riops"),
        ("BlkioDeviceWriteIOps", "blkio.throttle.write_iops_device", "wiops"),
    ],
)
def test_throttles(daemon: Daemon, field: str, v1: str, word: str) -> None:
    path, number = disk()
    container = started(daemon, "sleep", "100", host={field: [{"Path": path, "Rate": 1234567}]})
    found = group_file(daemon, container, "blkio", v1, "io.max")
    assert found in (f"{number} 1234567", found if f"{word}=1234567" in found else "")
    daemon.request("DELETE", f"/containers/{container}?force=1")


def test_seen_from_inside(daemon: Daemon) -> None:
    script = "cat /proc/self/oom_score_adj; nproc; (sleep 1 & sleep 1 & sleep 1 & wait) 2>&1 | tail -1"
    code, output, _ = daemon.run_container(
        "sh", "-c", script, host={"OomScoreAdj": 321, "CpusetCpus": "0", "PidsLimit": 3}
    )
    lines = output.decode().splitlines()
    assert lines[:2] == ["321", "1"]
    assert code != 0 or "fork" in lines[-1]


def test_memory_is_limited(daemon: Daemon) -> None:
    container = started(
        daemon,
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=50",
        host={"Memory": 16 * MEGA, "MemorySwap": 16 * MEGA, "ShmSize": 100 * MEGA},
    )
    assert daemon.wait(container) != 0
    assert daemon.get(f"/containers/{container}/json")["State"]["OOMKilled"]
    daemon.request("DELETE", f"/containers/{container}?force=1")


def test_a_relative_parent_is_below_the_daemons_own(daemon: Daemon) -> None:
    container = started(daemon, "sleep", "60", host={"CgroupParent": "a/b"})
    try:
        pid = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
        groups = {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
        assert f"{daemon.paths.cgroup_parent}/a/b/{container}" in groups
        assert not any("a/b/a/b" in group for group in groups)
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")
