"""One container's control group: a directory in each hierarchy that is needed, seen as one.

Made eagerly: the hierarchies that every container needs for its isolation, its figures or
its pausing (`EAGER`).  The others (cpuset, hugetlb, net_cls...) are joined when a limit asks
for them, also later by an update, because each hierarchy costs a container about 0.25 ms.
"""

from __future__ import annotations

import errno
import os
import signal

from carboy.errors import Conflict, Unavailable, Unsupported
from carboy.runtime.cgroups import devices as device_rules
from carboy.runtime.cgroups import oom, settings, statistics
from carboy.runtime.cgroups.directories import into, join, process_ids, remove_below, walk
from carboy.runtime.cgroups.hierarchy import below, missing, refused, split_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from carboy.runtime.cgroups.hierarchy import Directory, Hierarchy, Layout
    from carboy.runtime.cgroups.settings import Setting

EAGER = ("memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio")

UNIFIED = "unified"
"""The key of the v2 group in `paths()`."""

DELETE_ROUNDS = 200
DELETE_PAUSE = 0.005


class Machine:
    """What a group needs besides files: pauses, /proc, signals and BPF. The tests give their own."""

    def pause(self, seconds: float) -> None:
        """Wait a moment between two looks."""
        import select  # a C module, in memory already wherever a monitor runs

        select.select([], [], [], seconds)

    def kill(self, pid: int) -> None:
        """SIGKILL through a pidfd; a process that is gone already is no error."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def membership(self, pid: int) -> str:
        """In which groups a process is: /proc/PID/cgroup."""
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def attach_device_filter(self, directory_fd: int, program: bytes) -> None:
        """Replace the group's device program."""
        from carboy.runtime.cgroups import devices_attach

        devices_attach.replace(directory_fd, program)


