"""Looking a path up in a stack of layers, as overlay would, without mounting it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from carboy.digest import Digest
from carboy.formats.layertree import IMPLIED
from carboy.store.layers import LayerStore

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"
_IMPLIED = os.fsdecode(IMPLIED)


class Lowers:
    """The layers of an image, top first, open while the context lasts."""

    def __init__(self, layers: LayerStore, diff_ids: Sequence[Digest], *, top: str = "") -> None:
        """top: a directory that lies above them all."""
        self._top = top
        self._layers = layers
        self._diff_ids = tuple(reversed(diff_ids))
        self._fds: list[int] = []

    def __enter__(self) -> Lowers:
        try:
            if self._top:
                self._fds.append(os.open(self._top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            for diff_id in self._diff_ids:
                self._fds.append(self._layers.mount(diff_id))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def status(self, path: bytes) -> os.stat_result | None:
        """What the image has at `path`; None for nothing.  Links are not followed."""
        return self._status(path, skip_implied=False)

    def open(self, path: bytes) -> int | None:
        """An O_PATH descriptor of what the image has at `path`; the caller closes it."""
        return self._open(path, skip_implied=False)

    def copy_root(self, target_fd: int) -> None:
        """Give a directory the mode, owner and attributes of the image's root."""
        for fd in self._fds:
            place = f"/proc/self/fd/{fd}"
            if not _has(place, _IMPLIED):
                _copy_attributes(place, os.stat(fd), target_fd)
                return

    def make_parents(self, path: str) -> None:
        """Make in `path` the directories that upper layers only imply and lower ones describe.

        Overlay shows the attributes of the topmost layer that has a directory, and so would lose them.
        Nothing is made when nothing would be lost.
        """
        names = self._lost_directories()
        if not names:
            return
        os.mkdir(path, 0o755)
        root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.copy_root(root_fd)
            # Deepest first for times: making a name changes its parent's.
            for name in names:
                os.mkdir(name, 0o700, dir_fd=root_fd)
            for name in reversed(names):
                self._copy_directory(name, root_fd)
        finally:
            os.close(root_fd)

    def _lost_directories(self) -> list[bytes]:
        """Paths, with their parents, of directories whose mode or owner overlay would not show."""
        implied: set[bytes] = set()
        for diff_id in self._diff_ids:
            implied.update(self._layers.implied(diff_id))
        lost: set[bytes] = set()
        for path in implied:
            shown, described = self._status(path, skip_implied=False), self._status(path, skip_implied=True)
            if shown is None or described is None or _same(shown, described):
                continue
            parts = path.split(b"/")
            lost.update(b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        return sorted(lost)

    def _copy_directory(self, name: bytes, root_fd: int) -> None:
        source_fd = self._open(name, skip_implied=True)
        if source_fd is None:
            source_fd = self._open(name, skip_implied=False)
        if source_fd is None:
            return
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            target_fd = os.open(name, flags, dir_fd=root_fd)
            try:
                _copy_attributes(f"/proc/self/fd/{source_fd}", os.fstat(source_fd), target_fd)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)

    def _status(self, path: bytes, *, skip_implied: bool) -> os.stat_result | None:
        fd = self._open(path, skip_implied=skip_implied)
        if fd is None:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _open(self, path: bytes, *, skip_implied: bool) -> int | None:
        """An O_PATH descriptor of the topmost `path`; with `skip_implied` of one that a layer describes."""
        parts = path.split(b"/")
        for layer_fd in self._fds:
            fd, last = _descend(layer_fd, parts)
            if fd is not None:
                if not skip_implied or not _has(f"/proc/self/fd/{fd}", _IMPLIED):
                    return fd
                os.close(fd)
            if last:
                return None
        return None


def _descend(layer_fd: int, parts: Sequence[bytes]) -> tuple[int | None, bool]:
    """(what one layer has, whether the layers below are hidden)."""
    fd, hidden = os.dup(layer_fd), False
    for part in parts:
        try:
            child = os.open(part, _LOOK, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            return None, hidden or isinstance(error, NotADirectoryError)
        finally:
            os.close(fd)
        fd = child
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            os.close(fd)
            return None, True
        if not stat.S_ISDIR(status.st_mode):
            hidden = True
        elif not hidden:
            hidden = _has(f"/proc/self/fd/{fd}", _OPAQUE)
    return fd, hidden


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _has(place: str, name: str) -> bool:
    try:
        os.getxattr(place, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _copy_attributes(place: str, status: os.stat_result, target_fd: int) -> None:
    os.fchown(target_fd, status.st_uid, status.st_gid)
    os.fchmod(target_fd, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(place):
        if name.startswith("user.") or name == "security.capability":
            os.setxattr(target_fd, name, os.getxattr(place, name))
    os.utime(target_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
