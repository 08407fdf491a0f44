"""`carboy-runtime update` on v2: what was not named stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import InvalidArgument
from carboy.runtime import cgroups, state
from carboy.runtime.cgroups import Cgroup
from carboy.runtime.command import COMMANDS, limits
from carboy.runtime.command.call import Call
from carboy.runtime.command.flags import Flags, parse
from support.cgroup2 import Tree

LIMITS: dict[str, Any] = {
    "memory": {"limit": 100 << 20, "swap": 150 << 20},
    "cpu": {"quota": 50000, "period": 100000, "shares": 512},
}


class Updated(state.Container):
    """A container whose group is in memory."""

    made: Cgroup

    def group(self) -> Cgroup:
        return self.made

    def status(self) -> str:
        return "running"


class UpdateCall(Call):
    """A call that finds it."""

    def __init__(self, words: list[str], found: Updated) -> None:
        super().__init__(Flags())
        self.flags, self.arguments = parse(words, COMMANDS["update"][2])
        self.found = found

    def container(self, *, more: int = 0) -> Updated:
        return self.found


class Calls:
    """`update` on that container."""

    def __init__(self, place: Path, tree: Tree) -> None:
        self.tree = tree
        self.root = str(place)
        group = cgroups.open_cgroup("/x", layout=tree.layout, machine=tree)  # type: ignore[arg-type]  # same face
        group.create()
        group.apply(LIMITS)
        config = {"linux": {"resources": LIMITS | {"memory": dict(LIMITS["memory"])}}}
        Updated.make(self.root, "one", "/bundle", config)
        self.group = group

    def container(self) -> Updated:
        found = Updated.load(self.root, "one")
        assert isinstance(found, Updated)
        found.made = self.group
        return found

    def update(self, *words: str) -> dict[str, str]:
        limits.update(UpdateCall([*words, "one"], self.container()))
        return {name: text.strip() for name, text in self.tree.group("/x").values.items()}


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    made = Calls(tmp_path, Tree())
    yield made
    made.group.delete()


def test_a_period_keeps_the_quota(calls: Calls) -> None:
    assert calls.update("--cpu-period", "50000")["cpu.max"] == "50000 50000"
    assert calls.update("--cpu-quota", "20000")["cpu.max"] == "20000 50000"
    assert calls.update("--cpu-quota", "-1")["cpu.max"] == "max 50000"


def test_swap_is_counted_from_the_limit_that_is_there(calls: Calls) -> None:
    found = calls.update("--memory-swap", "300m")
    assert (found["memory.max"], found["memory.swap.max"]) == (str(100 << 20), str(200 << 20))
    found = calls.update("--memory", "250m")
    assert (found["memory.max"], found["memory.swap.max"]) == (str(250 << 20), str(50 << 20))
    with pytest.raises(InvalidArgument, match=r"memory\.swap"):
        calls.update("--memory", "400m")


def test_no_limit_on_memory_is_none_on_swap(calls: Calls) -> None:
    found = calls.update("--memory", "-1")
    assert (found["memory.max"], found["memory.swap.max"]) == ("max", "max")
    assert calls.update("--memory", "70m")["memory.swap.max"] == "max"


def test_what_has_nothing_to_do_with_it_is_not_written(calls: Calls) -> None:
    calls.tree.group("/x").values.clear()
    assert calls.update("--memory-reservation", "5m", "--cpu-shares", "1024") == {
        "memory.low": str(5 << 20),
        "cpu.weight": "100",
    }
