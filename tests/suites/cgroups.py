"""What a control group does, whichever the version: the kernel's own and the tree in memory pass.

A test class derives from `CgroupContract` and has the fixture `world`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from carboy.errors import InvalidArgument
from carboy.runtime import cgroups


class World(Protocol):
    """A machine with control groups, and processes to put into them."""

    layout: cgroups.Layout
    machine: cgroups.Machine
    parent: str

    def process(self) -> int: ...
    def ended(self, pid: int) -> bool: ...


class CgroupContract:
    """Making, members, limits, freezing, killing, removing."""

    def open(self, world: World, name: str) -> cgroups.Cgroup:
        return cgroups.open_cgroup(f"{world.parent}/{name}", layout=world.layout, machine=world.machine)

    @pytest.fixture
    def group(self, world: World) -> Iterator[cgroups.Cgroup]:
        made = self.open(world, "one")
        made.create()
        yield made
        made.delete()

    def test_members_come_and_are_found_again(self, world: World, group: cgroups.Cgroup) -> None:
        pid = world.process()
        assert group.processes() == []
        group.add_process(pid)
        assert group.processes() == [pid]
        again = cgroups.attach(group.paths(), layout=world.layout, machine=world.machine)
        assert again.processes() == [pid]
        again.close()
        group.kill_all()
        assert world.ended(pid)
        assert group.processes() == []

    def test_where_it_will_be_is_known_before(self, world: World) -> None:
        made = self.open(world, "one")
        planned = made.planned_paths()
        assert made.paths() == {}
        made.create()
        assert made.paths() == planned != {}
        made.delete()

    def test_making_it_twice_is_the_same_group(self, world: World, group: cgroups.Cgroup) -> None:
        group.add_process(world.process())
        other = self.open(world, "one")
        other.create()
        assert other.processes() == group.processes() != []
        other.close()

    def test_limits_are_changed_both_ways(self, group: cgroups.Cgroup) -> None:
        for limit in (64 << 20, 128 << 20, 32 << 20):
            group.apply({"memory": {"limit": limit, "swap": limit * 2}, "pids": {"limit": 7}})
            stats = group.stats()
            assert (stats["memory"]["usage"]["limit"], stats["pids"]["limit"]) == (limit, 7)
        group.apply(
            {"pids": {"limit": -1}, "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"}}
        )
        assert group.stats()["pids"]["limit"] == 0

    def test_a_value_that_the_kernel_refuses_is_named(self, group: cgroups.Cgroup) -> None:
        with pytest.raises(InvalidArgument, match=r"cpu\.cpus to 4000"):
            group.apply({"cpu": {"cpus": "4000"}})

    def test_freezing(self, world: World, group: cgroups.Cgroup) -> None:
        group.add_process(world.process())
        group.freeze()
        assert group.frozen()
        group.freeze()
        group.thaw()
        assert not group.frozen()

    def test_the_frozen_can_be_killed(self, world: World, group: cgroups.Cgroup) -> None:
        pids = [world.process(), world.process()]
        for pid in pids:
            group.add_process(pid)
        group.freeze()
        group.kill_all()
        assert all(world.ended(pid) for pid in pids)

    def test_deleting_takes_members_and_groups_below_along(self, world: World) -> None:
        top, below = self.open(world, "two"), self.open(world, "two/a")
        top.create()
        below.create()
        pid = world.process()
        below.add_process(pid)
        assert top.processes() == [pid]
        below.close()
        top.delete()
        assert world.ended(pid)
        with pytest.raises(FileNotFoundError):
            self.directory(world, "two")
        self.open(world, "two").delete()

    def directory(self, world: World, name: str) -> None:
        """Raises FileNotFoundError when the group is in no hierarchy."""
        found = self.open(world, name)
        found.open_existing()
        paths = found.paths()
        found.close()
        if not paths:
            raise FileNotFoundError(name)

    def test_nobody_was_killed_for_memory(self, group: cgroups.Cgroup) -> None:
        assert group.oom_kills() == 0
        stats = group.stats()
        assert {"cpu", "memory", "pids", "blkio"} <= set(stats)
        assert stats["cpu"]["usage"]["total"] >= 0
