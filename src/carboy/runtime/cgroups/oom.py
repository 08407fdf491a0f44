"""Kills for lack of memory: how many there were, and how to wait for the next one."""

from __future__ import annotations

import os

from carboy.runtime.cgroups import statistics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.cgroups.hierarchy import Directory

FILES = {1: "memory.oom_control", 2: "memory.events"}
EPOLLIN, EPOLLPRI = 1, 2


def kills(version: int, directory: Directory) -> int:
    """How many there were in the group."""
    return statistics.flat(directory.read(FILES[version])).get("oom_kill", 0)


def watch(version: int, directory: Directory) -> tuple[int, int]:
    """(descriptor, epoll events) to wait on; the caller closes it, and calls `drain_oom`.

    v1: an eventfd that memory.oom_control signals.  v2: the file memory.events itself.
    """
    watched = directory.open(FILES[version])
    if version == 2:
        return watched, EPOLLPRI
    try:
        notified = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            directory.write("cgroup.event_control", [f"{notified} {watched}"])
        except BaseException:
            os.close(notified)
            raise
    finally:
        os.close(watched)
    return notified, EPOLLIN


def drain_oom(fd: int) -> None:
    """After an event of `watch`: make it ready for the next one."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)  # v2's file is read anew; an eventfd has no position, and says nothing
        os.read(fd, 8)
    except BlockingIOError:
        return  # told already
