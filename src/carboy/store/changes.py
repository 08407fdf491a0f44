"""What one step of a build has changed, told from what overlay has merely touched.

Overlay's upper directory has more than the changes: a directory is copied up when anything in it is
written, and stays when that was removed again; a file is copied up by a chown or chmod that changes
nothing; and what was below only for the step's sake (mount points, the host's certificates) leaves
traces.  Here is decided what enters the layer.  Only entries that overlay has copied up are
compared, so that this costs little where much was written anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from carboy.formats.tar import keep_xattrs
from carboy.store.differ import Found
from carboy.store.lower import Lowers

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20


class Changes:
    """Decides what of an upper directory is a change."""

    def __init__(
        self,
        upper: int,
        *,
        base: Lowers,
        shown: Lowers,
        lent: frozenset[bytes] = frozenset(),
        residue: Callable[[bytes], bool] | None = None,
    ) -> None:
        """base: the layers.  shown: what lay below indeed, with what was put there for the step only.

        lent: files of those: as long as their content is the same, they never enter.
        residue: whether to leave a path out, whatever it holds.
        """
        self._upper = upper
        self._base = base
        self._shown = shown
        self._lent = lent
        self._residue = residue
        self.removed: list[bytes] = []
        """Residues that were left out, without what is below them."""

    def choose(self, found: list[Found]) -> list[Found]:
        """The entries of the layer, in the same order; `found` is sorted."""
        kept: list[Found] = []
        new: set[bytes] = set()
        gone: set[bytes] = set()
        for item in found:
            parent = item.path.rpartition(b"/")[0]
            if parent in gone:
                gone.add(item.path)
                continue
            below = None if parent in new else self._base.status(item.path) if _concerns(item) else None
            is_directory = stat.S_ISDIR(item.status.st_mode)
            if item.is_whiteout:
                if below is not None:
                    kept.append(item)
                continue
            if is_directory:
                if below is None:
                    new.add(item.path)
                item.opaque = item.opaque and below is not None and stat.S_ISDIR(below.st_mode)
            if self._residue is not None and self._residue(item.path) and not (is_directory and below):
                self.removed.append(item.path)
                gone.add(item.path)
                continue
            kept.append(item)
        return self._without_the_same(kept)

    def _without_the_same(self, found: list[Found]) -> list[Found]:
        kept: list[Found] = []
        needed: set[bytes] = set()
        for item in reversed(found):  # what is in a directory comes before it
            if item.copied and item.path not in needed and self._is_the_same(item):
                continue
            kept.append(item)
            parent = item.path.rpartition(b"/")[0]
            while parent and parent not in needed:
                needed.add(parent)
                parent = parent.rpartition(b"/")[0]
        kept.reverse()
        return kept

    def _is_the_same(self, item: Found) -> bool:
        below = self._shown.open(item.path)
        if below is None:
            return False
        try:
            status = os.fstat(below)
            if stat.S_IFMT(status.st_mode) != stat.S_IFMT(item.status.st_mode):
                return False
            lent = item.path in self._lent
            if not lent and not (_same_rights(status, item.status) and _xattrs(below) == (item.xattrs or {})):
                return False
            if stat.S_ISDIR(status.st_mode):
                return not item.opaque
            if not stat.S_ISREG(status.st_mode) or status.st_size != item.status.st_size:
                return False
            if not lent and (status.st_nlink > 1 or item.status.st_nlink > 1):
                return False
            if not lent and status.st_mtime_ns != item.status.st_mtime_ns:
                return False
            return self._same_content(item, below)
        finally:
            os.close(below)

    def _same_content(self, item: Found, below: int) -> bool:
        one = os.open(f"/proc/self/fd/{below}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            other = _open_beneath(self._upper, item.path)
            try:
                return _equal(one, other, item.status.st_size)
            finally:
                os.close(other)
        finally:
            os.close(one)


def _concerns(item: Found) -> bool:
    """Whether what lies below matters: new files are the most, and nobody looks."""
    return item.copied or item.is_whiteout or stat.S_ISDIR(item.status.st_mode)


def _same_rights(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _xattrs(fd: int) -> dict[bytes, bytes]:
    place = f"/proc/self/fd/{fd}"
    found = {
        os.fsencode(name): os.getxattr(place, name)
        for name in os.listxattr(place)
        if name == "security.capability" or name.startswith("user.")
    }
    return keep_xattrs(found) or {}


def _open_beneath(directory: int, path: bytes) -> int:
    """Component by component, through no link: what ran may still have had the directory open."""
    fd = os.dup(directory)
    parts = path.split(b"/")
    for part in parts[:-1]:
        try:
            child = os.open(part, _READ | os.O_DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    try:
        return os.open(parts[-1], _READ | os.O_NONBLOCK, dir_fd=fd)
    finally:
        os.close(fd)


def _equal(one: int, other: int, size: int) -> bool:
    for offset in range(0, size, _PIECE):
        if os.pread(one, _PIECE, offset) != os.pread(other, _PIECE, offset):
            return False
    return True
