"""The mount calls, old and new: one function each.

The new interface works on descriptors: `fsopen` → `fsconfig_*` → `fsmount` gives a detached
mount; `open_tree(OPEN_TREE_CLONE)` gives a detached copy of an existing one; `move_mount`
attaches it; `mount_setattr` changes flags.  Constants are those of <linux/mount.h>.
"""

from __future__ import annotations

import ctypes
import os
import struct

from carboy.linux.libc import LIBC, c_path, call, syscall

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_BENEATH = 0x200

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_SET_FD = 5
_FSCONFIG_CMD_CREATE = 6


def fsopen(filesystem: str) -> int:
    """A new filesystem context (CLOEXEC)."""
    return syscall("fsopen", filesystem.encode(), _FSOPEN_CLOEXEC, path=filesystem)


def fsconfig_set_flag(context: int, key: str) -> None:
    """Set an option that has no value."""
    _fsconfig(context, _FSCONFIG_SET_FLAG, key, None, 0)


def fsconfig_set_string(context: int, key: str, value: str | bytes) -> None:
    """Set an option to a string; the kernel takes at most 255 bytes."""
    _fsconfig(context, _FSCONFIG_SET_STRING, key, c_path(value), 0)


def fsconfig_set_fd(context: int, key: str, fd: int) -> None:
    """Set an option to a descriptor."""
    _fsconfig(context, _FSCONFIG_SET_FD, key, None, fd)


def fsconfig_create(context: int) -> None:
    """Make the superblock from the options set so far."""
    _fsconfig(context, _FSCONFIG_CMD_CREATE, None, None, 0)


def _fsconfig(context: int, command: int, key: str | None, value: bytes | None, aux: int) -> None:
    name = None if key is None else key.encode()
    try:
        syscall("fsconfig", context, command, name, value, aux, path=key)
    except OSError as error:
        said = messages(context)
        if not said:
            raise
        raise OSError(error.errno, f"{error.strerror} ({said})", key) from None


def messages(context: int) -> str:
    """What the filesystem itself said about its options, joined; the queue is emptied."""
    lines = []
    while True:
        try:
            line = os.read(context, 4096)
        except OSError:
            break
        lines.append(line.decode(errors="replace").strip())
    return "; ".join(line for line in lines if line)


def fsmount(context: int, attributes: int = 0) -> int:
    """A detached mount of the created superblock."""
    return syscall("fsmount", context, _FSMOUNT_CLOEXEC, attributes)


def open_tree(dir_fd: int, path: str | bytes, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it (CLOEXEC)."""
    return syscall("open_tree", dir_fd, c_path(path), flags | OPEN_TREE_CLOEXEC, path=path)


def move_mount(from_fd: int, from_path: str | bytes, to_fd: int, to_path: str | bytes, flags: int) -> None:
    """Attach a detached mount, or move an attached one."""
    syscall(
        "move_mount", from_fd, c_path(from_path), to_fd, c_path(to_path), flags, path=to_path or from_path
    )


def attach(mount_fd: int, target_fd: int) -> None:
    """`move_mount` of the mount itself onto the directory or file `target_fd` itself."""
    move_mount(mount_fd, b"", target_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_setattr(
    fd: int,
    path: str | bytes,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change attributes or propagation of a mount, with AT_RECURSIVE of the tree below it."""
    packed = struct.pack("=QQQQ", attr_set, attr_clr, propagation, userns_fd)
    syscall("mount_setattr", fd, c_path(path), flags, packed, len(packed), path=path or None)


def mount(
    source: str | bytes | None,
    target: str | bytes | None,
    filesystem: str | None,
    flags: int,
    data: str | bytes | None = None,
) -> None:
    """mount(2), for kernels and filesystems that the new interface does not serve."""
    syscall(
        "mount",
        None if source is None else c_path(source),
        None if target is None else c_path(target),
        None if filesystem is None else filesystem.encode(),
        flags,
        None if data is None else c_path(data),
        path=target,
    )


def umount2(target: str | bytes, flags: int = 0) -> None:
    """Unmount `target`."""
    syscall("umount2", c_path(target), flags, path=target)


def pivot_root(new_root: str | bytes, put_old: str | bytes) -> None:
    """Make `new_root` the root of this mount namespace."""
    syscall("pivot_root", c_path(new_root), c_path(put_old), path=new_root)


class _Statfs(ctypes.Structure):
    # struct statfs of both 64-bit architectures
    _fields_ = (
        ("f_type", ctypes.c_long),
        ("f_bsize", ctypes.c_long),
        ("f_blocks", ctypes.c_ulong * 5),
        ("f_fsid", ctypes.c_int * 2),
        ("f_namelen", ctypes.c_long),
        ("f_frsize", ctypes.c_long),
        ("f_flags", ctypes.c_long),
        ("f_spare", ctypes.c_long * 4),
    )


def fstatfs_type(fd: int) -> int:
    """The magic number of the filesystem that `fd` lies on."""
    buffer = _Statfs()
    call("fstatfs", LIBC.fstatfs, fd, ctypes.byref(buffer))
    return int(buffer.f_type) & 0xFFFFFFFF
