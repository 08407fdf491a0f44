"""How many bytes the files below a directory have, hostile as it may be.

Walked by descriptors, one directory at a time, so that no link leads out and depths cost nothing.
"""

from __future__ import annotations

import os

from carboy.linux.paths import RESOLVE_IN_TREE, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST = 4000
"""Bytes of a path: the kernel takes 4095.  What lies deeper was made to be a nuisance and counts nothing."""


def directory_size(path: str) -> int:
    """Bytes of the files below `path`; 0 when it is not there."""
    try:
        root = os.open(path, _DIRECTORY)
    except OSError:
        return 0
    try:
        return _walk(root)
    finally:
        os.close(root)


def _walk(root: int) -> int:
    total = 0
    linked: set[tuple[int, int]] = set()
    pending = [b"."]
    while pending:
        here = pending.pop()
        try:
            directory = openat2(root, here, _DIRECTORY, resolve=RESOLVE_IN_TREE)
        except OSError:
            continue  # it went meanwhile, or is a mount
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    total += _entry_size(entry, here, pending, linked)
        except OSError:
            continue
        finally:
            os.close(directory)
    return total


def _entry_size(
    entry: os.DirEntry[str], here: bytes, pending: list[bytes], linked: set[tuple[int, int]]
) -> int:
    try:
        if entry.is_dir(follow_symlinks=False):
            path = here + b"/" + os.fsencode(entry.name)
            if len(path) < _LONGEST:
                pending.append(path)
            return 0
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    if status.st_nlink > 1:
        inode = (status.st_dev, status.st_ino)
        if inode in linked:
            return 0
        linked.add(inode)
    return status.st_size
