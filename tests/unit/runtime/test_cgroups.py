"""Control groups decided in pure code: settings, device rules, layouts."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from carboy.errors import InvalidArgument, Unsupported
from carboy.runtime.cgroups import devices, devices_bpf, hierarchy, settings

DOCKER_RULES = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
    {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
]


def run(program: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """Interpret the few instructions that the assembler uses."""
    context = struct.pack("<III", access << 16 | devices_bpf.TYPES[kind], major, minor)
    registers = [0] * 11
    counter = 0
    while True:
        code, pair, offset, immediate = struct.unpack_from("<BBhi", program, counter * 8)
        destination, source = pair & 15, pair >> 4
        counter += 1
        if code == devices_bpf.LOAD_WORD:
            assert source == 1
            registers[destination] = struct.unpack_from("<I", context, offset)[0]
        elif code == devices_bpf.MOVE_REG:
            registers[destination] = registers[source]
        elif code == devices_bpf.MOVE_IMM:
            registers[destination] = immediate
        elif code == devices_bpf.AND_IMM:
            registers[destination] &= immediate
        elif code == devices_bpf.SHIFT_RIGHT_IMM:
            registers[destination] >>= immediate
        elif code == devices_bpf.JUMP_NOT_EQUAL_IMM:
            counter += offset if registers[destination] != immediate else 0
        elif code == devices_bpf.JUMP_EQUAL_IMM:
            counter += offset if registers[destination] == immediate else 0
        else:
            assert code == devices_bpf.EXIT
            return registers[0]


def test_dockers_device_rules() -> None:
    state = devices.reduce_rules(DOCKER_RULES)
    assert state.permits("c", 1, 3, devices.READ | devices.WRITE)
    assert state.permits("c", 7, 7, devices.MKNOD)
    assert not state.permits("c", 7, 7, devices.READ)
    assert state.permits("c", 136, 5, devices.WRITE)
    assert not state.permits("b", 8, 0, devices.READ)
    base, lines, exceptions = devices.v1_lines(state)
    assert (base, exceptions) == ("devices.deny", "devices.allow")
    assert "c 1:3 rwm" in lines
    assert "c 136:* rwm" in lines


DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"type": "c", "major": 10}, {"type": "c", "major": 10, "minor": 200, "access": "rwm"}),
        ({"type": "c", "minor": 200}, {"type": "c", "major": 10}),
        ({"type": "c"}, {"type": "a", "major": 10, "access": "w"}),
        ({"type": "b", "access": "r"}, {"type": "b", "major": 8, "minor": 0}),
    ],
)
def test_a_part_of_a_range_is_not_denied_in_appearance_only(
    wide: dict[str, Any], narrow: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported, match="a part of what"):
        devices.reduce_rules([DENY_ALL, {"allow": True, **wide}, {"allow": False, **narrow}])
    with pytest.raises(Unsupported, match="a part of what"):
        devices.reduce_rules([{"allow": False, **wide}, {"allow": True, **narrow}])


def test_a_range_that_is_denied_takes_what_lies_within_along() -> None:
    allowed = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}
    state = devices.reduce_rules([DENY_ALL, allowed, {"allow": False, "type": "c", "major": 10}])
    assert not state.permits("c", 10, 200, devices.READ)
    state = devices.reduce_rules([DENY_ALL, allowed, {"allow": False, "type": "c", "access": "w"}])
    assert state.permits("c", 10, 200, devices.READ)
    assert not state.permits("c", 10, 200, devices.WRITE)


def last_word(rules: list[dict[str, Any]], kind: str, major: int, minor: int, access: int) -> bool:
    """One bit of access, as the last rule says that is about it."""
    for rule in reversed(rules):
        one, rule_major, rule_minor, bits, allow = devices.parse_rule(rule)
        about = one in ("a", kind) and rule_major in (-1, major) and rule_minor in (-1, minor)
        if about and (bits & access or (one == "a" and rule_major == rule_minor == -1)):
            return allow
    return True


def test_the_program_answers_as_the_rules() -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(400):
        rules: list[dict[str, Any]] = [
            {
                "allow": chance.random() < 0.5,
                "type": chance.choice(["a", "b", "c"]),
                "major": chance.choice([-1, 1, 2]),
                "minor": chance.choice([-1, 1, 2]),
                "access": chance.choice(["r", "rw", "rwm", "m"]),
            }
            for _ in range(chance.randrange(6))
        ]
        try:
            state = devices.reduce_rules(rules)
        except Unsupported:
            refused += 1
            continue
        program = devices_bpf.assemble(state)
        for kind in "bc":
            for major in (1, 2, 3):
                for access in range(1, 8):
                    assert run(program, kind, major, 1, access) == state.permits(kind, major, 1, access)
                for access in (devices.READ, devices.WRITE):
                    wanted = last_word(rules, kind, major, 1, access)
                    assert state.permits(kind, major, 1, access) == wanted
    assert refused < 200


def flat(resources: dict[str, Any], version: int) -> dict[str, str]:
    return {
        setting.files[0]: setting.value
        for group in settings.plan(resources, lambda _: version)
        for setting in group
    }


def test_memory_and_swap_in_both_versions() -> None:
    resources: dict[str, Any] = {"memory": {"limit": 100, "swap": 150, "reservation": 50}}
    assert flat(resources, 1) == {
        "memory.limit_in_bytes": "100",
        "memory.memsw.limit_in_bytes": "150",
        "memory.soft_limit_in_bytes": "50",
    }
    assert flat(resources, 2) == {"memory.swap.max": "50", "memory.max": "100", "memory.low": "50"}
    with pytest.raises(InvalidArgument):
        flat({"memory": {"limit": 100, "swap": 50}}, 1)


def test_cpu_in_both_versions() -> None:
    resources: dict[str, Any] = {"cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1"}}
    assert flat(resources, 1) == {
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "cpuset.cpus": "0-1",
    }
    assert flat(resources, 2) == {"cpu.weight": "100", "cpu.max": "50000 100000", "cpuset.cpus": "0-1"}
    assert [settings.weight_of_shares(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]


def test_pids_and_unified() -> None:
    assert flat({"pids": {"limit": -1}}, 1) == {"pids.max": "max"}
    assert flat({"unified": {"memory.high": "10"}}, 2) == {"memory.high": "10"}
    for file in ("../x", "cgroup.procs", "memory"):
        with pytest.raises(InvalidArgument):
            flat({"unified": {file: "1"}}, 2)


HYBRID = """\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:31 / /mnt/a\\040b rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_layouts() -> None:
    layout = hierarchy.parse_mountinfo(HYBRID, lambda path: "hugetlb\n")
    assert layout.mode == "hybrid"
    found = {name: layout.of(name) for name in ("memory", "cpuacct", "hugetlb", "freezer")}
    assert {name: one and one.mount_point for name, one in found.items()} == {
        "memory": "/sys/fs/cgroup/memory",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "hugetlb": "/sys/fs/cgroup/unified",
        "freezer": "/sys/fs/cgroup/unified",
    }
    pure = hierarchy.parse_mountinfo(HYBRID.splitlines()[-1], lambda path: "memory io")
    assert pure.mode == "v2"
    assert pure.of("blkio") is pure.of("freezer") is pure.unified()


