"""Copying a directory of an image into a volume: on descriptors only, nothing is followed.

The source is hostile (its names may be links that change meanwhile); the target is ours.
Sockets and devices stay behind; names, modes, owners, times and extended attributes come along.
"""

from __future__ import annotations

import contextlib
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 30
MAX_DEPTH = 200


def copy_directory(source: int, target: int, *, depth: int = 0) -> None:
    """Copy what is in `source`, and its own mode, owner and times, to the empty `target`."""
    if depth > MAX_DEPTH:
        raise OSError(f"the image's directories are nested deeper than {MAX_DEPTH} levels")
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_child_directory(name, source, target, depth)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    _copy_attributes(source, target)


def _copy_child_directory(name: str, source: int, target: int, depth: int) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    inner_source = os.open(name, _DIRECTORY, dir_fd=source)
    try:
        inner_target = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            copy_directory(inner_source, inner_target, depth=depth + 1)
        finally:
            os.close(inner_target)
    finally:
        os.close(inner_source)


def _copy_file(name: str, source: int, target: int) -> None:
    reading = os.open(name, _FILE, dir_fd=source)
    try:
        writing = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target
        )
        try:
            while os.sendfile(writing, reading, None, _CHUNK):
                pass
            _copy_attributes(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name.startswith("user.") or name == "security.capability":
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
