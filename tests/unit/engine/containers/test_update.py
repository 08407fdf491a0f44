"""Updates: how what is asked meets what is, what the kernel is told, how it is taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carboy.engine.containers.update import changed, check_policy, merge, with_defaults
from carboy.engine.spec.controllers import Controllers
from carboy.engine.spec.limits import check_resources, set_text
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig, Resources, RestartPolicy
from unit.engine.spec.test_document import FACTS

MEGA = 1 << 20


def after(host: dict[str, Any], wanted: dict[str, Any]) -> tuple[HostConfig, HostConfig]:
    before = HostConfig(**host)
    return before, merge(before, Resources(**wanted))


def test_only_what_is_named_changes() -> None:
    before, found = after({"cpu_shares": 512, "pids_limit": 5}, {"memory": 64 * MEGA, "cpuset_cpus": "0"})
    assert (found.cpu_shares, found.pids_limit) == (512, 5)
    assert changed(before, found) == {
        "memory": {"limit": 64 * MEGA, "swap": 128 * MEGA},
        "cpu": {"cpus": "0"},
    }
    assert changed(before, before) == {}


def test_memory_and_swap_go_together() -> None:
    before, found = after({"memory": 64 * MEGA, "memory_swap": 128 * MEGA}, {"memory": 32 * MEGA})
    assert changed(before, found)["memory"] == {"limit": 32 * MEGA, "swap": 128 * MEGA}
    before, found = after({"memory": 64 * MEGA, "memory_swap": -1}, {"memory": 256 * MEGA})
    assert changed(before, found)["memory"] == {"limit": 256 * MEGA, "swap": -1}
    with pytest.raises(InvalidArgument, match="update the memoryswap at the same time"):
        after({"memory": 64 * MEGA, "memory_swap": 128 * MEGA}, {"memory": 256 * MEGA})


@pytest.mark.parametrize(
    ("host", "wanted", "text"),
    [
        ({"nano_cpus": 10**9}, {"cpu_quota": 5000}, "CPU Quota cannot be updated as NanoCPUs"),
        ({"nano_cpus": 10**9}, {"cpu_period": 5000}, "CPU Period cannot be updated as NanoCPUs"),
        ({"cpu_quota": 5000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Quota"),
        ({"cpu_period": 5000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Period"),
    ],
)
def test_two_ways_to_limit_processors_exclude_each_other(
    host: dict[str, Any], wanted: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        after(host, wanted)


def test_quota_and_period_go_together() -> None:
    before, found = after({"cpu_quota": 5000}, {"cpu_period": 20000})
    assert changed(before, found)["cpu"] == {"quota": 5000, "period": 20000}
    before, found = after({}, {"nano_cpus": 5 * 10**8})
    assert changed(before, found)["cpu"] == {"quota": 50_000, "period": 100_000}


def test_limits_that_are_lifted() -> None:
    before, found = after({"pids_limit": 5, "oom_kill_disable": True}, {"pids_limit": -1})
    assert changed(before, found) == {"pids": {"limit": -1}}
    before, found = after({"oom_kill_disable": True}, {"oom_kill_disable": False})
    assert changed(before, found) == {"memory": {"disableOOMKiller": False}}


def test_what_was_applied_is_taken_back() -> None:
    before, found = after({"pids_limit": None}, {"pids_limit": 7, "cpu_shares": 99, "memory": 64 * MEGA})
    back = changed(found, before, all_=with_defaults(before, FACTS))
    assert back == {
        "memory": {"limit": -1, "swap": -1},
        "cpu": {"shares": 1024},
        "pids": {"limit": -1},
    }


def test_restart_policies() -> None:
    check_policy(RestartPolicy(name="on-failure", maximum_retry_count=3))
    check_policy(RestartPolicy())
    for name, count in (("bogus", 0), ("always", 1), ("on-failure", -1)):
        with pytest.raises(InvalidArgument, match="invalid restart policy"):
            check_policy(RestartPolicy(name=name, maximum_retry_count=count))


def test_what_the_machine_cannot_limit_is_warned_about_and_left_out() -> None:
    nothing = Controllers(**dict.fromkeys(Controllers.__dataclass_fields__, False))
    facts = replace(FACTS, controllers=nothing)
    wanted = Resources(
        memory=64 * MEGA,
        memory_reservation=32 * MEGA,
        memory_swappiness=5,
        oom_kill_disable=True,
        cpu_shares=512,
        cpu_quota=5000,
        cpuset_cpus="0",
        pids_limit=5,
        blkio_weight=50,
    )
    warnings = check_resources(wanted, facts)
    assert len(warnings) == 9
    assert all("Your kernel does not support" in warning for warning in warnings)
    assert "Your kernel does not support OomKillDisable. OomKillDisable discarded." in warnings
    wanted.memory_swap = 0
    assert wanted == Resources()


def test_sets_as_the_kernel_writes_them() -> None:
    assert set_text(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"
    assert set_text(frozenset()) == ""
