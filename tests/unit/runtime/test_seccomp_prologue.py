"""The prologue of seccomp filters, executed by a small interpreter of classic BPF."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace

import pytest

from carboy.errors import Unsupported
from carboy.runtime import seccomp

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
ENOSYS = 0x00050000 | seccomp.ENOSYS
EPERM = 0x00050000 | seccomp.EPERM
THROUGH = "falls through"


def answer(program: bytes, architecture: int, number: int) -> int | str:
    """What `program` returns for a call."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    data = {0: number, 4: architecture}
    accumulator = position = 0
    while position < len(instructions):
        code, if_true, if_false, value = instructions[position]
        position += 1
        if code == seccomp.LOAD:
            accumulator = data[value]
        elif code == seccomp.RETURN:
            return int(value)
        elif code == seccomp.JUMP:
            position += value
        else:
            holds = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_GREATER: accumulator > value,
                seccomp.JUMP_GREATER_EQUAL: accumulator >= value,
            }[code]
            position += if_true if holds else if_false
    assert position == len(instructions), "jumps past the end"
    return THROUGH


def on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))


def test_newer_calls_are_enosys_and_others_go_to_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "x86_64")
    program = seccomp.prologue([(441, EPERM)], 439)
    for architecture in (X86_64, I386):
        assert [answer(program, architecture, number) for number in (0, 423, 439)] == [THROUGH] * 3
        assert [answer(program, architecture, number) for number in (440, 441, 9999)] == [
            ENOSYS,
            EPERM,
            ENOSYS,
        ]
    assert answer(program, X86_64, seccomp.X32_BIT | 1) == THROUGH
    assert answer(program, ARM, 9999) == THROUGH
    assert seccomp.prologue([], 0) == b""


@pytest.mark.parametrize("newest", [seccomp.FIRST_SHARED - 1, 450])
def test_the_private_calls_of_32_bit_arm_are_the_profiles(
    monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    """set_tls, without which no program there starts, and cacheflush: they are no newer calls."""
    on(monkeypatch, "aarch64")
    program = seccomp.prologue([], newest)
    assert [answer(program, ARM, number) for number in range(0xF0001, 0xF0006)] == [THROUGH] * 5
    for architecture in (AARCH64, ARM):
        assert [answer(program, architecture, number) for number in (0, newest)] == [THROUGH] * 2
        assert [answer(program, architecture, number) for number in (newest + 1, 0xEFFFF)] == [ENOSYS] * 2


@pytest.mark.parametrize("names", [["read"], ["read", "close_range"]])
def test_a_profile_of_old_calls_tells_that_newer_ones_are_not_there(names: list[str]) -> None:
    """clone3 with EPERM would keep glibc from making threads at all."""
    machine = seccomp.AUDIT_ARCHITECTURES.get(os.uname().machine)
    if machine is None:
        pytest.skip("no prologue on this machine")
    wanted = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    try:
        program = seccomp.filter_for(wanted).program
    except Unsupported:
        pytest.skip("needs libseccomp")
    newest = max(seccomp.NEWER_CALLS.get(name, seccomp.FIRST_SHARED - 1) for name in names)
    assert answer(program, machine[0], newest + 1) == ENOSYS
    assert answer(program, machine[0], 9999) == ENOSYS
    assert answer(program, machine[0], 39) == EPERM


@pytest.mark.parametrize(
    ("default", "action"),
    [("ALLOW", seccomp.ALLOW), ("LOG", 0x7FFC0000), ("TRACE", seccomp.TRACE | seccomp.EPERM)],
)
def test_a_profile_that_allows_by_default_allows_newer_calls(default: str, action: int) -> None:
    wanted = {
        "defaultAction": f"SCMP_ACT_{default}",
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    try:
        program = seccomp.filter_for(wanted).program
    except Unsupported:
        pytest.skip("needs libseccomp")
    native = seccomp.AUDIT_ARCHITECTURES[os.uname().machine][0]
    assert answer(program, native, 9999) == action
