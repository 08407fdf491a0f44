"""cgroup v2 without a v2 machine: the contract on the tree in memory, and what only v2 has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from carboy.errors import Conflict, Unavailable, Unsupported
from carboy.runtime import cgroups
from carboy.runtime.cgroups import oom
from suites.cgroups import CgroupContract
from support.cgroup2 import Tree


class MemoryWorld:
    """A World in memory."""

    parent = "/p/q"

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.layout = tree.layout
        self.machine: cgroups.Machine = tree  # type: ignore[assignment]  # the same face, nothing inherited

    def process(self) -> int:
        return self.tree.process()

    def ended(self, pid: int) -> bool:
        return pid not in self.tree.alive


class TestTree(CgroupContract):
    """With and without cgroup.kill (Linux 5.14)."""

    @pytest.fixture(params=[True, False], ids=["kill-file", "signals"])
    def world(self, request: pytest.FixtureRequest) -> Iterator[MemoryWorld]:
        tree = Tree(has_kill=request.param)
        yield MemoryWorld(tree)
        assert tree.opened == 0, "directories were left open"


@pytest.fixture
def tree() -> Tree:
    return Tree()


def make(tree: Tree, path: str = "/carboy/x") -> cgroups.Cgroup:
    made = cgroups.open_cgroup(path, layout=tree.layout, machine=tree)  # type: ignore[arg-type]  # as above
    made.create()
    return made


def test_controllers_are_offered_all_the_way_down(tree: Tree) -> None:
    group = make(tree, "/a/b/c")
    assert set(tree.group("/a/b").enabled) == {
        "cpu",
        "cpuset",
        "hugetlb",
        "io",
        "memory",
        "misc",
        "pids",
        "rdma",
    }
    assert tree.group("/a/b/c").enabled == []
    assert group.paths() == {"unified": "/sys/fs/cgroup/a/b/c"}
    group.delete()


def test_a_process_comes_beside_init_when_the_group_offers_controllers(tree: Tree) -> None:
    group = make(tree)
    below = cgroups.open_cgroup("/carboy/x/a/init", layout=tree.layout, machine=tree)  # type: ignore[arg-type]
    init, other = tree.process(), tree.process()
    below.create()
    below.add_process(init)
    group.add_entered(other, init=init)
    assert tree.group("/carboy/x/a/init").members == [init, other]
    with pytest.raises(Unavailable):
        group.add_entered(other, init=tree.process())
    below.close()
    group.delete()


def test_every_kind_of_limit_reaches_its_file(tree: Tree) -> None:
    group = make(tree)
    group.apply(
        {
            "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 7, "idle": 1, "cpus": "0"},
            "pids": {"limit": 9},
            "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 99}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}],
            "rdma": {"mlx5_1": {"hcaHandles": 3}},
            "unified": {"memory.high": "900"},
        }
    )
    values = {name: value.strip() for name, value in tree.group("/carboy/x").values.items()}
    assert values == {
        "memory.max": "1000",
        "memory.swap.max": "500",
        "memory.low": "500",
        "memory.high": "900",
        "cpu.weight": "100",
        "cpu.max": "50000 100000",
        "cpu.max.burst": "7",
        "cpu.idle": "1",
        "cpuset.cpus": "0",
        "pids.max": "9",
        "io.weight": "default 4950",
        "io.max": "8:0 rbps=99",
        "hugetlb.2MB.max": "2097152",
        "hugetlb.2MB.rsvd.max": "2097152",
        "rdma.max": "mlx5_1 hca_handle=3",
    }
    group.delete()


@pytest.mark.parametrize(
    ("offered", "written"),
    [
        ("io.weight", {"io.weight": "default 4950"}),
        ("io.bfq.weight", {"io.bfq.weight": "default 500"}),
        ("io.weight io.bfq.weight", {"io.weight": "default 4950", "io.bfq.weight": "default 500"}),
    ],
)
def test_a_weight_is_converted_only_where_the_file_wants_it(
    tree: Tree, offered: str, written: dict[str, str]
) -> None:
    group = make(tree)
    found = tree.group("/carboy/x")
    found.lacks = {"io.weight"} - set(offered.split())
    found.values = {"io.bfq.weight": "default 100\n"} if "bfq" in offered else {}
    group.apply({"blockIO": {"weight": 500}})
    assert {name: value.strip() for name, value in found.values.items()} == written
    group.delete()


def test_a_weight_without_a_scheduler_that_knows_it_is_refused(tree: Tree) -> None:
    group = make(tree)
    tree.group("/carboy/x").lacks = {"io.weight"}
    with pytest.raises(Unsupported, match=r"blockIO\.weight"):
        group.apply({"blockIO": {"weight": 500}})
    group.delete()


def test_figures(tree: Tree) -> None:
    group = make(tree)
    stats = group.stats()
    assert stats["cpu"] == {
        "usage": {"total": 30000, "user": 20000, "kernel": 10000},
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 1000},
    }
    assert stats["memory"]["cache"] == 4096
    assert stats["blkio"]["ioServiceBytesRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 512},
        {"major": 8, "minor": 0, "op": "Write", "value": 1024},
    ]
    tree.group("/carboy/x").values["memory.events"] = "oom 2\noom_kill 1\n"
    assert group.oom_kills() == 1
    group.delete()


def test_device_rules_become_a_program(tree: Tree) -> None:
    group = make(tree)
    group.apply(
        {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3}]}
    )
    program = tree.group("/carboy/x").device_program
    assert program
    assert len(program) % 8 == 0
    group.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert len(tree.group("/carboy/x").device_program) < len(program)
    group.delete()


def test_less_memory_than_is_used_is_a_conflict(tree: Tree) -> None:
    group = make(tree)
    tree.group("/carboy/x").values["memory.current"] = "5000"
    with pytest.raises(Conflict, match="uses more than that now"):
        group.apply({"memory": {"limit": 1000}})
    group.delete()


def test_what_the_machine_lacks_is_named() -> None:
    tree = Tree(controllers=("memory",))
    group = make(tree)
    with pytest.raises(Unsupported, match="'pids'"):
        group.apply({"pids": {"limit": 3}})
    with pytest.raises(Unsupported, match="hugetlb"):
        group.apply({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]})
    group.apply({"memory": {"limit": 4096}})
    group.delete()


def test_memory_kills_are_watched_by_the_file_of_events(tree: Tree) -> None:
    import os

    group = make(tree)
    found = group.watch_oom()
    assert found is not None
    fd, events = found
    assert events == oom.EPOLLPRI
    cgroups.drain_oom(fd)
    os.close(fd)
    group.delete()
