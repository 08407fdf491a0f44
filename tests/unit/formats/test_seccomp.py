"""Conditions of seccomp profiles: what counts for which container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import InvalidArgument
from carboy.formats import seccomp

DEFAULT = json.loads((Path(seccomp.__file__).parent / "seccomp_default.json").read_text())


def resolve(
    profile: dict[str, Any], *caps: str, machine: str = "x86_64", kernel: tuple[int, int] = (6, 1)
) -> dict[str, Any]:
    return seccomp.resolve(profile, capabilities=caps, machine=machine, kernel=kernel)


def names(resolved: dict[str, Any], action: str = "SCMP_ACT_ALLOW") -> set[str]:
    return {name for rule in resolved["syscalls"] if rule["action"] == action for name in rule["names"]}


def one(condition: dict[str, Any], key: str = "includes", **more: Any) -> dict[str, Any]:
    rule = {"names": ["x"], "action": "SCMP_ACT_ALLOW", key: condition, **more}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}


def test_the_default_profile_by_capabilities() -> None:
    plain, admin = resolve(DEFAULT), resolve(DEFAULT, "CAP_SYS_ADMIN")
    assert len(plain["syscalls"][0]["names"]) == 361
    assert names(admin) - names(plain) >= {"mount", "unshare", "setns", "bpf", "clone3", "fsopen"}
    assert "clone3" in names(plain, "SCMP_ACT_ERRNO")
    assert "clone3" not in names(admin, "SCMP_ACT_ERRNO")
    assert "open_by_handle_at" in names(resolve(DEFAULT, "CAP_DAC_READ_SEARCH")) - names(plain)
    never = {"io_uring_setup", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load", "swapon"}
    assert not never & names(resolve(DEFAULT, *("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_NICE")))


def test_the_default_profile_by_architecture_and_kernel() -> None:
    arm = resolve(DEFAULT, machine="aarch64")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "arch_prctl" not in names(arm)
    assert resolve(DEFAULT)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "arch_prctl" in names(resolve(DEFAULT))
    assert "ptrace" not in names(resolve(DEFAULT, kernel=(4, 7)))
    assert "ptrace" in names(resolve(DEFAULT, kernel=(4, 8))) & names(resolve(DEFAULT, kernel=(6, 18)))


@pytest.mark.parametrize(
    ("condition", "key", "counts"),
    [
        ({"caps": ["A"]}, "includes", True),
        ({"caps": ["A", "C"]}, "includes", False),
        ({"caps": ["C"]}, "includes", False),
        ({"caps": ["C"]}, "excludes", True),
        ({"caps": ["A", "C"]}, "excludes", False),
        ({"arches": ["amd64", "x32"]}, "includes", True),
        ({"arches": ["arm64"]}, "includes", False),
        ({"arches": ["amd64"]}, "excludes", False),
        ({"minKernel": "6.1"}, "includes", True),
        ({"minKernel": "6.2"}, "includes", False),
        ({"minKernel": "10.0"}, "includes", False),
        ({"minKernel": "6.1"}, "excludes", False),
        ({"minKernel": "6.2"}, "excludes", True),
        ({"caps": ["A"], "arches": ["arm64"]}, "includes", False),
        ({}, "includes", True),
    ],
)
def test_conditions(condition: dict[str, Any], key: str, counts: bool) -> None:
    assert bool(resolve(one(condition, key), "A", "B")["syscalls"]) is counts


def test_what_a_rule_keeps() -> None:
    arguments = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    profile = one({}, args=arguments, errnoRet=0, comment="not passed on")
    assert resolve(profile)["syscalls"] == [
        {"names": ["x"], "action": "SCMP_ACT_ALLOW", "errnoRet": 0, "args": arguments}
    ]
    old = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "flags": ["F"], "syscalls": [
        {"name": "old", "action": "SCMP_ACT_ALLOW"}
    ]}  # fmt: skip
    resolved = resolve(old)
    assert (resolved["defaultErrnoRet"], resolved["flags"], resolved["syscalls"][0]["names"]) == (
        5,
        ["F"],
        ["old"],
    )


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"defaultAction": 3},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["a"], "archMap": [{"architecture": "b"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"]}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["text"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "text"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "x", "action": "SCMP_ACT_ALLOW"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "archMap": "text"},
        {"defaultAction": "SCMP_ACT_ALLOW", "archMap": ["text"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": "text"},
        one({"minKernel": "six"}),
        one({"minKernel": 6}),
        one({"caps": "A"}),
        one("text"),  # type: ignore[arg-type]  # what a client may send
        one({}, args="text"),
        one({}, args=["text"]),
    ],
)
def test_what_is_no_profile_is_refused(profile: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile"):
        resolve(profile)


def test_kernel_versions() -> None:
    assert seccomp.kernel_version("4.8") == (4, 8)
    assert seccomp.kernel_version("6.18.44-x") == (6, 18)
    for text in ("", "4", "x.y", "4.x", ".8"):
        with pytest.raises(InvalidArgument):
            seccomp.kernel_version(text)
