"""One container's control group: a directory in each hierarchy that is needed, seen as one.

Made eagerly: the hierarchies that every container needs for its isolation, its figures or
its pausing (`EAGER`).  The others (cpuset, hugetlb, net_cls...) are joined when a limit asks
for them, also later by an update, because each hierarchy costs a container about 0.25 ms.
"""

from __future__ import annotations

import errno
import os
import signal

from carboy.errors import Conflict, Internal, InvalidArgument, PermissionDenied, Unavailable, Unsupported
from carboy.runtime.cgroups import devices as device_rules
from carboy.runtime.cgroups import settings, statistics
from carboy.runtime.cgroups.hierarchy import missing, split_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups.hierarchy import Directory, Hierarchy, Layout
    from carboy.runtime.cgroups.settings import Setting

EAGER = ("memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio")

UNIFIED = "unified"
"""The key of the v2 group in `paths()`."""

DELETE_ROUNDS = 200
DELETE_PAUSE = 0.005


class Machine:
    """What a group needs besides files: pauses, signals and BPF. The tests give their own."""

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
        for controller in EAGER:
            hierarchy = self._layout.of(controller)
            if hierarchy is not None:
                self._join(hierarchy)
        unified = self._layout.unified()
        if not self._members and unified is not None:
            self._join(unified)

    def open_existing(self) -> None:
        """Find the directories that are there already, without making any."""
        for hierarchy in self._layout.hierarchies:
            directory = hierarchy.root()
            try:
                for name in split_path(self.path):
                    directory = _into(directory, name)
            except FileNotFoundError:
                continue
            self._members[id(hierarchy)] = (hierarchy, directory)

    def paths(self) -> dict[str, str]:
        """Directory by controller, `unified` for v2: what state.json keeps."""
        found = {}
        for hierarchy, _ in self._members.values():
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
        directory = hierarchy.root()
        names = split_path(self.path)
        try:
            for name in names:
                if hierarchy.version == 2:
                    _delegate(directory, hierarchy)
                try:
                    directory = _into(directory, name, keep=True)
                except FileNotFoundError:
                    _make(directory, name)
                    made = directory.child(name)
                    if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
                        _inherit_cpuset(directory, made)
                    directory.close()
                    directory = made
        except OSError as error:
            directory.close()
            raise self._refused("create", hierarchy.mount_point + self.path, error) from error
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
            raise self._refused("set the device rules of", self.path, error) from error

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
        for file in setting.files:
            if directory.has(file):
                try:
                    directory.write(file, [setting.value])
                except OSError as error:
                    if setting.optional and error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
                        return
                    raise
                return
        if not setting.optional:
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
        return self._refused(what, self.path, error)

    def _refused(self, what: str, path: str, error: OSError) -> Exception:
        text = f"cannot {what} control group {path}: {os.strerror(error.errno or 0)}"
        if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENODEV, errno.ENOENT):
            return InvalidArgument(f"{text}; the kernel does not take this value")
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
            return Unsupported(f"{text}; the device or its scheduler has no such limit: leave it out")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return PermissionDenied(f"{text}; run as root, or let systemd delegate the group")
        if error.errno in (errno.ENOSPC, errno.EBUSY, errno.EAGAIN):
            return Unavailable(text)
        return Internal(text)

    # Processes

    def add_process(self, pid: int) -> None:
        """Move a process (0: the caller) into the group, in every hierarchy that it has."""
        value = [str(pid)]
        for hierarchy, directory in self._members.values():
            try:
                directory.write("cgroup.procs", value)
            except OSError as error:
                path = hierarchy.mount_point + self.path
                raise self._refused(f"move process {pid} into", path, error) from error

    def processes(self) -> list[int]:
        """Everybody in the group and the groups below it."""
        member = self._first("freezer", "pids", "memory")
        found: list[int] = []
        if member is not None:
            _walk(member[1], lambda directory: found.extend(_pids(directory)))
        return found

    def own_processes(self) -> list[int]:
        """Everybody in the group itself."""
        member = self._first("freezer", "pids", "memory")
        return [] if member is None else _pids(member[1])

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
        return statistics.flat(directory.read(OOM_FILES[version])).get("oom_kill", 0)

    def watch_oom(self) -> tuple[int, int] | None:
        """(descriptor, epoll events) to wait on for kills; the caller closes it, and calls `drain_oom`.

        v1: an eventfd that memory.oom_control signals.  v2: the file memory.events itself.
        """
        member = self._reader("memory")
        if member is None:
            return None
        version, directory = member
        watched = directory.open(OOM_FILES[version])
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
                parent = _into(parent, name)
            try:
                parent.remove(names[-1])
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return True
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise self._refused("remove", hierarchy.mount_point + self.path, error) from error
                _remove_below(directory)
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


EPOLLIN, EPOLLPRI = 1, 2


def drain_oom(fd: int) -> None:
    """After an event of `Cgroup.watch_oom`: make it ready for the next one."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)  # v2's file is read anew; an eventfd has no position, and says nothing
        os.read(fd, 8)
    except BlockingIOError:
        return  # told already


OOM_FILES = {1: "memory.oom_control", 2: "memory.events"}


def _into(directory: Directory, name: str, *, keep: bool = False) -> Directory:
    """The child, with its parent closed; when it is missing and `keep`, the parent stays open."""
    try:
        child = directory.child(name)
    except OSError:
        if not keep:
            directory.close()
        raise
    directory.close()
    return child


def _make(directory: Directory, name: str) -> None:
    try:
        directory.make(name)
    except FileExistsError:
        pass  # somebody else was quicker: the same group is meant


def _delegate(directory: Directory, hierarchy: Hierarchy) -> None:
    """Offer v2 controllers to the groups below, as many as the kernel lets us."""
    wanted = hierarchy.controllers & V2_DELEGATED
    enabled = set(directory.read("cgroup.subtree_control").split())
    for controller in sorted(wanted - enabled):
        try:
            directory.write("cgroup.subtree_control", [f"+{controller}"])
        except OSError:
            # Not available here, or processes are in the way: asked-for limits will say so.
            continue


V2_DELEGATED = frozenset(("memory", "cpu", "cpuset", "io", "pids", "hugetlb", "rdma", "misc"))


def _inherit_cpuset(parent: Directory, child: Directory) -> None:
    """A new v1 cpuset is empty, and takes no process before it has processors and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not child.read(file).strip():
            child.write(file, [parent.read(file).strip()])


def _pids(directory: Directory) -> list[int]:
    try:
        return [int(line) for line in directory.read("cgroup.procs").split()]
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENOENT):  # removed in this moment
            return []
        raise


def _walk(directory: Directory, visit: Callable[[Directory], None]) -> None:
    visit(directory)
    try:
        names = directory.children()
    except OSError:
        return
    for name in names:
        try:
            child = directory.child(name)
        except FileNotFoundError:
            continue
        try:
            _walk(child, visit)
        finally:
            child.close()


def _remove_below(directory: Directory) -> None:
    """Remove the groups below as far as they are empty."""
    try:
        names = directory.children()
    except OSError:
        return
    for name in names:
        try:
            child = directory.child(name)
        except OSError:
            continue
        try:
            _remove_below(child)
        finally:
            child.close()
        try:
            directory.remove(name)
        except OSError:
            continue
