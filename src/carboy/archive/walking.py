"""A tree of files as tar entries, each with an open descriptor of its contents.

The tree may be hostile and change meanwhile: every name is opened below the descriptor of its
directory, as a path first (O_PATH), looked at, and only then read; links are never followed.
Sorted by name, so that the same tree gives the same archive.
"""

from __future__ import annotations

import os
import stat

from carboy.errors import Unsupported
from carboy.formats.tar.entry import CHARACTER, DIRECTORY, HARDLINK, REGULAR, SYMLINK, TarEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_DEPTH = 400
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ_FILE = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
_CAPABILITY = "security.capability"


class Scope:
    """What a walk goes into; the default is everything."""

    def names(self, directory: int, path: bytes) -> list[bytes]:
        """What the directory at `path` (below the walk's start) holds."""
        del path
        return [os.fsencode(name) for name in os.listdir(directory)]

    def look(self, directory: int, path: bytes, name: bytes) -> int:
        """An O_PATH descriptor of `name` in the directory at `path`."""
        del path
        return os.open(name, LOOK, dir_fd=directory)

    def enters(self, path: bytes, descriptor: int, status: os.stat_result) -> bool:
        """Whether what the directory at `path` holds is wanted."""
        del path, descriptor, status
        return True


def walk(start: int, name: bytes, scope: Scope | None = None) -> Iterator[tuple[TarEntry, int]]:
    """The entries of what `start` (an O_PATH descriptor) is, called `name`, and of all below it.

    With each regular file comes a descriptor to read it by, valid until the next step; else -1.
    An empty `name` leaves the top out: its children get plain names.
    """
    return Walk(scope).one(start, name, b"", 0)


class Walk:
    """One walk: it remembers the inodes with several names."""

    def __init__(self, scope: Scope | None = None) -> None:
        self._scope = scope or Scope()
        self._first: dict[tuple[int, int], bytes] = {}

    def one(self, fd: int, name: bytes, path: bytes, depth: int) -> Iterator[tuple[TarEntry, int]]:
        """The entries of one descriptor; `path` is where it lies below the walk's start."""
        status = os.fstat(fd)
        kind = stat.S_IFMT(status.st_mode)
        if kind == DIRECTORY:
            yield from self._directory(fd, status, name, path, depth)
        elif kind == REGULAR:
            yield from self._file(fd, status, name)
        elif kind != stat.S_IFSOCK:  # sockets have no place in a tar
            entry = entry_of(status, name)
            if kind == SYMLINK:
                entry.link = os.readlink(b"", dir_fd=fd)
            if not (kind == CHARACTER and status.st_rdev == 0):  # overlay's whiteouts, seen from beside
                yield self._linked(entry, status), -1

    def _file(self, fd: int, status: os.stat_result, name: bytes) -> Iterator[tuple[TarEntry, int]]:
        entry = self._linked(entry_of(status, name), status)
        if entry.kind == HARDLINK:
            yield entry, -1
            return
        # What was looked at is what is opened: nothing can be put in its place.
        reading = os.open(f"/proc/self/fd/{fd}", _READ_FILE)
        try:
            entry.xattrs = kept_attributes(reading)
            yield entry, reading
        finally:
            os.close(reading)

    def _directory(
        self, fd: int, status: os.stat_result, name: bytes, path: bytes, depth: int
    ) -> Iterator[tuple[TarEntry, int]]:
        if depth > MAX_DEPTH:
            raise Unsupported(f"the directory {name[:200]!r} is too deep (more than {MAX_DEPTH} levels)")
        reading = os.open(".", _READ_DIRECTORY, dir_fd=fd)
        try:
            if name:
                entry = entry_of(status, name)
                entry.xattrs = kept_attributes(reading)
                yield entry, -1
            if not self._scope.enters(path, fd, status):
                return
            # The root of a container is called "/": its children must not begin with "//".
            prefix = name if not name or name.endswith(b"/") else name + b"/"
            inner = path + b"/" if path else b""
            for text in sorted(self._scope.names(reading, path)):
                child = self._look(reading, path, text)
                if child < 0:
                    continue
                try:
                    yield from self.one(child, prefix + text, inner + text, depth + 1)
                finally:
                    os.close(child)
        finally:
            os.close(reading)

    def _look(self, directory: int, path: bytes, name: bytes) -> int:
        try:
            return self._scope.look(directory, path, name)
        except FileNotFoundError:
            return -1  # somebody is at work in there

    def _linked(self, entry: TarEntry, status: os.stat_result) -> TarEntry:
        """A hard link, if this inode has been met under another name."""
        if status.st_nlink > 1:
            first = self._first.setdefault((status.st_dev, status.st_ino), entry.unsafe_path)
            if first != entry.unsafe_path:
                entry.kind, entry.link, entry.size, entry.stored_size = HARDLINK, first, 0, 0
        return entry


def entry_of(status: os.stat_result, name: bytes) -> TarEntry:
    """What a tar says of a file with that status."""
    kind = stat.S_IFMT(status.st_mode)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    device = status.st_rdev
    return TarEntry(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == REGULAR else 0,
        mtime=seconds,
        mtime_nsec=nanoseconds,
        rdev=(os.major(device), os.minor(device)) if device else (0, 0),
    )


def kept_attributes(fd: int) -> dict[bytes, bytes] | None:
    """File capabilities and the user's own extended attributes."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return None  # a filesystem without any
    found: dict[bytes, bytes] = {}
    for name in names:
        if name == _CAPABILITY or name.startswith("user."):
            try:
                found[os.fsencode(name)] = os.getxattr(fd, name)
            except OSError:
                continue
    return found or None
