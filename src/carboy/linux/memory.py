"""The process's own memory."""

from __future__ import annotations

import ctypes

from carboy.linux.libc import LIBC

_trim = getattr(LIBC, "malloc_trim", None)
"""None: another C library than GNU's, which has nothing of the kind and needs it less."""
if _trim is not None:
    _trim.argtypes = [ctypes.c_size_t]


def malloc_trim() -> None:
    """Give free memory back to the system, of all threads' heaps."""
    if _trim is not None:
        _trim(0)
