"""Loading a compiled seccomp filter."""

from __future__ import annotations

import ctypes
import errno

from carboy.linux.libc import syscall

SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32

FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

_SECCOMP_SET_MODE_FILTER = 1


class _Program(ctypes.Structure):
    # struct sock_fprog
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load(bpf: bytes, flags: int = 0) -> int:
    """Install the filter (an array of struct sock_filter) on this thread.

    Returns the listener's descriptor with SECCOMP_FILTER_FLAG_NEW_LISTENER, else 0.
    """
    if not bpf or len(bpf) % 8 or len(bpf) // 8 > 4096:
        raise OSError(errno.EINVAL, f"seccomp: {len(bpf)} bytes are no filter program")
    program = _Program(len(bpf) // 8, bpf)
    return syscall("seccomp", _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program))
