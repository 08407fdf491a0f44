"""The files that a container's figures are read from, kept open while somebody watches.

Control group files stay open, as many as the budget allows: reading again is one `pread`.
/proc/PID/net/dev does not: it would keep the network namespace, and with it the container's
interface, alive after the container's end.  /proc/PID itself may stay open; it keeps nothing, and
a process id that was given to somebody else is never looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import threading

_PIECE = 16 * 1024
_LARGEST = 1 << 20


class Budget:
    """How many files all readers together may keep open: a part of what the process may."""

    def __init__(self, most: int | None = None) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._left = soft // 4 if most is None else most
        self._lock = threading.Lock()

    def take(self) -> bool:
        """One more file may stay open."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True

    def give_back(self, count: int) -> None:
        """So many were closed."""
        with self._lock:
            self._left += count


class Files:
    """The files below one directory, by name; what is not there reads as empty."""

    def __init__(self, directory: int, budget: Budget) -> None:
        """directory: its descriptor, owned from now on."""
        self._directory = directory
        self._budget = budget
        self._open: dict[str, int | None] = {}

    def read(self, name: str, *, keep: bool = True) -> str:
        """The whole text of a file, "" when the kernel has none or the group has gone."""
        try:
            descriptor = self._open[name]
        except KeyError:
            return self._read_first(name, keep=keep)
        if descriptor is None:
            return ""
        return _read(descriptor)

    def _read_first(self, name: str, *, keep: bool) -> str:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory)
        except FileNotFoundError:
            if keep:
                self._open[name] = None
            return ""
        except OSError:
            return ""
        if keep and self._budget.take():
            self._open[name] = descriptor
            return _read(descriptor)
        try:
            return _read(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close everything."""
        kept = [descriptor for descriptor in self._open.values() if descriptor is not None]
        self._open.clear()
        for descriptor in kept:
            os.close(descriptor)
        self._budget.give_back(len(kept))
        os.close(self._directory)


def _read(descriptor: int) -> str:
    try:
        data = os.pread(descriptor, _PIECE, 0)
        if len(data) == _PIECE:
            while len(data) < _LARGEST and (more := os.pread(descriptor, _PIECE, len(data))):
                data += more
    except OSError:  # ENODEV: the group was removed; ESRCH: the process has ended
        return ""
    return data.decode("ascii", "replace")


def open_files(path: str, budget: Budget) -> Files:
    """The files below `path`, a directory of cgroupfs or /proc; raises OSError."""
    return Files(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW), budget)


def recorded_groups(run_directory: str) -> dict[str, str]:
    """The control group's directory by controller (`unified` for v2), as the monitor wrote them down."""
    with contextlib.suppress(OSError, ValueError), open(f"{run_directory}/monitor.json", "rb") as file:
        groups = json.loads(file.read(1 << 20)).get("cgroup")
        if isinstance(groups, dict):
            return {str(controller): str(path) for controller, path in groups.items()}
    return {}
