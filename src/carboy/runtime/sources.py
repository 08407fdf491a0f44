"""What the parent opens in the host's namespaces and init inherits: detached mounts.

A source is a path of the operator's; a part of one (a volume's subpath) is resolved inside it
by openat2, because containers write there.  The mounts of other containers (`--ipc container:`)
can be copied in their own mount namespace only: this process joins it for one call.
"""

from __future__ import annotations

import os
import stat

from carboy.errors import InvalidArgument, Unsupported
from carboy.linux import mount as m
from carboy.linux import namespaces, process
from carboy.linux.paths import open_in_root
from carboy.runtime import clone, mountoptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.mountoptions import Options
    from carboy.runtime.spec import Mount, Spec


class Sources:
    """root: the root filesystem.  binds: by position in `spec.mounts`."""

    __slots__ = ("binds", "root")

    def __init__(self, root: int, binds: dict[int, int]) -> None:
        self.root = root
        self.binds = binds

    def close(self) -> None:
        """Close all of them (in the parent, after the fork)."""
        for fd in (self.root, *self.binds.values()):
            os.close(fd)


def open_sources(spec: Spec, bundle: str, rootfs_fd: int | None, mount_fds: list[int]) -> Sources:
    """Open the root and every bind source; paths are the operator's, relative ones below the bundle."""
    if rootfs_fd is not None:
        root = os.dup(rootfs_fd)
    else:
        path = os.path.join(bundle, spec.root_path)
        root = m.open_tree(m.AT_FDCWD, path, m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        if not stat.S_ISDIR(os.fstat(root).st_mode):
            os.close(root)
            raise InvalidArgument(f"root filesystem {path} is not a directory")
    sources = Sources(root, {})
    try:
        for position, one in enumerate(spec.mounts):
            options = mountoptions.parse(one.options)
            if options.bind or one.kind == "bind":
                fd = _open(os.path.join(bundle, one.source), options, mount_fds)
                sources.binds[position] = fd
                if options.idmap or one.uid_mappings or one.gid_mappings:
                    _map_ids(fd, one, options, spec)
            elif options.idmap or one.uid_mappings or one.gid_mappings:
                raise Unsupported(f"{one.destination}: only bind mounts can have id mappings")
    except BaseException:
        sources.close()
        raise
    return sources


def _open(source: str, options: Options, mount_fds: list[int]) -> int:
    if options.descriptor >= 0:
        if options.descriptor >= len(mount_fds):
            raise InvalidArgument(f"bind source {source}: its mount did not come with the request")
        return os.dup(mount_fds[options.descriptor])
    flags = m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if options.recursive else 0)
    try:
        if options.process:
            return _open_in_process(options.process, source, flags)
        if options.subpath:
            return _open_part(source, options.subpath, flags)
        return m.open_tree(m.AT_FDCWD, source, flags)
    except FileNotFoundError as error:
        raise InvalidArgument(f"bind source {source} does not exist") from error
    except OSError as error:
        raise InvalidArgument(f"bind source {source}: {error.strerror}") from error


def _open_part(source: str, unsafe_subpath: str, flags: int) -> int:
    root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_in_root(root, unsafe_subpath, os.O_PATH)
    except OSError as error:
        raise InvalidArgument(
            f"bind source {source}: cannot use its part {unsafe_subpath!r}: {error.strerror}"
        ) from error
    finally:
        os.close(root)
    try:
        return m.open_tree(found, b"", flags | m.AT_EMPTY_PATH)
    finally:
        os.close(found)


def _open_in_process(pid: int, unsafe_path: str, flags: int) -> int:
    # Nobody in there may look at us meanwhile.
    process.set_dumpable(0)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = -1
    try:
        found = open_in_root(root, unsafe_path, os.O_PATH)
        namespaces.setns(theirs, namespaces.CLONE_NEWNS)
        try:
            return m.open_tree(found, b"", flags | m.AT_EMPTY_PATH)
        finally:
            namespaces.setns(own, namespaces.CLONE_NEWNS)
    finally:
        for fd in (own, theirs, root, found):
            if fd >= 0:
                os.close(fd)


def _map_ids(fd: int, one: Mount, options: Options, spec: Spec) -> None:
    """Idmap the detached bind mount: by its own mappings, else by those of the container's user namespace."""
    uids = one.uid_mappings or spec.linux.uid_mappings
    gids = one.gid_mappings or spec.linux.gid_mappings
    if not uids or not gids:
        raise InvalidArgument(f"{one.destination}: an id-mapped mount needs uidMappings and gidMappings")
    try:
        namespace = clone.user_namespace(uids, gids)
        try:
            flags = m.AT_EMPTY_PATH | (m.AT_RECURSIVE if options.idmap == "ridmap" else 0)
            m.mount_setattr(fd, b"", flags, attr_set=m.MOUNT_ATTR_IDMAP, userns_fd=namespace)
        finally:
            os.close(namespace)
    except OSError as error:
        raise Unsupported(f"{one.destination}: cannot map the ids of {one.source}: {error}") from error
