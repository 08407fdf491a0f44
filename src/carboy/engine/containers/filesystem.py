"""A container's files as it sees them, for the daemon: on descriptors, mounted nowhere.

    running       /proc/PID/root                       with everything that is mounted in there
    not running   a detached overlay of its layers,    with its volumes and binds put in where the
                  read-only where that is enough       plan of its mounts says (tmpfs: nothing)

Paths are hostile, and so are programs that exchange files while a path is walked.  `View.resolve`
goes name by name: each is opened in the directory that is held open, links are read and walked
by hand from the container's root, ".." goes back to a directory that was come through.  So there
is no name that could lead out, and nothing to check that could change before it is used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.archive.unpacking import Places
from carboy.archive.walking import LOOK, Scope
from carboy.engine.containers.document import Container
from carboy.engine.containers.parts import Parts as EngineParts
from carboy.engine.containers.states import State
from carboy.engine.spec.mounts import PlannedMount
from carboy.errors import Conflict, PermissionDenied
from carboy.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from carboy.linux.paths import (
    CGROUP2_SUPER_MAGIC,
    CGROUP_SUPER_MAGIC,
    DEVPTS_SUPER_MAGIC,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    filesystem_type,
    make_directories_in_root,
)

if TYPE_CHECKING:
    from carboy.archive.unpacking import Parts

_MAX_LINKS = 255
_LONGEST = 4096
_COPY_TIMEOUT = 10.0
_KERNELS_OWN = (
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    DEVPTS_SUPER_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
)
READ_ONLY_ROOT = "container rootfs is marked read-only"
READ_ONLY_VOLUME = "mounted volume is marked read-only"
KERNELS_FILES = "nothing is copied into /proc, /sys and their kind: their files are the kernel's own"


@dataclass(slots=True)
class Place:
    """Where a path has led to; the descriptor (O_PATH) is the caller's."""

    fd: int
    path: bytes
    """From the container's root, without links, dots or slashes at its ends."""


class View(Scope):
    """The files of one container."""

    def __init__(self, root: int, mounts: dict[bytes, int]) -> None:
        self.root = root
        self._mounts = mounts
        """By resolved path, for a container that does not run."""
        self._device = os.fstat(root).st_dev

    @property
    def has_mounts(self) -> bool:
        """Whether some paths lead elsewhere than the root's own directories say."""
        return bool(self._mounts)

    def open_child(self, directory: int, path: bytes, name: bytes) -> int:
        """An O_PATH descriptor of a name in the directory at `path` (of the container)."""
        if self._mounts:
            mounted = self._mounts.get(path + b"/" + name if path else name)
            if mounted is not None:
                return os.dup(mounted)
        return os.open(name, LOOK, dir_fd=directory)

    def mounted_in(self, path: bytes) -> set[bytes]:
        """The names in the directory at `path` that are mounts, whether it has such names or not."""
        parents = (place.rpartition(b"/") for place in self._mounts)
        return {name for parent, _, name in parents if parent == path}

    def resolve(self, unsafe_path: bytes, *, follow: bool = True) -> Place:
        """Walk a path as a program of the container would; `follow`: also a link at its end.

        Raises OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL for a NUL.
        """
        if b"\0" in unsafe_path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), unsafe_path)
        if len(unsafe_path) >= _LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), unsafe_path[:200])
        return _Resolution(self).walk(unsafe_path, follow=follow)


class SubtreeScope(Scope):
    """Walks what lies below one path of a view; the kernel's own filesystems are not gone into."""

    def __init__(self, view: View, path: bytes) -> None:
        self._view = view
        self._path = path
        self._device: int | None = None

    def names(self, directory: int, path: bytes) -> list[bytes]:
        """With what is to be mounted there."""
        found = super().names(directory, path)
        if not self._view.has_mounts:
            return found
        return list(self._view.mounted_in(self._absolute(path)).union(found))

    def look(self, directory: int, path: bytes, name: bytes) -> int:
        """As the container sees it."""
        return self._view.open_child(directory, self._absolute(path), name)

    def enters(self, path: bytes, descriptor: int, status: os.stat_result) -> bool:
        """Everything but /dev as it runs, /proc, /sys and their kind, unless they are what was asked for."""
        if self._device is None:
            self._device = status.st_dev
        if status.st_dev == self._device or not path:
            return True
        if filesystem_type(descriptor) in _KERNELS_OWN:
            return False
        return self._absolute(path) != b"dev"

    def _absolute(self, path: bytes) -> bytes:
        return b"/".join(part for part in (self._path, path) if part)


