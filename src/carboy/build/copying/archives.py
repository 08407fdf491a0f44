"""ADD unpacks local archives: their members become items of the layer, nothing is extracted.

Recognised by contents, as Docker does: a tar, plain or compressed with gzip, bzip2, xz or zstd, that has
at least one member.  Hostile: a path with ".." is refused; links among a member's parents, those of the
archive as well as those of the filesystem below, are followed inside the destination, as if it were the
root: no archive writes beside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack

from carboy.build.copying.hashcache import STAMP, stamp_of
from carboy.build.copying.layerwriter import Item, Origin, directory
from carboy.build.copying.places import FILE, Opener, is_whiteout, opened
from carboy.build.copying.scan import changed, open_file
from carboy.errors import CarboyError, Corrupt, Malformed
from carboy.formats.compression import Compression, Decompressor, detect
from carboy.formats.tar import (
    CHARACTER,
    DIRECTORY,
    HARDLINK,
    REGULAR,
    SYMLINK,
    ForwardReader,
    TarEntry,
    keep_xattrs,
    scan,
)
from carboy.store.content import write_all

_PIECE = 1 << 20
_MAX_LINKS = 40
_MAX_DEPTH = 256
_AT_ONCE = 256
"""Members between two looks whether the build is cancelled."""
_MAX_HOLES = 1 << 36
"""Bytes of sparse members: layers have zeros there, and a small archive may claim any number of them."""


def is_archive(root: int, place: bytes) -> bool:
    """Whether the file at `place` is a tar, perhaps compressed."""
    with opened(root, place, FILE) as fd:
        try:
            decompressor = Decompressor(lambda size: os.read(fd, size))
            return next(scan(ForwardReader(decompressor.read)), None) is not None
        except CarboyError:
            return False


def open_plain(
    origin: Origin, archive: Item, ingest: str, stack: ExitStack, *, check: Callable[[], None]
) -> int:
    """A descriptor of the tar itself, valid while `stack` is: the file, or a temporary one, uncompressed."""
    head, _, name = archive.place.rpartition(b"/")
    try:
        parent = origin.opener.directory(head)
    except OSError as error:
        raise changed(archive.place) from error
    fd = open_file(parent, name, archive.place)
    stack.callback(os.close, fd)
    if origin.is_local and stamp_of(os.fstat(fd)) != archive.record[: STAMP.size]:
        raise changed(archive.place)
    compression = detect(os.pread(fd, 6, 0))
    if compression is Compression.NONE and not origin.is_local:
        return fd
    # A file that its user may still change is copied as well: it is read twice.
    plain = os.open(ingest, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, plain)
    decompressor = Decompressor(lambda size: os.read(fd, size))
    try:
        while data := decompressor.read(_PIECE):
            check()
            write_all(plain, data, f'unpack "/{_text(archive.place)}"')
    except Corrupt as error:
        raise Malformed(f'cannot unpack "/{_text(archive.place)}": {error}') from error
    if origin.is_local and stamp_of(os.fstat(fd)) != archive.record[: STAMP.size]:
        raise changed(archive.place)
    return plain


class Tree:
    """Items by path; a directory that is replaced is emptied without a look at what is elsewhere."""

    def __init__(self, items: dict[bytes, Item]) -> None:
        self.items = items
        # Of each directory, also of those that are no items: what items are in it, or below it.
        self._inside: dict[bytes, set[bytes]] = {}
        for path in items:
            self._enter(path)

    def put(self, item: Item) -> None:
        """Add it, or put it in the place of another."""
        self.items[item.path] = item
        self._enter(item.path)

    def empty(self, path: bytes) -> None:
        """Take away everything below a directory."""
        gone = [path]
        while gone:
            for inner in self._inside.pop(gone.pop(), ()):
                self.items.pop(inner, None)
                gone.append(inner)

    def _enter(self, path: bytes) -> None:
        while path:
            parent = path.rpartition(b"/")[0]
            inside = self._inside.setdefault(parent, set())
            if path in inside:
                return
            inside.add(path)
            path = parent


def unpack(
    fd: int, origin: int, below: bytes, base: int, tree: Tree, *, epoch: int, check: Callable[[], None]
) -> None:
    """Add the members of the tar `fd` to `tree`, below a directory of the image.

    origin: what the items say their contents are in.  base: the filesystem that is added to.
    check: raises when the build is cancelled.
    """
    unpacking = _Unpacking(origin, below, base, tree, epoch)
    try:
        for number, entry in enumerate(scan(lambda offset, size: os.pread(fd, size, offset))):
            if not number % _AT_ONCE:
                check()
            unpacking.add(entry)
    except Corrupt as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed(f"cannot unpack an archive: {error}") from error
    finally:
        unpacking.close()


class _Unpacking:
    def __init__(self, origin: int, below: bytes, base: int, tree: Tree, epoch: int) -> None:
        self._origin = origin
        self._below = _parts(below)
        self._base = Opener(base)
        self._tree = tree
        self._items = tree.items
        self._epoch = epoch
        self._groups = 0
        self._holes = 0
        # What the filesystem below has, by path: st_mode and a link's target; (0, b"") for nothing.
        self._seen: dict[bytes, tuple[int, bytes]] = {}
        self._parents: dict[bytes, bytes] = {}

    def close(self) -> None:
        self._base.close()

    def add(self, entry: TarEntry) -> None:
        parts = _parts(entry.unsafe_path)
        if not parts:
            return  # the destination itself stays as it is
        name = parts[-1]
        if name.startswith(b".wh."):
            raise Malformed(
                f'"{_text(entry.unsafe_path)}" in an archive cannot be unpacked: names that begin with ".wh."'
                " mean removal in a layer"
            )
        parent = self._parent(parts[:-1], entry)
        path = parent + b"/" + name if parent else name
        if entry.kind == HARDLINK:
            self._hard_link(path, entry)
            return
        self._replace(path, entry.kind)
        item = Item(
            path,
            entry.kind | entry.mode & 0o7777,
            entry.uid,
            entry.gid,
            link=entry.link if entry.kind == SYMLINK else b"",
            mtime=max(0, min(entry.mtime, self._epoch)),
            xattrs=tuple(sorted((keep_xattrs(entry.xattrs) or {}).items())),
        )
        if entry.kind == REGULAR:
            item.size, item.origin = entry.size, self._origin
            item.segments = _segments(entry)
            self._holes += entry.size - sum(length for _, length, _ in item.segments)
            if self._holes > _MAX_HOLES:
                raise Malformed(
                    f'"{_text(entry.unsafe_path)}" in an archive is a sparse file too many: more than'
                    f" {_MAX_HOLES >> 30} GiB of zeros that are not in the archive"
                )
        elif entry.kind not in (DIRECTORY, SYMLINK):
            item.rdev = os.makedev(*entry.rdev)
            if entry.kind == CHARACTER and not item.rdev:
                raise Malformed(
                    f'"{_text(entry.unsafe_path)}" in an archive is a device 0:0, which means removal'
                )
        self._tree.put(item)

    def _hard_link(self, path: bytes, entry: TarEntry) -> None:
        parts = _parts(entry.link)
        target = b""
        if parts:
            parent = self._parent(parts[:-1], entry)
            target = parent + b"/" + parts[-1] if parent else parts[-1]
        first = self._items.get(target)
        if first is None or stat.S_ISDIR(first.mode):
            raise Malformed(
                f'"{_text(entry.unsafe_path)}" in an archive is a hard link to "{_text(entry.link)}",'
                " which is no file before it"
            )
        if path == target:
            return
        if not first.group:
            self._groups += 1
            first.group = b"archive %d/%d" % (self._origin, self._groups)
        self._replace(path, stat.S_IFMT(first.mode))
        self._tree.put(
            Item(
                path,
                first.mode,
                first.uid,
                first.gid,
                first.size,
                first.link,
                first.rdev,
                first.xattrs,
                first.group,
                first.origin,
                first.place,
                first.record,
                first.data,
                first.segments,
                first.mtime,
            )
        )

    def _replace(self, path: bytes, kind: int) -> None:
        """Take away what an earlier member put there; what lies below comes with it."""
        old = self._items.get(path)
        if old is None or stat.S_IFMT(old.mode) == kind == DIRECTORY:
            return
        if stat.S_IFMT(old.mode) in (DIRECTORY, SYMLINK):
            self._parents.clear()
        if stat.S_ISDIR(old.mode):
            self._tree.empty(path)

    def _parent(self, parts: list[bytes], entry: TarEntry) -> bytes:
        """The directory that a member lies in, links followed, made when it is missing."""
        spelled = b"/".join(parts)
        known = self._parents.get(spelled)
        if known is None:
            known = self._parents[spelled] = self._follow(parts, entry)
        return known

    def _follow(self, parts: list[bytes], entry: TarEntry) -> bytes:
        trail, least = list(self._below), len(self._below)
        todo = parts[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                del trail[max(least, len(trail) - 1) :]
                continue
            path = b"/".join((*trail, part))
            mode, link = self._look(path)
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    raise Malformed(f'"{_text(entry.unsafe_path)}" in an archive lies behind a loop of links')
                if link.startswith(b"/"):
                    del trail[least:]
                todo += [one for one in reversed(link.split(b"/")) if one not in (b"", b".")]
                continue
            if mode and not stat.S_ISDIR(mode):
                raise Malformed(
                    f'"{_text(entry.unsafe_path)}" in an archive lies inside "/{_text(path)}",'
                    " which is no directory"
                )
            if len(trail) >= _MAX_DEPTH:
                raise Malformed(f'"{_text(entry.unsafe_path)}" in an archive is too deep')
            if not mode:
                self._tree.put(directory(path, 0, 0))
            trail.append(part)
        return b"/".join(trail)

    def _look(self, path: bytes) -> tuple[int, bytes]:
        """(st_mode, link) of what is at a path now; (0, b"") for nothing."""
        item = self._items.get(path)
        if item is not None:
            return item.mode, item.link
        found = self._seen.get(path)
        if found is None:
            found = self._seen[path] = self._look_below(path)
        return found

    def _look_below(self, path: bytes) -> tuple[int, bytes]:
        head, _, name = path.rpartition(b"/")
        try:  # no link is followed to get there: where the archive has put a directory over one, nothing is
            parent = self._base.directory(head)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if is_whiteout(status):
                return 0, b""
            link = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else b""
        except OSError:
            return 0, b""
        return status.st_mode, link


def _segments(entry: TarEntry) -> tuple[tuple[int, int, int], ...]:
    if entry.segments is None:
        return ((0, entry.size, entry.data_offset),)
    found, where = [], entry.data_offset
    for offset, length in entry.segments:
        found.append((offset, length, where))
        where += length
    # What is one hole has no segments, and is in the archive nevertheless.
    return tuple(found) or ((0, 0, where),)


def _parts(unsafe_path: bytes) -> list[bytes]:
    parts = [part for part in unsafe_path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Malformed(f'"{_text(unsafe_path)}" in an archive climbs with ".."')
    return parts


def _text(path: bytes) -> str:
    return path[:300].decode("utf-8", "backslashreplace")
