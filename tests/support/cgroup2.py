"""A cgroup2 file system in memory: the rules of the kernel's that our code meets.

A group has a controller's files only when its parent's cgroup.subtree_control names it; a group
with members or children cannot be removed; freezing, killing and counting work on the members.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from carboy.runtime import cgroups
from carboy.runtime.cgroups.hierarchy import V2_IMPLICIT, Hierarchy

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")

FILES = {
    "memory": {
        "memory.max": "max", "memory.swap.max": "max", "memory.low": "0", "memory.high": "max",
        "memory.current": "0", "memory.peak": "0", "memory.swap.current": "0",
        "memory.stat": "anon 1\nfile 4096\n",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
    "cpu": {
        "cpu.max": "max 100000", "cpu.weight": "100", "cpu.idle": "0", "cpu.max.burst": "0",
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"
        "nr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
    },
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "io": {"io.max": "", "io.weight": "default 100", "io.stat": "8:0 rbytes=512 wbytes=1024 rios=1 wios=2\n"},
    "hugetlb": {"hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "max"},
    "rdma": {"rdma.max": ""},
    "misc": {},
}  # fmt: skip


class Group:
    """One directory of the tree."""

    def __init__(self, tree: Tree, controllers: Iterable[str]) -> None:
        self.tree = tree
        self.controllers = tuple(controllers)
        self.enabled: list[str] = []
        self.groups: dict[str, Group] = {}
        self.members: list[int] = []
        self.frozen = False
        self.values: dict[str, str] = {}
        self.lacks: set[str] = set()
        self.device_program = b""

    def files(self) -> dict[str, str]:
        """Every file with its content."""
        found = dict(item for name in self.controllers for item in FILES[name].items())
        found.update(self.values)
        found = {name: text for name, text in found.items() if name not in self.lacks}
        found["cgroup.controllers"] = " ".join(self.controllers) + "\n"
        found["cgroup.subtree_control"] = " ".join(self.enabled) + "\n"
        found["cgroup.procs"] = "".join(f"{pid}\n" for pid in self.members)
        if self is not self.tree.top:
            found["cgroup.events"] = f"populated {int(bool(self.everybody()))}\nfrozen {int(self.frozen)}\n"
            found["cgroup.freeze"] = f"{int(self.frozen)}\n"
            if self.tree.has_kill:
                found["cgroup.kill"] = ""
        return found

    def everybody(self) -> list[int]:
        """The members of this group and of those below."""
        return [*self.members, *(pid for group in self.groups.values() for pid in group.everybody())]

    def walk(self) -> Iterable[Group]:
        """This group and those below."""
        yield self
        for group in self.groups.values():
            yield from group.walk()

    def paths(self, path: str = "") -> Iterable[tuple[str, Group]]:
        """This group and those below with their paths."""
        yield path, self
        for name, group in self.groups.items():
            yield from group.paths(f"{path}/{name}")


class Tree:
    """A mounted cgroup2; also a `cgroups.Machine` whose signals and BPF programs stay in memory."""

    def __init__(self, controllers: Iterable[str] = CONTROLLERS, *, has_kill: bool = True) -> None:
        self.has_kill = has_kill
        self.top = Group(self, controllers)
        self.pids = iter(range(1000, 100000))
        self.alive: set[int] = set()
        self.opened = 0
        self.pauses = 0
        names = frozenset(controllers) | V2_IMPLICIT
        self.layout = cgroups.Layout([Hierarchy(2, "/sys/fs/cgroup", names, open_root=self._open_root)])
        self._descriptors: dict[int, Group] = {}

    def _open_root(self, _path: str) -> Directory:
        return Directory(self.top)

    def process(self) -> int:
        """A new process, in the root group."""
        pid = next(self.pids)
        self.alive.add(pid)
        self.top.members.append(pid)
        return pid

    def group(self, path: str) -> Group:
        """The group at a path; KeyError when there is none."""
        found = self.top
        for name in filter(None, path.split("/")):
            found = found.groups[name]
        return found

    def move(self, pid: int, to: Group) -> None:
        """What a write to cgroup.procs does."""
        if pid not in self.alive:
            raise ProcessLookupError(errno.ESRCH, "no such process")
        if to.enabled and to is not self.top:
            raise OSError(errno.EBUSY, "processes only live in leaves")
        for group in self.top.walk():
            if pid in group.members:
                group.members.remove(pid)
        to.members.append(pid)

    # A Machine

    def pause(self, seconds: float) -> None:
        """No time passes here."""
        self.pauses += 1

    def kill(self, pid: int) -> None:
        """The process is gone at once."""
        self.alive.discard(pid)
        for group in self.top.walk():
            if pid in group.members:
                group.members.remove(pid)

    def membership(self, pid: int) -> str:
        """Its line of /proc/PID/cgroup."""
        paths = [path for path, group in self.top.paths() if pid in group.members]
        return f"0::{paths[0] or '/'}\n"

    def attach_device_filter(self, directory_fd: int, program: bytes) -> None:
        """Remember the program."""
        self._descriptors.pop(directory_fd).device_program = program

    def descriptor_of(self, group: Group) -> int:
        """A descriptor that stands for a group."""
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors[fd] = group
        return fd


class Directory:
    """Stands in for `hierarchy.KernelDirectory`."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._closed = False
        group.tree.opened += 1

    def child(self, name: str) -> Directory:
        if name not in self._group.groups:
            raise FileNotFoundError(errno.ENOENT, "no such group", name)
        return Directory(self._group.groups[name])

    def make(self, name: str) -> None:
        if name in self._group.groups:
            raise FileExistsError(errno.EEXIST, "exists", name)
        self._group.groups[name] = Group(self._group.tree, self._group.enabled)

    def remove(self, name: str) -> None:
        if name not in self._group.groups:
            raise FileNotFoundError(errno.ENOENT, "no such group", name)
        found = self._group.groups[name]
        if found.members or found.groups:
            raise OSError(errno.EBUSY, "busy", name)
        del self._group.groups[name]

    def children(self) -> list[str]:
        return list(self._group.groups)

    def has(self, name: str) -> bool:
        return name in self._group.files()

    def read(self, name: str) -> str:
        return self._file(name)

    def _file(self, name: str) -> str:
        files = self._group.files()
        if name not in files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return files[name]

    def write(self, name: str, values: Iterable[str]) -> None:
        self._file(name)
        for value in values:
            self._write(name, value)

    def _write(self, name: str, value: str) -> None:
        group = self._group
        if name == "cgroup.procs":
            group.tree.move(int(value), group)
        elif name == "cgroup.subtree_control":
            self._enable(value)
        elif name == "cgroup.freeze":
            for one in group.walk():
                one.frozen = value == "1"
        elif name == "cgroup.kill":
            for pid in group.everybody():
                group.tree.kill(pid)
        elif name == "memory.max" and value != "max" and int(value) < int(group.files()["memory.current"]):
            raise OSError(errno.EBUSY, "in use")
        elif name == "cpuset.cpus" and value != "0":
            raise OSError(errno.EINVAL, "there is one processor here")
        else:
            group.values[name] = f"{value}\n"

    def _enable(self, value: str) -> None:
        group, name = self._group, value.lstrip("+-")
        if name not in group.controllers:
            raise FileNotFoundError(errno.ENOENT, "not available here", name)
        if group.members and group is not group.tree.top:
            raise OSError(errno.EBUSY, "processes are in the way")
        if name not in group.enabled:
            group.enabled.append(name)
            for below in group.groups.values():
                below.controllers = (*below.controllers, name)

    def open(self, name: str) -> int:
        self._file(name)
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._group.tree.descriptor_of(self._group)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._group.tree.opened -= 1
