"""Attaching a device program to a v2 group, in place of those that are there."""

from __future__ import annotations

import os

from carboy.linux import bpf


def replace(directory_fd: int, program: bytes) -> None:
    """Attach `program`, then detach the older ones: at no moment is the group without rules."""
    older = bpf.prog_query(directory_fd)
    new = bpf.prog_load(program)
    try:
        bpf.prog_attach(directory_fd, new)
    finally:
        os.close(new)
    for program_id in older:
        fd = bpf.prog_fd_by_id(program_id)
        try:
            bpf.prog_detach(directory_fd, fd)
        finally:
            os.close(fd)
