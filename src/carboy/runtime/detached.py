"""Mounts that are not attached yet: new filesystems, and what is set before anybody sees them."""

from __future__ import annotations

import os
import stat

from carboy.errors import InvalidArgument
from carboy.linux import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.mountoptions import Options


def new_filesystem(kind: str, source: str, options: Options) -> int:
    """A detached mount of a new instance of `kind` with the options' data."""
    if not kind:
        raise InvalidArgument("the mount has no type")
    context = m.fsopen(kind)
    try:
        if source:
            m.fsconfig_set_string(context, "source", source)
        for key, value in options.data:
            if value is None:
                m.fsconfig_set_flag(context, key)
            else:
                m.fsconfig_set_string(context, key, value)
        m.fsconfig_create(context)
        return m.fsmount(context)
    finally:
        os.close(context)


def null_device() -> int:
    """A detached mount of the host's /dev/null, read-only: the device takes writes, its inode no chmod."""
    fd = m.open_tree(m.AT_FDCWD, b"/dev/null", m.OPEN_TREE_CLONE)
    if not is_null(fd):
        os.close(fd)
        raise InvalidArgument("/dev/null of the host is not the null device")
    quiet = m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NOEXEC
    m.mount_setattr(fd, b"", m.AT_EMPTY_PATH, attr_set=quiet)
    return fd


def is_null(fd: int) -> bool:
    """Whether the descriptor is of the null device, whatever its path (CVE-2025-31133)."""
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)


def set_attributes(fd: int, options: Options) -> None:
    """Read-only, nosuid and their kin, as the options say."""
    if options.attr_set or options.attr_clr:
        m.mount_setattr(fd, b"", m.AT_EMPTY_PATH, attr_set=options.attr_set, attr_clr=options.attr_clr)
    if options.recursive_set or options.recursive_clr:
        flags = m.AT_EMPTY_PATH | m.AT_RECURSIVE
        m.mount_setattr(fd, b"", flags, attr_set=options.recursive_set, attr_clr=options.recursive_clr)
