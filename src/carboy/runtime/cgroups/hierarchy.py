"""Which control group hierarchies this machine has, and one directory of one of them.

    v1       one mount per controller (or a few joined): /sys/fs/cgroup/memory, …/cpu,cpuacct
    v2       one mount, the controllers named by its cgroup.controllers
    hybrid   v1 mounts, and a v2 mount beside them with what v1 did not take (often nothing)

Every controller is therefore asked for on its own: `Layout.of("memory")`.  All access to a
group goes through a `Directory`, which holds a descriptor; the unit tests put a tree in memory
in its place.
"""

from __future__ import annotations

import errno
import os

from carboy.errors import CarboyError, Internal, InvalidArgument, PermissionDenied, Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Directory(Protocol):
        """One group in one hierarchy."""

        def child(self, name: str) -> Directory: ...
        def make(self, name: str) -> None: ...
        def remove(self, name: str) -> None: ...
        def children(self) -> list[str]: ...
        def has(self, name: str) -> bool: ...
        def read(self, name: str) -> str: ...
        def write(self, name: str, values: Iterable[str]) -> None: ...
        def open(self, name: str) -> int: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...


class KernelDirectory:
    """A group in cgroupfs, by descriptor: a renamed or replaced path cannot mislead us."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def at(cls, path: str) -> KernelDirectory:
        """The directory at an absolute path: a mount point, or a path from our own state."""
        return cls(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW))

    def child(self, name: str) -> KernelDirectory:
        """The group `name` below; FileNotFoundError if there is none."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        return KernelDirectory(os.open(name, flags, dir_fd=self._fd))

    def make(self, name: str) -> None:
        """Create the group `name` below."""
        os.mkdir(name, 0o755, dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Remove the empty group `name` below."""
        os.rmdir(name, dir_fd=self._fd)

    def children(self) -> list[str]:
        """The names of the groups below."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)

    def has(self, name: str) -> bool:
        """Whether the kernel offers this file."""
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> str:
        """The whole content of a file."""
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        try:
            pieces = []
            while piece := os.read(fd, 65536):
                pieces.append(piece)
        finally:
            os.close(fd)
        return b"".join(pieces).decode()

    def write(self, name: str, values: Iterable[str]) -> None:
        """Write each value with one write(2), as cgroupfs wants it."""
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)

    def open(self, name: str) -> int:
        """A descriptor of a file, for polling."""
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)

    def fileno(self) -> int:
        """A readable descriptor of the directory itself, owned by the caller."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)

    def close(self) -> None:
        """Let the descriptor go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Hierarchy:
    """One mounted hierarchy: its version, its mount point and the controllers it serves."""

    __slots__ = ("controllers", "mount_point", "open_root", "version")

    def __init__(
        self,
        version: int,
        mount_point: str,
        controllers: frozenset[str],
        *,
        open_root: Callable[[str], Directory] = KernelDirectory.at,
    ) -> None:
        self.version = version
        self.mount_point = mount_point
        self.controllers = controllers
        self.open_root = open_root

    def root(self) -> Directory:
        """The group at the root of our mount."""
        return self.open_root(self.mount_point)


class Layout:
    """All hierarchies of this machine."""

    __slots__ = ("hierarchies",)

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies

    def of(self, controller: str) -> Hierarchy | None:
        """The hierarchy that serves a controller (v1's name of it), if any does."""
        for hierarchy in self.hierarchies:
            name = V2_NAMES.get(controller, controller) if hierarchy.version == 2 else controller
            if name in hierarchy.controllers:
                return hierarchy
        return None

    def unified(self) -> Hierarchy | None:
        """The v2 hierarchy, which may serve no controller at all."""
        return next((one for one in self.hierarchies if one.version == 2), None)

    @property
    def mode(self) -> str:
        """`v1`, `v2`, `hybrid` or `none`."""
        versions = {one.version for one in self.hierarchies}
        return {frozenset((1,)): "v1", frozenset((2,)): "v2", frozenset((1, 2)): "hybrid"}.get(
            frozenset(versions), "none"
        )


V2_NAMES = {"blkio": "io", "cpuacct": "cpu"}
"""Controllers with another name in v2."""