@pytest.mark.parametrize("names", ["net_cls", "none,name=systemd", "freezer"])
def test_one_controller_of_v1_takes_nothing_else_from_v2(names: str) -> None:
    stray = f"60 31 0:50 / /mnt/stray rw - cgroup cgroup rw,{names}\n"
    layout = hierarchy.parse_mountinfo(stray + HYBRID.splitlines()[-1], lambda path: "memory io")
    assert layout.of("devices") is layout.unified()
    freezer = layout.of("freezer")
    assert freezer is not None
    assert freezer.version == (1 if names == "freezer" else 2)


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/carboy/x/init", "/init"),
        ("/carboy/x/system.slice/a.service", "/system.slice/a.service"),
        ("/carboy/x", ""),
        ("/carboy/xy/init", ""),
        ("/", ""),
        ("/../other/init", ""),
    ],
)
def test_where_below_a_group_a_process_is(path: str, below: str) -> None:
    text = f"3:pids:/carboy/x/no\n0::{path}\n"
    for group in ("/carboy/x", "/sys/fs/cgroup/carboy/x"):
        assert hierarchy.below(group, text) == below


def test_paths() -> None:
    assert hierarchy.resolve_path("", container_id="x", parent="/carboy") == "/carboy/x"
    assert hierarchy.resolve_path("a:b:c", container_id="x", parent="/carboy") == "/a/b-c.scope"
    assert hierarchy.resolve_path("/p/q", container_id="x", parent="/carboy") == "/p/q"
    assert hierarchy.resolve_path("q", container_id="x", parent="") == "/q"
    for unsafe in ("/", "/a/../b", "a/\n"):
        with pytest.raises(InvalidArgument):
            hierarchy.resolve_path(unsafe, container_id="x", parent="/carboy")
