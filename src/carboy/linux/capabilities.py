"""Capabilities: names, numbers and the five sets of a thread."""

from __future__ import annotations

import struct

from carboy.linux.libc import read_file, syscall
from carboy.linux.process import prctl

NAMES: tuple[str, ...] = tuple(
    "CAP_" + name
    for name in (
        *(
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
        ),
        *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK"),
        *("IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN"),
        *("SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE"),
        *("AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM"),
        *("BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
    )
)
"""Every capability's name; the position is its number."""

NUMBERS: dict[str, int] = {name: position for position, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


def last_capability() -> int:
    """The highest capability number that this kernel knows."""
    return int(read_file("/proc/sys/kernel/cap_last_cap"))


def mask(names: tuple[str, ...] | list[str]) -> int:
    """The bits of `names`; KeyError for a name that is none."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def capget() -> tuple[int, int, int]:
    """(effective, permitted, inheritable) of this thread."""
    import ctypes  # costs nothing: libc.py has loaded it

    data = ctypes.create_string_buffer(24)
    syscall("capget", struct.pack("=Ii", _VERSION_3, 0), data)
    low = struct.unpack("=6I", data.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set three of the five sets of this thread."""
    words = [
        (bits >> shift) & 0xFFFFFFFF for shift in (0, 32) for bits in (effective, permitted, inheritable)
    ]
    syscall("capset", struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", *words))


def drop_bounding(keep: int, last: int) -> None:
    """Remove from the bounding set every capability up to `last` that is not in `keep`."""
    for capability in range(last + 1):
        if not keep >> capability & 1 and prctl(_PR_CAPBSET_READ, capability):
            prctl(_PR_CAPBSET_DROP, capability)


def bounding(last: int) -> int:
    """The bounding set of this thread."""
    bits = 0
    for capability in range(last + 1):
        if prctl(_PR_CAPBSET_READ, capability):
            bits |= 1 << capability
    return bits


def clear_ambient() -> None:
    """Empty the ambient set."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def raise_ambient(capability: int) -> None:
    """Add to the ambient set; it must be permitted and inheritable already."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
