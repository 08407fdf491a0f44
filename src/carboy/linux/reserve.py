"""Blocks for a file before they are needed."""

from __future__ import annotations

import ctypes

from carboy.linux.libc import LIBC, call

_KEEP_SIZE = 1


def reserve(fd: int, size: int) -> None:
    """Blocks for the first `size` bytes of a file, which stays as long as it is (fallocate(2))."""
    call("fallocate", LIBC.fallocate, fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))
