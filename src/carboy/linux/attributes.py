"""Small attributes of a process: session keyring, personality, I/O priority, scheduling, memory policy."""

from __future__ import annotations

import struct

from carboy.linux.libc import syscall

_KEYCTL_JOIN_SESSION_KEYRING = 1
_IOPRIO_WHO_PROCESS = 1

IOPRIO_CLASSES: dict[str, int] = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

SCHED_POLICIES: dict[str, int] = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}

SCHED_FLAGS: dict[str, int] = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}

PER_LINUX = 0x0000
PER_LINUX32 = 0x0008


def join_session_keyring(name: str) -> int:
    """Give this process a new session keyring of that name."""
    return syscall("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, name.encode(), 0, 0, 0)


def personality(persona: int) -> int:
    """Set the execution domain; returns the previous one."""
    return syscall("personality", persona)


def ioprio_set(io_class: int, priority: int) -> None:
    """I/O class and priority of this thread."""
    syscall("ioprio_set", _IOPRIO_WHO_PROCESS, 0, io_class << 13 | priority)


def sched_setattr(
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """Scheduling policy and parameters of this thread."""
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    syscall("sched_setattr", 0, attributes, 0)
