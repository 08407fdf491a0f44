"""Where a path leads inside a root, step by step: which names it has, and what of it is missing.

The kernel would follow links as well (`linux.paths`), but not say where it came out, nor how far it
got.  Every step is one name below an open descriptor, and no link is followed by the kernel: what
is exchanged meanwhile leads to another answer, never outside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from carboy.errors import InvalidArgument

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
_MAX_DEPTH = 256


@dataclass(frozen=True, slots=True)
class Place:
    """What a path came to."""

    parts: tuple[bytes, ...]
    """Names from the root, without links and "..": they exist."""
    missing: tuple[bytes, ...]
    """Names behind them that do not."""
    mode: int
    """st_mode of what `parts` leads to."""

    @property
    def path(self) -> bytes:
        """All of it, relative to the root."""
        return b"/".join((*self.parts, *self.missing))

    @property
    def exists(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def is_directory(self) -> bool:
        """Whether what exists of it is a directory."""
        return stat.S_ISDIR(self.mode)


def locate(root: int, unsafe_path: bytes) -> Place:
    """Follow `unsafe_path` and all links in it inside the root, as a process chrooted there would.

    Raises OSError for loops of links and for names below what is no directory.
    """
    walk = _Walk(root)
    try:
        return walk.to(unsafe_path)
    finally:
        walk.leave(0)


class _Walk:
    def __init__(self, root: int) -> None:
        self._root = root
        self._root_mode = os.fstat(root).st_mode
        self._trail: list[tuple[bytes, int, int]] = []

    def to(self, unsafe_path: bytes) -> Place:
        todo = split(unsafe_path)[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                self.leave(max(0, len(self._trail) - 1))
                continue
            found = self._open(part)
            if found < 0:
                return self._missing([part, *reversed(todo)])
            mode = os.fstat(found).st_mode
            if not stat.S_ISLNK(mode):
                self._trail.append((part, found, mode))
                continue
            try:
                target = os.readlink(b"", dir_fd=found)
            finally:
                os.close(found)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), unsafe_path)
            if target.startswith(b"/"):
                self.leave(0)
            todo += split(target)[::-1]
        return self._place(())

    def leave(self, depth: int) -> None:
        """Go back to a part of the way."""
        while len(self._trail) > depth:
            os.close(self._trail.pop()[1])

    def _open(self, part: bytes) -> int:
        """A descriptor of the next name, or -1."""
        if len(self._trail) >= _MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), part)
        directory, mode = self._here()
        if not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), part)
        try:
            fd = os.open(part, _LOOK, dir_fd=directory)
        except FileNotFoundError:
            return -1
        if is_whiteout(os.fstat(fd)):
            os.close(fd)
            return -1
        return fd

    def _here(self) -> tuple[int, int]:
        return self._trail[-1][1:] if self._trail else (self._root, self._root_mode)

    def _missing(self, rest: list[bytes]) -> Place:
        missing: list[bytes] = []
        for part in rest:
            if part != b"..":
                missing.append(part)
            elif missing:
                missing.pop()
            else:
                self.leave(max(0, len(self._trail) - 1))
        return self._place(tuple(missing))

    def _place(self, missing: tuple[bytes, ...]) -> Place:
        return Place(tuple(part for part, _, _ in self._trail), missing, self._here()[1])


def split(path: bytes) -> list[bytes]:
    """The names in a path."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def clean(unsafe_path: str, *, below: str = "/") -> bytes:
    """The names of a Dockerfile's path joined with slashes, relative to a root; ".." ends at the root."""
    whole = unsafe_path if unsafe_path.startswith("/") else f"{below}/{unsafe_path}"
    if "\0" in whole:
        raise InvalidArgument(f"the path {unsafe_path[:200]!r} has a NUL byte")
    kept: list[bytes] = []
    for part in split(os.fsencode(whole)):
        if part != b"..":
            kept.append(part)
        elif kept:
            kept.pop()
    return b"/".join(kept)


def shown(path: bytes) -> str:
    """A path as text: any bytes, and different ones for different paths."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = path.decode("utf-8", "backslashreplace")
    else:
        # What looks like the text of other bytes gets its own behind it as well.
        if not (text.endswith(")") and " (bytes " in text and "\\" in text):
            return text
    return f"{text} (bytes {path.hex()})"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether it is overlay's mark that nothing is there, seen in a lone layer."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Opener:
    """Opens paths below a root, a name at a time, never through links.

    The way to the last one is kept open: paths that come sorted mostly lie beside the one before.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._path: bytes | None = None
        self._way: list[tuple[bytes, int]] = []

    def directory(self, path: bytes) -> int:
        """A descriptor of a directory; it stays this object's, and valid until another one is asked for."""
        if path != self._path:
            self._go(path.split(b"/") if path else [])
            self._path = path
        return self._way[-1][1] if self._way else self._root

    def close(self) -> None:
        """Let go of all of them."""
        self._shorten(0)
        self._path = None

    def _go(self, parts: list[bytes]) -> None:
        self._path = None
        same = 0
        for (name, _), part in zip(self._way, parts, strict=False):
            if name != part:
                break
            same += 1
        self._shorten(same)
        for part in parts[same:]:
            parent = self._way[-1][1] if self._way else self._root
            self._way.append((part, os.open(part, DIRECTORY, dir_fd=parent)))

    def _shorten(self, depth: int) -> None:
        while len(self._way) > depth:
            os.close(self._way.pop()[1])


@contextmanager
def opened(root: int, path: bytes, flags: int) -> Iterator[int]:
    """A descriptor of its own of what is at `path` below `root`: reading it moves nobody else's position."""
    head, _, name = path.rpartition(b"/")
    opener = Opener(root)
    try:
        descriptor = os.open(name or b".", flags, dir_fd=opener.directory(head))
    finally:
        opener.close()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What is put in a file's place meanwhile neither blocks nor becomes our terminal.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
