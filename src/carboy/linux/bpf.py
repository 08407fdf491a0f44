"""bpf(2) as far as the device filter of cgroup v2 needs it."""

from __future__ import annotations

import ctypes
import struct

from carboy.linux.libc import syscall

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_DETACH = 9
_BPF_PROG_GET_FD_BY_ID = 13
_BPF_PROG_QUERY = 16


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall("bpf", command, buffer, len(attributes))


def prog_load(instructions: bytes, program_type: int = BPF_PROG_TYPE_CGROUP_DEVICE) -> int:
    """Load a program (an array of struct bpf_insn); returns its descriptor (CLOEXEC)."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQIIQII",
        *(program_type, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0),
    )
    return _bpf(_BPF_PROG_LOAD, attributes)


def prog_attach(
    cgroup_fd: int, program_fd: int, *, flags: int = BPF_F_ALLOW_MULTI, replace_fd: int = 0
) -> None:
    """Attach a device program to a cgroup; with BPF_F_REPLACE in place of `replace_fd`."""
    _bpf(_BPF_PROG_ATTACH, struct.pack("=iiIIi", cgroup_fd, program_fd, BPF_CGROUP_DEVICE, flags, replace_fd))


def prog_detach(cgroup_fd: int, program_fd: int) -> None:
    """Detach a device program from a cgroup."""
    _bpf(_BPF_PROG_DETACH, struct.pack("=iiIIi", cgroup_fd, program_fd, BPF_CGROUP_DEVICE, 0, 0))


def prog_query(cgroup_fd: int) -> list[int]:
    """The ids of the device programs attached to a cgroup."""
    ids = (ctypes.c_uint32 * 64)()
    attributes = ctypes.create_string_buffer(
        struct.pack("=iIIIQII", cgroup_fd, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 64, 0)
    )
    syscall("bpf", _BPF_PROG_QUERY, attributes, 32)
    count: int = struct.unpack_from("=I", attributes, 24)[0]
    return list(ids[:count])


def prog_fd_by_id(program_id: int) -> int:
    """A descriptor of a loaded program."""
    return _bpf(_BPF_PROG_GET_FD_BY_ID, struct.pack("=III", program_id, 0, 0))
