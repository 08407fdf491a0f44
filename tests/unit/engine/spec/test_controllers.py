"""Which limits a machine's control groups can hold."""

from __future__ import annotations

from pathlib import Path

from carboy.engine.spec.controllers import Controllers, parse_mounts, read_controllers

LINE = "32 31 0:29 / {place} rw,relatime - {kind} {kind} rw{options}\n"


def line(place: Path, kind: str, options: str = "") -> str:
    return LINE.format(place=place, kind=kind, options=options)


def test_mounts_of_both_versions() -> None:
    text = line(Path("/c/cpu"), "cgroup", ",cpu,cpuacct") + line(Path("/c/u"), "cgroup2") + "odd\n"
    v1, v2 = parse_mounts(text)
    assert (v1["cpu"], v1["cpuacct"], v2) == ("/c/cpu", "/c/cpu", "/c/u")


def test_a_hybrid_machine(tmp_path: Path) -> None:
    for controller in ("memory", "blkio"):
        (tmp_path / controller / "group").mkdir(parents=True)
    (tmp_path / "memory" / "memory.limit_in_bytes").touch()
    (tmp_path / "memory" / "group" / "memory.swappiness").touch()
    (tmp_path / "blkio" / "group" / "blkio.bfq.weight_device").touch()
    unified = tmp_path / "unified"
    unified.mkdir()
    (unified / "cgroup.controllers").write_text("hugetlb pids\n")
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        line(tmp_path / "memory", "cgroup", ",memory")
        + line(tmp_path / "blkio", "cgroup", ",blkio")
        + line(unified, "cgroup2")
    )
    assert read_controllers(str(mountinfo)) == Controllers(
        memory=True,
        swap=False,
        swappiness=True,
        reservation=False,
        oom_kill_disable=False,
        cpu_shares=False,
        cpu_quota=False,
        cpu_realtime=False,
        cpuset=False,
        pids=True,
        blkio_weight=False,
        blkio_weight_device=True,
        blkio_throttle=False,
        weights_need_bfq=True,
    )


def test_version_two_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "mountinfo").write_text(line(tmp_path, "cgroup2"))
    assert read_controllers(str(tmp_path / "mountinfo")) == Controllers(
        swappiness=False, oom_kill_disable=False, cpu_realtime=False
    )
