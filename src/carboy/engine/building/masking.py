"""What .dockerignore keeps out of a context that is mounted: whiteouts above its directory.

An overlay of the mask and the context shows what is not ignored, without a copy.  Only directories
that the patterns let us into are looked at; a directory that is ignored as a whole is one whiteout.
"""

from __future__ import annotations

import os
import stat

from carboy.build.trees import LocalTree
from carboy.errors import Unsupported

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 256


def mask(tree: LocalTree, place: str) -> int | None:
    """Fill the empty directory `place`; gives its descriptor, or None when nothing is ignored."""
    fd = os.open(place, _DIRECTORY)
    maker = _Mask(tree)
    try:
        maker.fill(tree.root, fd, "", 0)
    except BaseException:
        os.close(fd)
        raise
    if not maker.hidden:
        os.close(fd)
        return None
    return fd


class _Mask:
    def __init__(self, tree: LocalTree) -> None:
        assert tree.ignore is not None
        self._ignore = tree.ignore
        self.hidden = 0

    def fill(self, source: int, target: int, prefix: str, depth: int) -> None:
        """The whiteouts of one directory, and of those in it."""
        _copy_attributes(source, target)
        if depth > _MAX_DEPTH:
            raise Unsupported(
                f"the directory {prefix[:200]!r} is too deep to find what .dockerignore keeps out of it"
                f" (more than {_MAX_DEPTH} levels): ignore it as a whole"
            )
        opened = os.open(".", _DIRECTORY, dir_fd=source)  # the context's own may be O_PATH
        try:
            with os.scandir(opened) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_directory in found:
                path = prefix + name
                excluded = self._ignore.excludes(path, is_directory)
                if not is_directory or (excluded and not self._ignore.may_descend(path)):
                    if excluded:
                        self._hide(target, name)
                elif excluded or self._ignore.patterns:
                    self._descend(opened, target, name, path, depth)
        finally:
            os.close(opened)
        os.utime(target, ns=(0, os.fstat(source).st_mtime_ns))

    def _descend(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=source)
        except (FileNotFoundError, NotADirectoryError):
            return  # it changes meanwhile
        try:
            before = self.hidden
            os.mkdir(name, 0o700, dir_fd=target)
            made = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.fill(inner, made, path + "/", depth + 1)
            finally:
                os.close(made)
            if self.hidden == before:
                _remove_empty(target, name)
        finally:
            os.close(inner)

    def _hide(self, target: int, name: str) -> None:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=target)
        self.hidden += 1


def _remove_empty(target: int, name: str) -> None:
    os.rmdir(name, dir_fd=target)


def _copy_attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
