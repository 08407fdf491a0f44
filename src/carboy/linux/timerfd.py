"""Timers that are descriptors, which the standard library has from Python 3.13 on."""

from __future__ import annotations

import ctypes
import os
import time

from carboy.linux.libc import LIBC, call

_Setting = ctypes.c_long * 4


def timerfd_create() -> int:
    """A stopped timer of the monotonic clock: CLOEXEC, non-blocking."""
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    return call("timerfd_create", LIBC.timerfd_create, time.CLOCK_MONOTONIC, flags)


def timerfd_settime(fd: int, interval: float) -> None:
    """Have it be readable after this many seconds, and again and again."""
    seconds, rest = divmod(int(interval * 1e9), 10**9)
    setting = _Setting(seconds, rest, seconds, rest)
    call("timerfd_settime", LIBC.timerfd_settime, fd, 0, setting, None)
