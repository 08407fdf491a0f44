"""Flags of inodes that a filesystem may keep (`ioctl_iflags(2)`, `chattr(1)`)."""

from __future__ import annotations

import fcntl
import os
import struct

_GET = 0x80086601  # FS_IOC_GETFLAGS: _IOR('f', 1, long); what goes over is an int
_SET = 0x40086602  # FS_IOC_SETFLAGS: _IOW('f', 2, long)
_TOPDIR = 0x00020000  # FS_TOPDIR_FL
_INT = struct.Struct("i")


def inode_flags(descriptor: int) -> int:
    """The flags of an open file; OSError where the filesystem has none."""
    answer = fcntl.ioctl(descriptor, _GET, bytes(_INT.size))
    found: int = _INT.unpack(answer)[0]
    return found


def spread_subdirectories(path: str) -> bool:
    """Tell ext4 that subdirectories have nothing to do with each other; whether it listened.

    Subdirectories made from now on begin in block groups of their own.  It matters after many files were
    deleted: ext4 without a journal passes over each inode that was freed in the last half minute, one by
    one, for each new file in that group (`recently_deleted` in the kernel's fs/ext4/ialloc.c).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags = inode_flags(descriptor)
        fcntl.ioctl(descriptor, _SET, _INT.pack(flags | _TOPDIR))
    except OSError:
        return False  # another filesystem: it has ways of its own
    finally:
        os.close(descriptor)
    return True
