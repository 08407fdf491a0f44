"""A container's control group by its directories alone.

Opening all of it (`cgroups.attach`) reads the machine's layout and takes a millisecond and memory;
joining it, and removing it when nobody is left in it, need the paths only.
"""

from __future__ import annotations

import errno
import os

from carboy.formats import cgroupstat
from carboy.runtime.cgroups.hierarchy import below

_WRITE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_MEMBERS = ("freezer", "pids", "memory")
"""Where to look for processes in version 1: all of a container are in each of them."""


class Directories:
    """`paths`: directory by controller, `unified` for version 2, as `Cgroup.paths` gives them."""

    __slots__ = ("_by_controller", "_paths", "_unified")

    def __init__(self, paths: dict[str, str]) -> None:
        self._by_controller = paths
        self._paths = set(paths.values())
        self._unified = paths.get("unified", "")

    def enter(self) -> None:
        """Move the calling process, whose only thread this is, into the groups of version 1.

        Whoever moves just itself need not stop the machine's forks and exits: a move by cgroup.procs waits
        for a grace period of the kernel, 10 ms and more (kernel/cgroup/cgroup.c: cgroup_procs_write_start).
        """
        for path in self._paths - {self._unified}:
            _write(f"{path}/tasks", b"0")

    def add_entered(self, pid: int, *, init: int = 0) -> None:
        """The rest, for a process that does `enter`: version 2 has no such file.

        init: beside whom it comes where the group itself takes nobody, see `Cgroup.add_entered`.
        """
        if not self._unified:
            return
        try:
            _write(f"{self._unified}/cgroup.procs", str(pid).encode())
        except OSError as error:
            if error.errno != errno.EBUSY or not init:
                raise
            group = below(self._unified, _text(f"/proc/{init}/cgroup"))
            if not group:
                raise
            _write(f"{self._unified}{group}/cgroup.procs", str(pid).encode())

    def is_empty(self) -> bool:
        """Whether nobody is in it; False where that cannot be told. Version 1 does not look below it."""
        if self._unified:
            return cgroupstat.flat(_text(f"{self._unified}/cgroup.events")).get("populated") == 0
        for name in _MEMBERS:
            if name in self._by_controller:
                return not _text(f"{self._by_controller[name]}/cgroup.procs", default="?")
        return False

    def oom_kills(self) -> int:
        """How often the kernel killed for lack of memory."""
        memory = self._by_controller.get("memory")
        unified = self._by_controller.get("unified", "")
        path = f"{memory}/memory.oom_control" if memory else f"{unified}/memory.events"
        return cgroupstat.flat(_text(path)).get("oom_kill", 0)

    def remove(self) -> bool:
        """Remove it; False when somebody or something is left in it, which the caller has to end."""
        for path in self._paths:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, _WRITE)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _text(path: str, default: str = "") -> str:
    try:
        fd = os.open(path, _READ)
    except OSError:
        return default
    try:
        return os.read(fd, 4096).decode("utf-8", "surrogateescape")
    except OSError:
        return default
    finally:
        os.close(fd)
