"""Syscall numbers that libc may not wrap yet, one row a call: (x86-64, arm64).

`SYSCALLS[name]` is the number on this machine; an unknown machine has an empty table, and
`number` then says so.
"""

from __future__ import annotations

import errno
import os

TABLE = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "capget": (125, 90),
    "capset": (126, 91),
    "personality": (135, 92),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    # From here on every architecture has the same number.
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
}

MACHINE = os.uname().machine
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE)
SYSCALLS: dict[str, int] = {} if _COLUMN is None else {name: row[_COLUMN] for name, row in TABLE.items()}


def number(name: str) -> int:
    """The number of syscall `name` here; OSError(ENOSYS) on a machine that the table lacks."""
    try:
        return SYSCALLS[name]
    except KeyError:
        raise OSError(errno.ENOSYS, f"{name}: no syscall number known for {MACHINE}") from None