class ContainerPlaces(Places):
    """Directories to unpack into: links among them are followed as the container would."""

    def __init__(self, view: View, base: Place) -> None:
        super().__init__(base.fd)
        self._view = view
        self._base = base.path
        self._device = os.fstat(base.fd).st_dev

    def _child(self, directory: int, parts: Parts) -> int:
        fd = self._by_path(parts, make=True) if self._view.has_mounts else super()._child(directory, parts)
        return self._checked(fd)

    def _not_a_directory(self, parts: Parts, error: OSError) -> int:
        del error
        return self._checked(self._by_path(parts, make=False))

    def _checked(self, fd: int) -> int:
        if os.fstat(fd).st_dev != self._device and filesystem_type(fd) in _KERNELS_OWN:
            os.close(fd)
            raise PermissionDenied(KERNELS_FILES)
        return fd

    def _by_path(self, parts: Parts, *, make: bool) -> int:
        path = b"/".join(part for part in (self._base, *parts) if part)
        try:
            place = self._view.resolve(path)
        except FileNotFoundError:
            if not make:
                raise
            parent = self._view.resolve(path.rpartition(b"/")[0])
            try:
                return self._make(parent.fd, parts[-1])
            finally:
                os.close(parent.fd)
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.fd)
        finally:
            os.close(place.fd)


class _Resolution:
    """One walk: the directories come through, and the names still to come."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._stack: list[tuple[int, bytes]] = []
        self._names: deque[bytes] = deque()
        self._links = 0

    def walk(self, unsafe_path: bytes, *, follow: bool) -> Place:
        self._stack.append((os.dup(self._view.root), b""))
        try:
            self._names.extend(unsafe_path.split(b"/"))
            while self._names:
                self._step(follow=follow)
            path = self._path()
            return Place(self._stack.pop()[0], path)
        finally:
            while self._stack:
                self._go_back()

    def _step(self, *, follow: bool) -> None:
        name = self._names.popleft()
        self._require_directory()
        if name in (b"", b"."):
            return
        if name == b"..":
            if len(self._stack) > 1:
                self._go_back()
            return
        child = self._view.open_child(self._stack[-1][0], self._path(), name)
        self._stack.append((child, name))
        if (follow or self._names) and stat.S_ISLNK(os.fstat(child).st_mode):
            self._follow(os.readlink(b"", dir_fd=child))

    def _follow(self, target: bytes) -> None:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._stack[-1][1])
        self._go_back()
        if target.startswith(b"/"):
            while len(self._stack) > 1:
                self._go_back()
        self._names.extendleft(reversed(target.split(b"/")))

    def _go_back(self) -> None:
        os.close(self._stack.pop()[0])

    def _path(self) -> bytes:
        return b"/".join(name for _, name in self._stack if name)

    def _require_directory(self) -> None:
        fd, name = self._stack[-1]
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)


class Filesystems:
    """Opens the files of containers."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts

    @contextmanager
    def open(self, container: Container, *, write: bool) -> Iterator[View]:
        """The files as the container sees them.

        While those of a container that does not run are written, it can be removed, but not started.
        """
        with ExitStack() as stack:
            view = self._running(container, stack)  # without the lock: a stop may hold it for long
            while view is None:
                with container.operation:
                    view = self._open(container, stack, write=write)
                if view is not None:
                    break
                with container.files:  # somebody else's copy comes to its end first
                    pass
            yield view

    def _open(self, container: Container, stack: ExitStack, *, write: bool) -> View | None:
        """None while somebody copies into a container that does not run; the operation lock is held."""
        view = self._running(container, stack)
        if view is not None:
            return view
        if write:
            if not container.files.acquire(blocking=False):
                return None
            stack.callback(container.files.release)
        return self._stopped(container, stack, write=write)

    @staticmethod
    def _running(container: Container, stack: ExitStack) -> View | None:
        root = _running_root(container)
        if root is None:
            return None
        stack.callback(os.close, root)
        return View(root, {})

    def plain(self, container: Container) -> int:
        """The layers and what was changed, without anything mounted: a read-only detached mount."""
        return self._parts.snapshots.mount(container.id, container.diff_ids, read_only=True)

    def _stopped(self, container: Container, stack: ExitStack, *, write: bool) -> View:
        if container.state in (State.REMOVING, State.DEAD):
            raise Conflict(f"container {container.id} is being removed")
        try:
            return self._mounted(container, stack, write=write)
        except FileNotFoundError:
            # A place for a mount is missing: it is made as a start would make it.
            self._make_parents(container)
        return self._mounted(container, stack, write=write)

    def _mounted(self, container: Container, stack: ExitStack, *, write: bool) -> View:
        read_only = not write or container.document.host.readonly_rootfs
        root = self._parts.snapshots.mount(container.id, container.diff_ids, read_only=read_only)
        stack.callback(os.close, root)
        mounts: dict[bytes, int] = {}
        view = View(root, mounts)
        for mount in container.document.mounts:
            source = self._source(mount)
            if source is not None:
                stack.callback(os.close, source)
                mounts[_destination(view, mount)] = source
        return view

    def _make_parents(self, container: Container) -> None:
        """Make the directories that mounts lie in, where links of the image lead."""
        root = self._parts.snapshots.mount(container.id, container.diff_ids)
        try:
            for mount in container.document.mounts:
                parent = os.fsencode(mount.destination).rpartition(b"/")[0]
                os.close(make_directories_in_root(root, parent))
        finally:
            os.close(root)

    def _source(self, mount: PlannedMount) -> int | None:
        """What will be mounted; None for what is there only while the container runs."""
        if mount.type not in ("volume", "bind"):
            return None
        try:
            if mount.type == "volume":
                source = self._parts.volumes.open(mount.source, mount.subpath)
            else:
                source = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return None  # it is made at the start
        if not mount.read_only:
            return source
        try:
            clone = open_tree(source, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE)
        finally:
            os.close(source)
        mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, attr_set=MOUNT_ATTR_RDONLY)
        return clone