class Cgroup:
    """A container's group. `path` is the same below every hierarchy's root, e.g. `/carboy/<id>`."""

    __slots__ = ("_layout", "_machine", "_members", "path")

    def __init__(self, path: str, layout: Layout, machine: Machine) -> None:
        self.path = "/" + "/".join(split_path(path))
        self._layout = layout
        self._machine = machine
        self._members: dict[int, tuple[Hierarchy, Directory]] = {}

    # Making and finding

    @property
    def layout(self) -> Layout:
        """The machine's hierarchies, as they were found."""
        return self._layout

    def create(self) -> None:
        """Make the group in every hierarchy that a container needs; it may exist already."""
        for hierarchy in self._eager():
            self._join(hierarchy)

    def _eager(self) -> list[Hierarchy]:
        found = [one for one in map(self._layout.of, EAGER) if one is not None]
        unified = self._layout.unified()
        return found or ([unified] if unified is not None else [])

    def open_existing(self) -> None:
        """Find the directories that are there already, without making any."""
        for hierarchy in self._layout.hierarchies:
            directory = hierarchy.root()
            try:
                for name in split_path(self.path):
                    directory = into(directory, name)
            except FileNotFoundError:
                continue
            self._members[id(hierarchy)] = (hierarchy, directory)

    def paths(self) -> dict[str, str]:
        """Directory by controller, `unified` for v2: what state.json keeps."""
        return self._paths(hierarchy for hierarchy, _ in self._members.values())

    def planned_paths(self) -> dict[str, str]:
        """What `paths` says after `create`."""
        return self._paths(self._eager())

    def _paths(self, hierarchies: Iterable[Hierarchy]) -> dict[str, str]:
        found = {}
        for hierarchy in hierarchies:
            path = hierarchy.mount_point + self.path
            if hierarchy.version == 2:
                found[UNIFIED] = path
            else:
                found.update((controller, path) for controller in sorted(hierarchy.controllers))
        return found

    def close(self) -> None:
        """Close the descriptors; the group stays."""
        for _, directory in self._members.values():
            directory.close()
        self._members.clear()

    def _join(self, hierarchy: Hierarchy) -> Directory:
        known = self._members.get(id(hierarchy))
        if known is not None:
            return known[1]
        try:
            directory = join(hierarchy, split_path(self.path))
        except OSError as error:
            raise refused("create", hierarchy.mount_point + self.path, error) from error
        self._members[id(hierarchy)] = (hierarchy, directory)
        return directory

    # Limits

    def apply(self, resources: dict[str, Any]) -> None:
        """Set OCI `linux.resources`; raises Unsupported for a controller that is not there."""
        groups = settings.plan(resources, self._version_of)
        for group in groups:
            self._set_group(group)
        rules = resources.get("devices")
        if rules:
            self.apply_devices(rules)

    def apply_devices(self, rules: list[dict[str, Any]]) -> None:
        """Set the device rules: v1's files, or a BPF program on v2."""
        state = device_rules.reduce_rules(rules)
        hierarchy = self._layout.of("devices")
        if hierarchy is None:
            raise missing("devices", "resources.devices")
        directory = self._enter(hierarchy)
        if hierarchy.version == 2:
            from carboy.runtime.cgroups import devices_bpf  # v1 machines need no assembler

            fd = directory.fileno()
            try:
                self._machine.attach_device_filter(fd, devices_bpf.assemble(state))
            finally:
                os.close(fd)
            return
        base, lines, exceptions = device_rules.v1_lines(state)
        try:
            directory.write(base, ["a"])
            if lines:
                directory.write(exceptions, lines)
        except OSError as error:
            raise refused("set the device rules of", self.path, error) from error

    def _version_of(self, controller: str) -> int | None:
        hierarchy = self._layout.of(controller)
        return None if hierarchy is None else hierarchy.version

    def _set_group(self, group: list[Setting]) -> None:
        try:
            for setting in group:
                self._set(setting)
        except OSError as error:
            if len(group) < 2 or error.errno not in (errno.EINVAL, errno.EBUSY):
                raise self._explain(group[0], error) from error
            for setting in reversed(group):
                try:
                    self._set(setting)
                except OSError as second:
                    raise self._explain(setting, second) from second

    def _set(self, setting: Setting) -> None:
        if setting.controller == "unified":
            hierarchy = self._layout.unified()
            controller = setting.files[0].split(".")[0]
            if hierarchy is None or controller not in hierarchy.controllers:
                raise missing(controller, setting.what)
        else:
            hierarchy = self._layout.of(setting.controller)
            if hierarchy is None:
                raise missing(setting.controller, setting.what)
        directory = self._enter(hierarchy)
        optional = setting.optional or (setting.instead != "" and directory.has(setting.instead))
        for file in setting.files:
            if directory.has(file):
                try:
                    directory.write(file, [setting.value])
                except OSError as error:
                    if optional and error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
                        return
                    raise
                return
        if not optional:
            raise Unsupported(
                f"cannot set {setting.what} of {self.path}: this kernel has no {' or '.join(setting.files)}; "
                f"leave the limit out"
            )

    def _enter(self, hierarchy: Hierarchy) -> Directory:
        """The group in a hierarchy that may be new to it: whoever runs already moves there too."""
        known = self._members.get(id(hierarchy))
        if known is not None:
            return known[1]
        running = self.processes() if self._members else []
        directory = self._join(hierarchy)
        for pid in running:
            try:
                directory.write("cgroup.procs", [str(pid)])
            except ProcessLookupError:
                pass
        return directory

    def _explain(self, setting: Setting, error: OSError) -> Exception:
        what = f"set {setting.what} to {setting.value} for"
        if error.errno == errno.EBUSY and setting.controller == "memory":
            return Conflict(
                f"cannot {what} {self.path}: the container uses more than that now "
                f"({self.stats()['memory']['usage']['usage']} bytes)"
            )
        return refused(what, self.path, error)

    # Processes

    def add_process(self, pid: int) -> None:
        """Move a process (0: the caller) into the group, in every hierarchy that it has."""
        for version in (1, 2):
            self._move("cgroup.procs", str(pid), version=version)

    def enter(self) -> None:
        """Move the calling process, whose only thread this is, in version 1; see `Directories.enter`."""
        self._move("tasks", "0", version=1)

    def add_entered(self, pid: int, *, init: int = 0) -> None:
        """The rest of a process that does `enter`; beside `init` where the group itself takes nobody."""
        self._move("cgroup.procs", str(pid), version=2, init=init)

    def _move(self, file: str, value: str, *, version: int, init: int = 0) -> None:
        for hierarchy, directory in self._members.values():
            if hierarchy.version == version:
                try:
                    self._write_member(directory, file, value, init)
                except OSError as error:
                    path = hierarchy.mount_point + self.path
                    raise refused(f"move process {value} into", path, error) from error

    def _write_member(self, directory: Directory, file: str, value: str, init: int) -> None:
        try:
            directory.write(file, [value])
        except OSError as error:
            # A v2 group that offers controllers to those below has no processes of its own: a
            # container with systemd, or with containers inside, has moved all of them down.
            if error.errno != errno.EBUSY or not init:
                raise
            names = below(self.path, self._machine.membership(init))
            if not names:
                raise
            first, *others = split_path(names)
            group = directory.child(first)
            try:
                for name in others:
                    group = into(group, name)
                group.write(file, [value])
            finally:
                group.close()

    def processes(self) -> list[int]:
        """Everybody in the group and the groups below it."""
        member = self._first("freezer", "pids", "memory")
        found: list[int] = []
        if member is not None:
            walk(member[1], lambda directory: found.extend(process_ids(directory)))
        return found

    def kill_all(self) -> None:
        """SIGKILL to everybody: cgroup.kill, else frozen (nobody forks) and by pidfd."""
        member = self._first("freezer", "pids", "memory")
        if member is None:
            return
        hierarchy, directory = member
        if hierarchy.version == 2 and directory.has("cgroup.kill"):
            directory.write("cgroup.kill", ["1"])
            return
        pids = self.processes()
        if not pids:
            return
        many = len(pids) > 1
        if many:
            self._freezer_write("FROZEN", "1")
        try:
            for pid in self.processes() if many else pids:
                self._machine.kill(pid)
        finally:
            self._freezer_write("THAWED", "0")

    def freeze(self) -> None:
        """Stop everybody; returns when all are stopped."""
        if self._layout.of("freezer") is None:
            raise missing("freezer", "pause")
        for round_ in range(1000):
            self._freezer_write("FROZEN", "1")
            if self.frozen():
                return
            if round_ % 50 == 49:
                # A process that is being created can keep the v1 freezer at FREEZING for ever.
                self._freezer_write("THAWED", "0")
            self._machine.pause(0.0005 if round_ < 100 else 0.01)
        self._freezer_write("THAWED", "0")
        raise Unavailable(f"cannot pause {self.path}: its processes do not stop; try again")

    def thaw(self) -> None:
        """Let everybody run again."""
        if self._layout.of("freezer") is None:
            raise missing("freezer", "resume")
        self._freezer_write("THAWED", "0")

    def frozen(self) -> bool:
        """Whether everybody is stopped."""
        member = self._first("freezer")
        if member is None:
            return False
        if member[0].version == 1:
            return member[1].read("freezer.state").strip() == "FROZEN"
        return statistics.flat(member[1].read("cgroup.events")).get("frozen") == 1

    def _freezer_write(self, v1: str, v2: str) -> None:
        member = self._first("freezer")
        if member is None:
            return
        if member[0].version == 1:
            member[1].write("freezer.state", [v1])
        else:
            member[1].write("cgroup.freeze", [v2])

    def _first(self, *controllers: str) -> tuple[Hierarchy, Directory] | None:
        for controller in controllers:
            hierarchy = self._layout.of(controller)
            if hierarchy is not None and id(hierarchy) in self._members:
                return self._members[id(hierarchy)]
        return next(iter(self._members.values()), None)

    # Figures

    def stats(self) -> dict[str, Any]:
        """The figures in the shape of the `events` command of OCI runtimes."""
        return statistics.read(self._reader)

    def _reader(self, controller: str) -> tuple[int, Directory] | None:
        hierarchy = self._layout.of(controller)
        if hierarchy is None or id(hierarchy) not in self._members:
            return None
        return hierarchy.version, self._members[id(hierarchy)][1]

    def oom_kills(self) -> int:
        """How often the kernel killed somebody of the group for lack of memory."""
        member = self._reader("memory")
        if member is None:
            return 0
        version, directory = member
        return oom.kills(version, directory)

    def watch_oom(self) -> tuple[int, int] | None:
        """(descriptor, epoll events) to wait on for kills; the caller closes it, and calls `drain_oom`."""
        member = self._reader("memory")
        if member is None:
            return None
        version, directory = member
        return oom.watch(version, directory)

    # The end

    def delete(self) -> None:
        """Remove the group and those below; whoever is left in it is killed first."""
        for round_ in range(DELETE_ROUNDS):
            for key, (hierarchy, directory) in list(self._members.items()):
                if self._remove(hierarchy, directory):
                    del self._members[key]
            if not self._members:
                return
            if round_ % 10 == 0 or self.processes():
                self.kill_all()
            self._machine.pause(DELETE_PAUSE if round_ > 3 else DELETE_PAUSE / 10)
        raise Unavailable(
            f"cannot remove control group {sorted(self.paths().values())[0]}: "
            f"processes {self.processes()[:5]} do not end"
        )

    def _remove(self, hierarchy: Hierarchy, directory: Directory) -> bool:
        """One attempt in one hierarchy; True when the group is gone."""
        names = split_path(self.path)
        parent = hierarchy.root()
        try:
            for name in names[:-1]:
                parent = into(parent, name)
            try:
                parent.remove(names[-1])
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return True
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise refused("remove", hierarchy.mount_point + self.path, error) from error
                remove_below(directory)
                try:
                    parent.remove(names[-1])
                except OSError:
                    return False
        except FileNotFoundError:
            pass
        finally:
            parent.close()
        directory.close()
        return True