V1_CONTROLLERS = frozenset(
    ("memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "devices", "freezer", "hugetlb", "net_cls")
) | {"net_prio", "perf_event", "rdma", "misc"}

V2_IMPLICIT = frozenset(("freezer", "devices"))
"""What every v2 group can do without a controller: cgroup.freeze and a BPF program.

Unless v1 has it: a mount of another v1 controller (net_cls of a VPN, name=systemd) takes neither.
"""


def parse_mountinfo(text: str, controllers_of: Callable[[str], str]) -> Layout:
    """Read /proc/self/mountinfo; `controllers_of` reads cgroup.controllers of a v2 mount.

    The first mount of each hierarchy counts: later ones are bind mounts of it.
    """
    found: list[Hierarchy] = []
    taken: set[str] = set()
    unified: Hierarchy | None = None
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(tail) < 3:
            continue
        mount_point = unescape(fields[4])
        if tail[0] == "cgroup":
            options = tail[2].split(",")
            names = frozenset(
                option for option in options if option in V1_CONTROLLERS or option == "name=systemd"
            )
            if names and not names & taken:
                taken |= names
                found.append(Hierarchy(1, mount_point, names))
        elif tail[0] == "cgroup2" and unified is None:
            unified = Hierarchy(2, mount_point, frozenset(controllers_of(mount_point).split()))
    if unified is not None:
        unified.controllers |= V2_IMPLICIT - taken
        found.append(unified)
    return Layout(found)


def unescape(field: str) -> str:
    r"""Undo mountinfo's `\040` escapes."""
    if "\\" not in field:
        return field
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def read_layout() -> Layout:
    """The layout of this machine, as this process' mount namespace shows it."""
    return parse_mountinfo(_read("/proc/self/mountinfo"), _controllers_of)


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(pieces))


def _controllers_of(mount_point: str) -> str:
    try:
        return _read(f"{mount_point}/cgroup.controllers")
    except OSError:
        return ""


def split_path(unsafe_path: str) -> list[str]:
    """The components of a group's path; raises InvalidArgument unless they stay below the root."""
    components = [part for part in unsafe_path.split("/") if part]
    if not components:
        raise InvalidArgument(f"control group path {unsafe_path!r}: the root group cannot be a container's")
    for part in components:
        if part in (".", "..") or "\0" in part or "\n" in part or len(part) > 255:
            raise InvalidArgument(f"control group path {unsafe_path!r}: bad component {part!r}")
    return components


def below(group: str, membership: str) -> str:
    """Where below a v2 group a process is: `/init`; empty when it is in the group itself, or elsewhere.

    group: its path, or its directory with the mount point in front.  membership: the text of
    /proc/PID/cgroup, which names paths only.  Whatever it says, what is found is below the group.
    """
    path = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), "")
    names = group.split("/")
    for start in range(1, len(names)):
        top = "/" + "/".join(names[start:])
        if path.startswith(f"{top}/"):
            return path[len(top) :]
    return ""


def resolve_path(unsafe_path: str, *, container_id: str, parent: str) -> str:
    """Where an OCI `cgroupsPath` lies below the hierarchies' roots.

    Absolute paths are taken as they are, relative ones are below `parent`, none at all means
    `parent/<id>`, and systemd's `slice:prefix:name` becomes `/slice/prefix-name.scope`.
    """
    if not unsafe_path:
        path = f"{parent}/{container_id}"
    elif unsafe_path.count(":") == 2 and "/" not in unsafe_path:
        slice_name, prefix, name = unsafe_path.split(":")
        scope = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        path = f"/{slice_name or 'system.slice'}/{scope}"
    elif unsafe_path.startswith("/"):
        path = unsafe_path
    else:
        path = f"{parent}/{unsafe_path}"
    return "/" + "/".join(split_path(path))


def missing(controller: str, what: str) -> Unsupported:
    """The error for a limit that no hierarchy of this machine can hold."""
    return Unsupported(
        f"cannot set {what}: this kernel offers no {controller!r} control group controller here; "
        f"leave the limit out, or enable the controller"
    )


def refused(what: str, path: str, error: OSError) -> CarboyError:
    """What the kernel's answer to a change of a group means."""
    text = f"cannot {what} control group {path}: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENODEV, errno.ENOENT, errno.E2BIG):
        return InvalidArgument(f"{text}; the kernel does not take this value")
    if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
        return Unsupported(f"{text}; the device or its scheduler has no such limit: leave it out")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(f"{text}; run as root, or let systemd delegate the group")
    if error.errno in (errno.ENOSPC, errno.EBUSY, errno.EAGAIN):
        return Unavailable(text)
    return Internal(text)
