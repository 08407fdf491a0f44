"""Untrusted paths inside a root filesystem: openat2 and what is built on it.

Everything here works on descriptors.  A path is resolved by the kernel in one step
(RESOLVE_IN_ROOT: absolute links and ".." stay below the root, magic links are refused), so
that nothing can be exchanged between a check and its use.
"""

from __future__ import annotations

import errno
import os
import struct

from carboy.linux.libc import c_path, syscall
from carboy.linux.mount import fstatfs_type

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
DEVPTS_SUPER_MAGIC = 0x1CD1
TMPFS_MAGIC = 0x01021994
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
OVERLAYFS_SUPER_MAGIC = 0x794C7630
NSFS_MAGIC = 0x6E736673

_MAX_LINKS = 40  # as many as the kernel follows
_ATTEMPTS = 128  # EAGAIN: somebody renames while we resolve; a hostile process may do so all day

_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
RESOLVE_IN_TREE = _STRICT | RESOLVE_NO_XDEV
"""What lies below a directory itself: through no link, on no mount."""


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, *, resolve: int = 0) -> int:
    """openat2(2); CLOEXEC is always set; EAGAIN is tried again a bounded number of times."""
    encoded = c_path(path)
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    attempt = 0
    while True:
        try:
            return syscall("openat2", dir_fd, encoded, how, len(how), path=path)
        except OSError as error:
            attempt += 1
            if error.errno != errno.EAGAIN or attempt >= _ATTEMPTS:
                raise


def open_in_root(root_fd: int, unsafe_path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `unsafe_path` as a process chrooted to `root_fd` would, never outside it."""
    relative = os.fsencode(unsafe_path).lstrip(b"/") or b"."
    return openat2(root_fd, relative, flags, mode, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_beneath(dir_fd: int, name: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `name` below `dir_fd` where no part of it may be a symbolic link."""
    return openat2(dir_fd, name, flags, mode, resolve=_STRICT)


def exists_in_root(root_fd: int, unsafe_path: str | bytes) -> bool:
    """Whether the path leads to something inside the root."""
    try:
        os.close(open_in_root(root_fd, unsafe_path, os.O_PATH))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_directories_in_root(root_fd: int, unsafe_path: str | bytes, mode: int = 0o755) -> int:
    """An O_PATH descriptor of the directory, made with its parents where they are missing.

    A dangling symbolic link on the way is followed inside the root, and its target is made.
    """
    parts = _split(unsafe_path)
    for _ in range(_MAX_LINKS):
        directory, done = _deepest_existing(root_fd, parts)
        following = _make_rest(directory, parts, done, mode)
        if isinstance(following, int):
            return following
        parts = following
    raise OSError(errno.ELOOP, "too many dangling symbolic links", unsafe_path)


def create_file_in_root(root_fd: int, unsafe_path: str | bytes, mode: int = 0o644) -> int:
    """An O_PATH descriptor of the file at the path: an existing one, or an empty one made there."""
    parts = _split(unsafe_path)
    for _ in range(_MAX_LINKS):
        if not parts:
            raise OSError(errno.EISDIR, "is the root directory", unsafe_path)
        parent = make_directories_in_root(root_fd, b"/".join(parts[:-1]))
        try:
            try:
                return open_in_root(root_fd, b"/".join(parts), os.O_PATH)
            except FileNotFoundError:
                pass
            try:
                flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDONLY
                made = openat2(parent, parts[-1], flags, mode, resolve=_STRICT)
            except FileExistsError:
                target = os.readlink(parts[-1], dir_fd=parent)  # a dangling link: make its target
                parts = _follow(parts[:-1], target, [])
                continue
            os.close(made)
            return open_beneath(parent, parts[-1], os.O_PATH | os.O_NOFOLLOW)
        finally:
            os.close(parent)
    raise OSError(errno.ELOOP, "too many dangling symbolic links", unsafe_path)


def _split(path: str | bytes) -> list[bytes]:
    return [part for part in c_path(path).split(b"/") if part not in (b"", b".")]


def _follow(before: list[bytes], target: bytes, after: list[bytes]) -> list[bytes]:
    """The parts to walk when the link after `before` points to `target`."""
    return ([] if target.startswith(b"/") else before) + _split(target) + after


def _deepest_existing(root_fd: int, parts: list[bytes]) -> tuple[int, int]:
    """The longest prefix of `parts` that is there: its descriptor and its number of parts."""
    for count in range(len(parts), -1, -1):
        try:
            return open_in_root(root_fd, b"/".join(parts[:count]), os.O_PATH | os.O_DIRECTORY), count
        except FileNotFoundError:
            continue
    raise OSError(errno.ENOENT, "the root directory is gone")


def _make_rest(current: int, parts: list[bytes], done: int, mode: int) -> int | list[bytes]:
    """Make what is missing below `current`, which is closed here.

    A descriptor of the last directory, or the parts to walk instead after a dangling link.
    """
    if b".." in parts[done:]:
        os.close(current)
        raise OSError(errno.ENOENT, "'..' after a directory that does not exist", b"/".join(parts))
    for position in range(done, len(parts)):
        name = parts[position]
        try:
            try:
                os.mkdir(name, mode, dir_fd=current)
            except FileExistsError:
                pass
            child = open_beneath(current, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            try:
                target = os.readlink(name, dir_fd=current)
            except OSError:
                raise error from None
            return _follow(parts[:position], target, parts[position + 1 :])
        finally:
            os.close(current)
        current = child
    return current


def filesystem_type(fd: int) -> int:
    """The magic number of the filesystem that `fd` lies on (fstatfs)."""
    return fstatfs_type(fd)


def require_filesystem(fd: int, magic: int, what: str) -> None:
    """Raise OSError(EXDEV) unless `fd` lies on a filesystem with that magic number."""
    found = fstatfs_type(fd)
    if found != magic:
        raise OSError(errno.EXDEV, f"not on the expected filesystem: found {found:#x}, want {magic:#x}", what)
