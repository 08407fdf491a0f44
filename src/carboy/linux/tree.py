"""Recursive removal on descriptors: no link is followed, no mount is crossed."""

from __future__ import annotations

import errno
import os

from carboy.linux.paths import RESOLVE_IN_TREE, openat2

_DEPTH = 64
"""Directories deeper than this are first moved up, so that hostile trees exhaust neither
descriptors nor the stack."""


def remove(dir_fd: int, name: str | bytes) -> None:
    """Remove `name` in `dir_fd` and everything in it; what is not there is no error.

    name: one component; a longer path could lead through links.
    A mount inside is an error (EXDEV or EBUSY), and nothing on it is touched.
    """
    encoded = os.fsencode(name)
    if b"/" in encoded or encoded in (b"", b".", b".."):
        raise OSError(errno.EINVAL, "only a single name can be removed", name)
    try:
        os.unlink(encoded, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    try:
        top = _open_directory(dir_fd, encoded)
    except FileNotFoundError:
        return
    try:
        _empty(top, top, 0)
    finally:
        os.close(top)
    os.rmdir(encoded, dir_fd=dir_fd)


def remove_in(directory: str, name: str | bytes) -> None:
    """Remove `name` in the directory at a path of ours, as `remove`."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove(fd, name)
    finally:
        os.close(fd)


def _open_directory(dir_fd: int, name: bytes) -> int:
    try:
        fd = openat2(dir_fd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=RESOLVE_IN_TREE)
    except PermissionError:
        fd = _open_without_rights(dir_fd, name)
    if os.geteuid() != 0 and os.fstat(fd).st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)  # or nothing in it could be removed
    return fd


def _open_without_rights(dir_fd: int, name: bytes) -> int:
    """A directory that is ours but may not be read, as a rootless container leaves them.

    The mode is changed through a descriptor: by name, a link could be put in between.
    """
    place = openat2(dir_fd, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=RESOLVE_IN_TREE)
    try:
        os.chmod(f"/proc/self/fd/{place}", 0o700)
    finally:
        os.close(place)
    return openat2(dir_fd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=RESOLVE_IN_TREE)


def _empty(directory: int, top: int, depth: int) -> None:
    again = True
    while again:  # until a pass finds nothing: deep directories are moved up into `top`
        again = False
        for name in os.listdir(directory):
            encoded = os.fsencode(name)
            try:
                os.unlink(encoded, dir_fd=directory)
                continue
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.EPERM):
                    raise
            if depth >= _DEPTH:
                _move_up(directory, encoded, top)
                continue
            _remove_directory(directory, encoded, top, depth)
            again = depth == 0 or again


def _remove_directory(directory: int, name: bytes, top: int, depth: int) -> None:
    child = _open_directory(directory, name)
    try:
        _empty(child, top, depth + 1)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=directory)


def _move_up(directory: int, name: bytes, top: int) -> None:
    attempt = 0
    while True:
        try:
            os.rename(name, b".carboy-removing-%d" % attempt, src_dir_fd=directory, dst_dir_fd=top)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            attempt += 1