def _destination(view: View, mount: PlannedMount) -> bytes:
    """The resolved path; the last name need not be there."""
    parent, _, name = os.fsencode(mount.destination).strip(b"/").rpartition(b"/")
    place = view.resolve(parent)
    os.close(place.fd)
    return place.path + b"/" + name if place.path else name


def wait_for_copies(container: Container) -> None:
    """Before a start: let a copy into the container end, for a while; the operation lock is held."""
    if not container.files.acquire(timeout=_COPY_TIMEOUT):
        raise Conflict(
            f"files are being copied into container {container.name}: try again when this has ended"
        )
    container.files.release()


def require_writable(container: Container, view: View, place: Place) -> None:
    """Raise PermissionDenied, in Docker's words, where the container's plan has nothing to be written."""
    inside: PlannedMount | None = None
    for mount in container.document.mounts:  # the outer ones come first
        try:
            there = view.resolve(os.fsencode(mount.destination))
        except OSError:
            continue
        os.close(there.fd)
        if place.path == there.path or place.path.startswith(there.path + b"/"):
            inside = mount
    if inside is not None and inside.read_only:
        raise PermissionDenied(READ_ONLY_VOLUME)
    if inside is None and container.document.host.readonly_rootfs:
        raise PermissionDenied(READ_ONLY_ROOT)


def require_files(place: Place) -> None:
    """Raise PermissionDenied for /proc, /sys and their kind: their files are the kernel's."""
    if filesystem_type(place.fd) in _KERNELS_OWN:
        raise PermissionDenied(KERNELS_FILES)


def _running_root(container: Container) -> int | None:
    """The root of the container's first process, if it has one."""
    with container.mutex:
        if not container.alive:
            return None
        pid = container.document.pid
    try:
        process = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        _ended(container)
        return None
    try:
        # A process that took the pid over is one of the host's: it must never be taken for ours.
        theirs, ours = os.stat("ns/mnt", dir_fd=process), os.stat("/proc/self/ns/mnt")
        if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
            _ended(container)
            return None
        return os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    except (FileNotFoundError, ProcessLookupError):
        _ended(container)
        return None
    finally:
        os.close(process)


def _ended(container: Container) -> None:
    """The process is gone: wait until the daemon knows."""
    if not container.wait_ended(2.0):
        raise Conflict(f"container {container.id} is ending: try again")
