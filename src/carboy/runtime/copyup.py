"""tmpcopyup: a new filesystem starts with a copy of what the image has at its place.

The image is hostile: everything goes by descriptors, no link is followed, special files are left out.
"""

from __future__ import annotations

import os
import stat

from carboy.linux import paths


def _readable(path_fd: int) -> int:
    """A descriptor that can be listed, of the directory that an O_PATH one means."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path_fd)


def copy_up(image: int, mounted: int) -> None:
    """Fill the new filesystem `mounted` with what the image has at its place; closes `image`."""
    source, target = _readable(image), _readable(mounted)
    try:
        copy_tree(source, target)
    finally:
        for fd in (source, target, image):
            os.close(fd)


def copy_tree(source: int, target: int) -> None:
    """Copy what is below the directory `source` into `target`; special files are left out (tmpcopyup)."""
    mode = os.fstat(source)
    os.fchmod(target, stat.S_IMODE(mode.st_mode))
    os.fchown(target, mode.st_uid, mode.st_gid)
    for name in os.listdir(source):
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            inner = paths.open_beneath(source, name, os.O_RDONLY | os.O_DIRECTORY)
            outer = paths.open_beneath(target, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                copy_tree(inner, outer)
            finally:
                os.close(inner)
                os.close(outer)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, target, name, found)


def _copy_file(source: int, target: int, name: str, found: os.stat_result) -> None:
    reading = paths.open_beneath(source, name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while chunk := os.read(reading, 1 << 20):
                while chunk:
                    chunk = chunk[os.write(writing, chunk) :]
            os.fchown(writing, found.st_uid, found.st_gid)
            os.fchmod(writing, stat.S_IMODE(found.st_mode))
        finally:
            os.close(writing)
    finally:
        os.close(reading)
