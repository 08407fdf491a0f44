"""Figures from files of v1, v2 and hybrid machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carboy.engine.statsfiles import Budget, open_files, recorded_groups
from carboy.engine.statsreader import Machine, Reader

V1 = {
    "cpu": {"cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 900\n"},
    "cpuacct": {
        "cpuacct.usage": "5000000000\n",
        "cpuacct.usage_percpu": "2000000000 3000000000\n",
        "cpuacct.stat": "user 300\nsystem 200\n",
    },
    "memory": {
        "memory.usage_in_bytes": "1000000\n",
        "memory.max_usage_in_bytes": "2000000\n",
        "memory.failcnt": "4\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.stat": "cache 5\nrss 6\nnot_dockers 7\ntotal_inactive_file 8\n",
    },
    "pids": {"pids.current": "3\n", "pids.max": "max\n"},
    "blkio": {
        "blkio.bfq.io_service_bytes_recursive": "Total 0\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 7\nTotal 107\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 2\n",
    },
}
V2 = {
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 1\nthrottled_usec 9\n",
    "memory.current": "1000000\n",
    "memory.max": "6000000\n",
    "memory.peak": "2000000\n",
    "memory.stat": "anon 5\nfile 6\nodd 1\nworkingset_refault_anon 2\nworkingset_refault_file 3\n",
    "memory.events": "low 0\nmax 7\noom 2\noom_kill 1\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=100 wbytes=7 rios=1\n",
}
NET = "a\nb\n lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n eth0: 54 1 2 3 0 0 0 0 90 4 5 6 0 0 0 0\n"


def lay(directory: Path, files: dict[str, str]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return str(directory)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    proc = lay(tmp_path / "proc", {"stat": "cpu 100 0 0 0 0 0 0 0\ncpu0 1\ncpu1 1\n"})
    found = Machine(memory=8_000_000, proc=proc)
    yield found
    found.close()


def frame(reader: Reader, machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(reader.read("web", "id", machine)))
    return found


def test_version_one(tmp_path: Path, machine: Machine) -> None:
    groups = {controller: lay(tmp_path / controller, files) for controller, files in V1.items()}
    budget = Budget(100)
    reader = Reader(groups, lay(tmp_path / "1", {"net/dev": NET}), budget)
    found = frame(reader, machine)
    assert found["name"] == "/web"
    assert found["id"] == "id"
    assert found["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 5_000_000_000,
            "percpu_usage": [2_000_000_000, 3_000_000_000],
            "usage_in_kernelmode": 2_000_000_000,
            "usage_in_usermode": 3_000_000_000,
        },
        "system_cpu_usage": 1_000_000_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 10, "throttled_periods": 3, "throttled_time": 900},
    }
    assert found["memory_stats"] == {
        "usage": 1_000_000,
        "max_usage": 2_000_000,
        "stats": {"cache": 5, "rss": 6, "total_inactive_file": 8},
        "failcnt": 4,
        "limit": 8_000_000,
    }
    assert found["pids_stats"] == {"current": 3}
    assert found["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 100},
        {"major": 8, "minor": 0, "op": "Write", "value": 7},
    ]
    assert found["blkio_stats"]["io_serviced_recursive"][0]["value"] == 2
    assert found["blkio_stats"]["sectors_recursive"] == []
    assert found["networks"] == {
        "eth0": {
            "rx_bytes": 54,
            "rx_packets": 1,
            "rx_errors": 2,
            "rx_dropped": 3,
            "tx_bytes": 90,
            "tx_packets": 4,
            "tx_errors": 5,
            "tx_dropped": 6,
        }
    }
    reader.close()


def test_version_two(tmp_path: Path, machine: Machine) -> None:
    reader = Reader({"unified": lay(tmp_path / "g", V2)}, "", Budget(100))
    found = frame(reader, machine)
    assert found["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5_000_000,
        "usage_in_kernelmode": 2_000_000,
        "usage_in_usermode": 3_000_000,
    }
    assert found["cpu_stats"]["throttling_data"]["throttled_time"] == 9000
    assert found["memory_stats"] == {
        "usage": 1_000_000,
        "stats": {"anon": 5, "file": 6, "workingset_refault": 5},
        "failcnt": 2,
        "limit": 6_000_000,
    }
    assert found["pids_stats"] == {"current": 3, "limit": 2**64 - 1}
    assert found["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 100},
        {"major": 8, "minor": 0, "op": "write", "value": 7},
    ]
    assert found["blkio_stats"]["io_serviced_recursive"] is None
    assert "networks" not in found
    reader.close()


def test_a_hybrid_machine_takes_each_controller_where_it_is(tmp_path: Path, machine: Machine) -> None:
    groups = {"memory": lay(tmp_path / "memory", V1["memory"]), "unified": lay(tmp_path / "g", V2)}
    reader = Reader(groups, "", Budget(100))
    found = frame(reader, machine)
    assert found["memory_stats"]["max_usage"] == 2_000_000
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] == 5_000_000
    reader.close()


def test_a_group_that_is_gone_reads_as_nothing(tmp_path: Path, machine: Machine) -> None:
    reader = Reader({"unified": str(tmp_path / "none")}, "/proc/0", Budget(100))
    found = frame(reader, machine)
    assert found["memory_stats"] == {}
    assert found["pids_stats"] == {}
    reader.close()


def test_files_stay_open_within_the_budget(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files = open_files(lay(tmp_path / "g", {"a": "1\n", "b": "2\n"}), Budget(1))
    assert [files.read("a"), files.read("b"), files.read("missing")] == ["1\n", "2\n", ""]
    (tmp_path / "g" / "a").write_text("11\n")
    (tmp_path / "g" / "b").write_text("22\n")
    assert [files.read("a"), files.read("b"), files.read("missing")] == ["11\n", "22\n", ""]
    assert len(os.listdir("/proc/self/fd")) == before + 2  # the directory and `a`
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_long_files_are_read_whole(tmp_path: Path) -> None:
    text = "x" * 40_000
    files = open_files(lay(tmp_path / "g", {"a": text}), Budget(1))
    assert files.read("a") == text
    assert files.read("a") == text
    files.close()


def test_groups_are_those_that_the_monitor_wrote_down(tmp_path: Path) -> None:
    assert recorded_groups(str(tmp_path)) == {}
    (tmp_path / "monitor.json").write_text('{"cgroup": {"memory": "/a"}}')
    assert recorded_groups(str(tmp_path)) == {"memory": "/a"}
    (tmp_path / "monitor.json").write_text("[")
    assert recorded_groups(str(tmp_path)) == {}
