"""Control groups on this machine's own hierarchies."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.engine.monitors import ChannelLoop, Spawner
from carboy.errors import InvalidArgument, Unavailable, Unsupported
from carboy.linux import process
from carboy.runtime import cgroups
from carboy.runtime.monitor.directories import Directories
from suites.cgroups import CgroupContract

pytestmark = pytest.mark.needs_root


@pytest.fixture
def group() -> Iterator[cgroups.Cgroup]:
    made = cgroups.open_cgroup(f"/carboy-test-{os.getpid()}/inner")
    made.create()
    yield made
    made.delete()
    for hierarchy in cgroups.read_layout().hierarchies:
        path = f"{hierarchy.mount_point}/carboy-test-{os.getpid()}"
        if os.path.isdir(path):
            os.rmdir(path)


def test_a_process_lives_pauses_and_dies_in_it(group: cgroups.Cgroup) -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        group.add_process(child.pid)
        assert group.processes() == [child.pid]
        group.freeze()
        assert group.frozen()
        group.thaw()
        again = cgroups.attach(group.paths())
        assert again.processes() == [child.pid]
        again.close()
        group.kill_all()
        assert child.wait(40) == -9


def test_limits_are_set_both_ways(group: cgroups.Cgroup) -> None:
    for limit in (64 << 20, 128 << 20, 32 << 20):
        group.apply({"memory": {"limit": limit, "swap": limit * 2}, "pids": {"limit": 7}})
        stats = group.stats()
        assert (stats["memory"]["usage"]["limit"], stats["pids"]["limit"]) == (limit, 7)
    group.apply({"cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"}})


def test_a_limit_of_a_missing_controller_is_named(group: cgroups.Cgroup) -> None:
    if cgroups.read_layout().of("rdma") is not None:
        pytest.skip("this kernel has the rdma controller")
    with pytest.raises(Unsupported, match="rdma"):
        group.apply({"rdma": {"mlx5_1": {"hcaHandles": 3}}})
    with pytest.raises(InvalidArgument, match=r"cpu\.cpus"):
        group.apply({"cpu": {"cpus": "4000"}})


def test_devices_are_denied(group: cgroups.Cgroup) -> None:
    group.apply(
        {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            ]
        }
    )
    script = "read go; head -c1 /dev/zero >/dev/null; echo $?; echo x >/dev/null; echo $?"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        group.add_process(child.pid)
        out, _ = child.communicate(b"go\n", timeout=40)
    assert out.split() == [b"1", b"0"]


def test_the_kernels_kill_for_memory_is_counted(group: cgroups.Cgroup) -> None:
    group.apply({"memory": {"limit": 8 << 20, "swap": 8 << 20}})
    with subprocess.Popen(
        ["sh", "-c", "read go; exec tail /dev/zero"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        group.add_process(child.pid)
        child.communicate(b"go\n", timeout=40)
    assert child.returncode == -9
    assert group.oom_kills() == 1


def test_delete_kills_who_is_left_and_groups_below() -> None:
    group = cgroups.open_cgroup(f"/carboy-test-{os.getpid()}b")
    group.create()
    below = cgroups.open_cgroup(f"/carboy-test-{os.getpid()}b/x")
    below.create()
    with subprocess.Popen(["sleep", "100"]) as child:
        below.add_process(child.pid)
        below.close()
        # The reaper of this child is the test: the group is empty once the process is a zombie.
        group.delete()
        assert child.wait(40) == -9
    assert cgroups.read_layout().of("freezer") is not None


@pytest.mark.parametrize("by", ["group", "directories"])
def test_a_process_comes_beside_init_where_groups_are_offered_controllers(by: str) -> None:
    unified = cgroups.read_layout().unified()
    if unified is None or "hugetlb" not in unified.controllers:
        pytest.skip("version 2 serves no controller here")
    path = f"/carboy-test-{os.getpid()}c"
    group = cgroups.open_cgroup(f"{path}/inner", layout=cgroups.Layout([unified]))
    outside = cgroups.open_cgroup(path, layout=cgroups.Layout([unified]))
    group.create()
    top = group.paths()["unified"]
    joined = group if by == "group" else Directories(group.paths())
    os.makedirs(f"{top}/a/init")
    sleeps = [subprocess.Popen(["sleep", "100"]) for _ in range(2)]
    try:
        write(f"{top}/a/init/cgroup.procs", str(sleeps[0].pid))
        write(f"{top}/cgroup.subtree_control", "+hugetlb")
        joined.add_entered(sleeps[1].pid, init=sleeps[0].pid)
        assert sorted(map(int, read(f"{top}/a/init/cgroup.procs").split())) == [one.pid for one in sleeps]
        with pytest.raises((OSError, Unavailable), match="busy"):  # this process is not in the group
            joined.add_entered(sleeps[1].pid, init=os.getpid())
    finally:
        for one in sleeps:
            one.kill()
            one.wait()
        outside.open_existing()
        group.close()
        outside.delete()


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    loop = ChannelLoop()
    loop.start()
    made = Spawner(loop)
    yield made
    made.close()
    loop.stop()


def test_what_a_dead_monitor_left_is_swept(group: cgroups.Cgroup, spawner: Spawner, tmp_path: Path) -> None:
    record = {"boot_id": process.boot_id(), "cgroup": group.paths()}
    (tmp_path / "monitor.json").write_text(json.dumps(record))
    with subprocess.Popen(["sleep", "100"]) as child:
        group.add_process(child.pid)
        spawner.sweep(str(tmp_path))
        assert child.wait(40) == -9
    assert not any(os.path.exists(path) for path in group.paths().values())
    spawner.sweep(str(tmp_path))


def test_a_sweep_that_failed_is_not_taken_for_done(spawner: Spawner, tmp_path: Path) -> None:
    record = {"boot_id": process.boot_id(), "cgroup": {"memory": "/nowhere/x"}}
    (tmp_path / "monitor.json").write_text(json.dumps(record))
    with pytest.raises(Unavailable, match="cannot be removed"):
        spawner.sweep(str(tmp_path))


class KernelWorld:
    """A World of this machine's own: below a parent that goes with the test."""

    def __init__(self) -> None:
        self.layout = cgroups.read_layout()
        self.machine = cgroups.Machine()
        self.parent = f"/carboy-test-{os.getpid()}-suite"
        self.children: list[subprocess.Popen[bytes]] = []

    def process(self) -> int:
        self.children.append(subprocess.Popen(["sleep", "100"]))
        return self.children[-1].pid

    def ended(self, pid: int) -> bool:
        child = next(one for one in self.children if one.pid == pid)
        return child.wait(40) == -9

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        parent = cgroups.open_cgroup(self.parent)
        parent.open_existing()
        parent.delete()


class TestKernel(CgroupContract):
    """The contract of all versions, on whatever this machine has."""

    @pytest.fixture
    def world(self) -> Iterator[KernelWorld]:
        made = KernelWorld()
        yield made
        made.close()
