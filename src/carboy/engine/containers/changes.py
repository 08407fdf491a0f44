"""What a container has changed, less what the engine itself has put there.

A start makes places for its own mounts: an empty /etc/hosts in an image without one, /proc, /dev.
Docker keeps them in a layer of their own below the container's; here they are left out by name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from carboy.linux.paths import open_beneath
from carboy.store.snapshots import Change, ChangeKind

_FILES = frozenset({b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf", b"/dev/console"})
_DIRECTORIES = frozenset({b"/dev", b"/proc", b"/sys", b"/dev/pts", b"/dev/shm"})
_PARENTS = (b"/dev", b"/etc")


def visible(found: Iterable[Change], upper: str) -> list[Change]:
    """The changes that are the container's own; `upper` is the directory that holds them."""
    changes = list(found)
    added = {change.path for change in changes if change.kind is ChangeKind.ADDED}
    candidates = added & (_FILES | _DIRECTORIES)
    if not candidates:
        return changes
    directory = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hidden = {path for path in candidates if _is_empty(directory, path, added)}
    finally:
        os.close(directory)
    kept = [change for change in changes if change.path not in hidden]
    for parent in _PARENTS:
        # It changed only because something was put into it.
        below = parent + b"/"
        if any(path.startswith(below) for path in hidden) and not any(
            change.path.startswith(below) for change in kept
        ):
            kept = [change for change in kept if change.path != parent]
    return kept


def own_places(find: Callable[[], Iterable[Change]], upper: str) -> frozenset[bytes]:
    """What the engine has put there, relative to the root: no part of an image made of the container.

    find: gives the changes; it is asked only where there may be any such place.
    """
    directory = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not any(_is_there(directory, path) for path in _FILES | _DIRECTORIES):
            return frozenset()
    finally:
        os.close(directory)
    changes = list(find())
    return frozenset(change.path[1:] for change in set(changes) - set(visible(changes, upper)))


def _is_there(directory: int, path: bytes) -> bool:
    try:
        os.close(open_beneath(directory, path[1:], os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def _is_empty(directory: int, path: bytes, added: set[bytes]) -> bool:
    """Whether nobody has put anything there."""
    try:
        fd = open_beneath(directory, path[1:], os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False  # a link, or gone meanwhile
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if path in _DIRECTORIES:
        inside = {one for one in added if one.startswith(path + b"/")}
        return stat.S_ISDIR(status.st_mode) and inside <= _FILES | _DIRECTORIES
    return stat.S_ISREG(status.st_mode) and status.st_size == 0
