"""Building a container's root filesystem: in init, before and after the pivot.

Nothing here joins strings with untrusted paths: targets are opened inside the root with
openat2, mounts are made detached and then attached to those descriptors.

    parent   sources.open_sources: the root and every bind source, as detached mounts
    init     attach_root ─▶ mounts in their order ─▶ devices, links, console
             ─▶ masked and read-only paths ─▶ pivot
"""

from __future__ import annotations

import errno
import os
import stat

from carboy.errors import InvalidArgument
from carboy.linux import mount as m
from carboy.linux import paths, terminal
from carboy.linux.paths import create_file_in_root, make_directories_in_root, open_in_root
from carboy.runtime import cgroups, cgroupview, mountoptions, nodes
from carboy.runtime.copyup import copy_up
from carboy.runtime.detached import new_filesystem, null_device, set_attributes
from carboy.runtime.mountoptions import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.runtime.sources import Sources
    from carboy.runtime.spec import Mount, Spec

PSEUDO = ("proc", "sysfs")
"""Filesystems that must lie where they are said to: a link there would redirect masks and labels."""

COVERABLE = frozenset(
    "/proc/" + name
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)
"""Files of /proc that a mount may cover."""

DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

DEFAULT_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


class Builder:
    """Makes one root filesystem, in init's own mount namespace."""

    def __init__(
        self,
        spec: Spec,
        sources: Sources,
        *,
        enter_group: Callable[[], dict[str, str]],
        layout: cgroups.Layout | None,
    ) -> None:
        self.spec = spec
        self.sources = sources
        self.root = sources.root
        self.cgroup_paths: dict[str, str] = {}
        self._enter_group = enter_group
        self.layout = layout
        self.in_user_namespace = "user" in spec.linux.namespaces

    # Attach, mount, leave

    def attach_root(self, place: str) -> None:
        """Make the detached root part of this mount namespace, over the directory `place`."""
        m.mount_setattr(m.AT_FDCWD, b"/", m.AT_RECURSIVE, propagation=m.MS_SLAVE)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            target = os.open(place, flags)
        except PermissionError:
            # Root of a user namespace may not enter a private directory of the host; any place does.
            target = os.open("/", flags)
        try:
            m.attach(self.root, target)
        finally:
            os.close(target)
        m.mount_setattr(self.root, b"", m.AT_EMPTY_PATH | m.AT_RECURSIVE, propagation=m.MS_PRIVATE)

    def mount_all(self) -> None:
        """Every entry of `mounts`, in order."""
        for position, one in enumerate(self.spec.mounts):
            try:
                self._mount(one, self.sources.binds.get(position))
            except OSError as error:
                name = os.fsdecode(error.filename) if error.filename else ""
                text = f"mounting {one.source or one.kind!r} at {one.destination}: {error.strerror} {name}"
                raise OSError(error.errno, text.rstrip()) from error

    def _mount(self, one: Mount, source: int | None) -> None:
        options = mountoptions.parse(one.options)
        if source is not None:
            self._bind(one, options, source)
            return
        if one.kind == "tmpfs":
            self._keep_mode(one, options)
        target = self._directory(one)
        try:
            if one.kind != "proc":
                self._refuse_proc(target, one)
            if one.kind == "cgroup":
                self._cgroup(options, target)
                return
            if one.kind == "cgroup2":
                self._enter_group()
            copied = os.dup(target) if options.copy_up else -1
            mounted = self._filesystem(one, options)
            try:
                if copied >= 0:
                    copy_up(copied, mounted)
                set_attributes(mounted, options)
                m.attach(mounted, target)
                self._propagate(mounted, options)
            finally:
                os.close(mounted)
        finally:
            os.close(target)

    def _keep_mode(self, one: Mount, options: Options) -> None:
        """As runc: a tmpfs without a mode of its own gets that of the directory which it covers."""
        if any(key == "mode" for key, _ in options.data):
            return
        try:
            covered = open_in_root(self.root, one.destination, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return
        options.data.append(("mode", f"{stat.S_IMODE(os.fstat(covered).st_mode):o}"))
        os.close(covered)

    def _directory(self, one: Mount) -> int:
        """The descriptor of the mount's target, made when it is missing."""
        if one.kind in PSEUDO and one.destination.rstrip("/").count("/") <= 1:
            name = one.destination.strip("/")
            try:
                os.close(make_directories_in_root(self.root, name))
                return paths.open_beneath(self.root, name, os.O_PATH | os.O_DIRECTORY)
            except OSError as error:
                text = (
                    f"{one.destination} of the root filesystem is not a directory: {one.kind} cannot go there"
                )
                raise InvalidArgument(text) from error
        return make_directories_in_root(self.root, one.destination)

    def _filesystem(self, one: Mount, options: Options) -> int:
        """A detached mount of a new filesystem."""
        try:
            return new_filesystem(one.kind, one.source, options)
        except PermissionError:
            if one.kind != "sysfs":
                raise
            # sysfs belongs to the network namespace: the host's is shown, read-only, where that is shared.
            # Without what is mounted below it: the host's control groups are not for the container.
            fd = m.open_tree(m.AT_FDCWD, b"/sys", m.OPEN_TREE_CLONE)
            m.mount_setattr(fd, b"", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
            return fd
        except OSError:
            if one.kind != "devpts":
                raise
            options.data = [
                pair for pair in options.data if pair[0] != "gid"
            ]  # no such id in this user namespace
            return new_filesystem(one.kind, one.source, options)

    def _bind(self, one: Mount, options: Options, source: int) -> None:
        """Attach a bind source; its target is made as a directory or file, like the source."""
        if options.subpath and options.descriptor >= 0:
            source = self._part(source, options.subpath, one)
        if stat.S_ISDIR(os.fstat(source).st_mode):
            target = make_directories_in_root(self.root, one.destination)
        else:
            target = create_file_in_root(self.root, one.destination)
        try:
            self._refuse_proc(target, one, source)
            set_attributes(source, options)
            if not options.propagation:
                # The copy was made in the host's namespace: without this, mounts would travel back.
                kind, _ = mountoptions.root_propagation(self.spec.linux.rootfs_propagation)
                m.mount_setattr(source, b"", m.AT_EMPTY_PATH | m.AT_RECURSIVE, propagation=kind)
            m.attach(source, target)
            self._propagate(source, options)
        finally:
            os.close(target)

    @staticmethod
    def _part(source: int, subpath: str, one: Mount) -> int:
        """A detached copy of what lies at `subpath` of a detached mount (an image)."""
        try:
            found = open_in_root(source, subpath, os.O_PATH)
        except OSError as error:
            raise InvalidArgument(
                f"{one.destination}: cannot use {subpath!r} of {one.source}: {error.strerror}"
            ) from error
        flags = m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | m.AT_RECURSIVE
        try:
            try:
                return m.open_tree(found, b"", flags)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            # Before Linux 6.15 only what is attached can be copied: over / of this namespace, which
            # keeps its own root below, for a moment.
            place = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            m.attach(source, place)
            os.close(place)
            try:
                return m.open_tree(found, b"", flags)
            finally:
                m.umount2(f"/proc/self/fd/{source}", m.MNT_DETACH)
        finally:
            os.close(found)

    @staticmethod
    def _refuse_proc(target: int, one: Mount, source: int = -1) -> None:
        """A mount over /proc would take masks and labels along (CVE-2019-16884).

        A few files may be covered, as LXCFS does, and all of /proc by another procfs.
        """
        destination = os.path.normpath("/" + one.destination.lstrip("/"))
        if source >= 0 and paths.filesystem_type(source) == paths.PROC_SUPER_MAGIC and destination == "/proc":
            return
        is_proc = paths.filesystem_type(target) == paths.PROC_SUPER_MAGIC
        if (is_proc and destination not in COVERABLE) or (destination == "/proc" and source >= 0):
            raise InvalidArgument(f"{one.destination} cannot be mounted: it is inside /proc")

    @staticmethod
    def _propagate(fd: int, options: Options) -> None:
        for kind, recursive in options.propagation:
            m.mount_setattr(fd, b"", m.AT_EMPTY_PATH | (m.AT_RECURSIVE if recursive else 0), propagation=kind)

    def _cgroup(self, options: Options, target: int) -> None:
        """/sys/fs/cgroup as the container may see it: its own groups, on v1, v2 and hybrid machines."""
        self.cgroup_paths = self._enter_group()
        cgroupview.attach(
            self.layout or cgroups.read_layout(),
            self.cgroup_paths,
            target,
            options,
            own_namespace="cgroup" in self.spec.linux.namespaces,
        )

    # Devices

    def make_devices(self) -> None:
        """The default nodes and those of the configuration, then the links."""
        if not self._has_own_dev():
            return
        done = set()
        for one in self.spec.linux.devices:
            done.add(one.path)
            nodes.make_device(self.root, one)
        for path, major, minor in DEFAULT_DEVICES:
            if path not in done:
                nodes.make_node(self.root, path, stat.S_IFCHR, os.makedev(major, minor))
        for path, target in DEFAULT_LINKS:
            nodes.make_link(self.root, path, target)

    def _has_own_dev(self) -> bool:
        """Whether /dev is not bound from the host: then it is not ours to fill."""
        for one in self.spec.mounts:
            if os.path.normpath(one.destination) == "/dev":
                return not mountoptions.parse(one.options).bind and one.kind != "bind"
        return True

    def open_console(self) -> tuple[int, int]:
        """(master, slave) from the container's devpts, the slave also bound to /dev/console."""
        devpts = open_in_root(self.root, "/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
        try:
            master, slave = terminal.open_pty(devpts)
        finally:
            os.close(devpts)
        source = m.open_tree(slave, b"", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
        try:
            parent = make_directories_in_root(self.root, "/dev")
            try:
                try:
                    fd = os.open("console", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
                    os.close(fd)
                except FileExistsError:
                    pass
                target = paths.open_beneath(parent, "console", os.O_PATH | os.O_NOFOLLOW)
            finally:
                os.close(parent)
            try:
                m.attach(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        return master, slave

    # Masks

    def make_read_only(self) -> None:
        """`readonlyPaths`: each becomes a read-only mount of itself; missing ones are skipped."""
        for path in self.spec.linux.readonly_paths:
            try:
                place = open_in_root(self.root, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                copy = m.open_tree(place, b"", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | m.AT_RECURSIVE)
                try:
                    m.mount_setattr(copy, b"", m.AT_EMPTY_PATH | m.AT_RECURSIVE, attr_set=m.MOUNT_ATTR_RDONLY)
                    m.attach(copy, place)
                finally:
                    os.close(copy)
            finally:
                os.close(place)

    def mask(self) -> None:
        """`maskedPaths`: the host's /dev/null over files, an empty tmpfs over directories; both read-only.

        Else the container's root, who is the host's, could change mode and owner of the host's /dev/null.
        """
        covers: dict[bool, int] = {}
        for path in self.spec.linux.masked_paths:
            try:
                place = open_in_root(self.root, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                is_directory = stat.S_ISDIR(os.fstat(place).st_mode)
                if is_directory in covers:
                    _cover(place, covers[is_directory])
                else:
                    covers[is_directory] = _empty_directory() if is_directory else null_device()
                    m.attach(covers[is_directory], place)
            finally:
                os.close(place)
        for fd in covers.values():
            os.close(fd)

    def pivot(self) -> None:
        """Make the new root the root of this namespace, and let go of the old one."""
        if self.spec.root_readonly:
            m.mount_setattr(self.root, b"", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self.root)
        m.pivot_root(b".", b".")
        os.fchdir(old)
        m.mount_setattr(m.AT_FDCWD, b".", m.AT_RECURSIVE, propagation=m.MS_SLAVE)
        m.umount2(b".", m.MNT_DETACH)
        os.close(old)
        os.chdir("/")
        if self.spec.linux.rootfs_propagation:
            kind, recursive = mountoptions.root_propagation(self.spec.linux.rootfs_propagation)
            m.mount_setattr(m.AT_FDCWD, b"/", m.AT_RECURSIVE if recursive else 0, propagation=kind)


def _empty_directory() -> int:
    """A detached tmpfs that holds nothing and takes nothing."""
    options = mountoptions.parse(["ro", "nosuid", "nodev", "noexec", "size=0k", "nr_inodes=2"])
    empty = new_filesystem("tmpfs", "tmpfs", options)
    set_attributes(empty, options)
    return empty


def _cover(place: int, source: int) -> None:
    """Attach a copy of `source`, with its attributes."""
    cover = m.open_tree(source, b"", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
    try:
        m.attach(cover, place)
    finally:
        os.close(cover)
