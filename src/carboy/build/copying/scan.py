"""What a source holds: a row for each file, directory and link below it, with the digests of files.

A directory of this machine may be changed by its user at any moment, and its user may mean ill:
every name is looked at below the open descriptor of its directory, and links are never followed.
Files whose stamp is in the cache of digests are not read.  Layers never change, and are read once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from carboy.build.copying.hashcache import STAMP, STAMP_SIZE, HashCache, is_settled, stamp_of
from carboy.build.copying.places import DIRECTORY, FILE, is_whiteout
from carboy.build.trees import OpenTree
from carboy.errors import InvalidArgument, Unavailable, Unsupported
from carboy.formats.dockerignore import Ignore
from carboy.formats.tar import keep_xattrs

MAX_DEPTH = 256
_PIECE = 1 << 20


class Row(msgspec.Struct, array_like=True, gc=False):
    """One name.  There may be very many: no field that is not needed."""

    path: bytes
    """Below the source; empty for the source itself."""
    mode: int
    """st_mode, kind included."""
    size: int = 0
    record: bytes = b""
    """Of a regular file: its stamp (what it was when it was looked at), and its sha256."""
    link: bytes = b""
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    twin: bytes = b""
    """Another path below the source, that is the same file."""

    @property
    def digest(self) -> str:
        """Of a regular file's contents, in hexadecimal."""
        return self.record[STAMP_SIZE:].hex()

    @property
    def stamp(self) -> bytes:
        """See hashcache.stamp_of."""
        return self.record[:STAMP_SIZE]


@dataclass(slots=True)
class Filter:
    """Which paths below a source are wanted."""

    exclude: Ignore | None = None
    include: Ignore | None = None
    """Of `--parents`: a path is wanted when its patterns match it, or a directory above it."""
    prefix: tuple[str, ...] = ()
    """Names that every path that `include` wants begins with."""

    def wants(self, path: str, is_dir: bool) -> bool:
        """Whether the path itself is taken."""
        if self.exclude is not None and self.exclude.excludes(path, is_dir):
            return False
        return self.include is None or self.include.excludes(path, is_dir)

    def enters(self, path: str) -> bool:
        """Whether anything below a directory may be taken."""
        if self.exclude is not None and not self.exclude.may_descend(path):
            return False
        parts = path.split("/")
        return all(one == other for one, other in zip(parts, self.prefix, strict=False))


@dataclass(slots=True)
class Scanner:
    """Looks at one tree."""

    tree: OpenTree
    hashes: HashCache
    check: Callable[[], None]
    """Raises when the build is cancelled."""
    warn: Callable[[str], None]
    _twins: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _modes: dict[int, int] = field(default_factory=dict)
    """Each st_mode once: files have few different ones, and every status brings an int of its own."""

    def file(self, parent: int, name: bytes, place: bytes) -> Row:
        """The row of a source that is no directory: `name` in `parent`, at `place` in the tree."""
        known = self._known(place.rpartition(b"/")[0], parent)
        if name.startswith(b".wh."):
            raise _means_removal(place)
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        row = self._row(parent, name, b"", place, status, known.old if known else {})
        if row is None:
            raise InvalidArgument(f'"/{_text(place)}" is a socket or a named pipe: it cannot be copied')
        if known is not None and row.record and row.record is not known.old.get(name):
            known.see(name, row.record)
            known.save()
        return row

    def directory(self, fd: int, place: bytes, wanted: Filter | None = None) -> list[Row]:
        """All rows below the directory `fd`, which is at `place` in the tree; its own is not among them."""
        self._twins.clear()
        if self.tree.is_local:
            self.hashes.load(self._path(place))
        rows: list[Row] = []
        self._directory(fd, place, b"", wanted, rows, 0)
        return rows

    def _directory(
        self, fd: int, place: bytes, below: bytes, wanted: Filter | None, rows: list[Row], depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise Unsupported(f'"/{_text(place)}" is too deep (more than {MAX_DEPTH} levels)')
        self.check()
        known = self._known(place, fd)
        old = known.old if known is not None else {}
        prefix = below + b"/" if below else b""
        inside = place + b"/" if place else b""
        ignore = self.tree.ignore
        directories: list[tuple[bytes, os.stat_result, bool]] = []
        start, modes = len(rows), self._modes
        with os.scandir(fd) as found:
            for item in found:
                name = os.fsencode(item.name)
                is_dir = item.is_dir(follow_symlinks=False)
                taken = True
                if ignore is not None or wanted is not None:
                    taken, entered = self._choose(inside + name, prefix + name, is_dir, wanted)
                    if not taken and not entered:
                        continue
                if taken and name.startswith(b".wh."):
                    raise _means_removal(inside + name)
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed meanwhile: as if it had never been
                if is_dir:
                    directories.append((name, status, taken))
                    continue
                record = old.get(name)
                if record is not None and record[:STAMP_SIZE] == stamp_of(status):
                    mode = status.st_mode
                    rows.append(Row(prefix + name, modes.setdefault(mode, mode), status.st_size, record))
                    continue
                row = self._row(fd, name, prefix + name, inside + name, status, old)
                if row is not None:
                    rows.append(row)
                    if known is not None and row.record and row.record is not old.get(name):
                        known.see(name, row.record)
        if known is not None:
            if wanted is None and ignore is None:
                known.forget_others(rows[start:])
            known.save()
        for name, status, taken in directories:
            self._enter(fd, name, status, inside + name, prefix + name, wanted, rows, depth, taken=taken)

    def _choose(
        self,
        place: bytes,
        below: bytes,
        is_dir: bool,
        wanted: Filter | None,
    ) -> tuple[bool, bool]:
        """(whether the name is taken, whether something below it may be)."""
        taken, entered = True, is_dir
        ignore = self.tree.ignore
        if ignore is not None:
            path = os.fsdecode(place)
            taken = not ignore.excludes(path, is_dir)
            entered = is_dir and (taken or ignore.may_descend(path))
        if wanted is not None and (taken or entered):
            path = os.fsdecode(below)
            taken = taken and wanted.wants(path, is_dir)
            entered = entered and (taken or wanted.enters(path))
        return taken, entered

    def _enter(
        self,
        parent: int,
        name: bytes,
        status: os.stat_result,
        place: bytes,
        below: bytes,
        wanted: Filter | None,
        rows: list[Row],
        depth: int,
        *,
        taken: bool,
    ) -> None:
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise _unreadable(place) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise changed(place) from error
            raise
        try:
            count = len(rows)
            self._directory(fd, place, below, wanted, rows, depth + 1)
            if taken or len(rows) > count:
                if name.startswith(b".wh."):
                    raise _means_removal(place)
                row = Row(below, status.st_mode, uid=status.st_uid, gid=status.st_gid)
                if not self.tree.is_local:
                    row.xattrs = attributes(fd)
                rows.append(row)
        finally:
            os.close(fd)

    def _row(
        self,
        parent: int,
        name: bytes,
        below: bytes,
        place: bytes,
        status: os.stat_result,
        old: dict[bytes, bytes],
    ) -> Row | None:
        """Of anything but a directory; None for what cannot be in a layer."""
        mode = self._modes.setdefault(status.st_mode, status.st_mode)
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFREG:
            if self.tree.is_local:
                record = old.get(name)
                if record is None or record[:STAMP_SIZE] != stamp_of(status):
                    record = self._hash(parent, name, place)
                    return Row(below, mode, STAMP.unpack_from(record)[1], record)
                return Row(below, mode, status.st_size, record)
            return self._layer_file(parent, name, below, place, status)
        row = Row(below, mode, uid=status.st_uid, gid=status.st_gid, rdev=status.st_rdev)
        if kind == stat.S_IFLNK:
            try:
                row.link = os.readlink(name, dir_fd=parent)
            except OSError as error:
                raise changed(place) from error
        elif kind == stat.S_IFSOCK:
            self.warn(f'"/{_text(place)}" is a socket: it is left out')
            return None
        elif kind == stat.S_IFIFO and self.tree.is_local:
            self.warn(f'"/{_text(place)}" is a named pipe: it is left out')  # as Docker does
            return None
        elif is_whiteout(status):
            return None
        return row

    def _layer_file(
        self, parent: int, name: bytes, below: bytes, place: bytes, status: os.stat_result
    ) -> Row:
        row = Row(below, status.st_mode, status.st_size, uid=status.st_uid, gid=status.st_gid)
        if status.st_nlink > 1:
            row.twin = self._twins.setdefault((status.st_dev, status.st_ino), below)
            if row.twin == below:
                row.twin = b""
        fd = os.open(name, FILE, dir_fd=parent)
        try:
            row.record = bytes(STAMP_SIZE) + self._digest(fd, place)
            row.xattrs = attributes(fd)
        finally:
            os.close(fd)
        return row

    def _hash(self, parent: int, name: bytes, place: bytes) -> bytes:
        """Read a file; its record."""
        fd = open_file(parent, name, place)
        try:
            before = stamp_of(os.fstat(fd))
            digest = self._digest(fd, place)
            if stamp_of(os.fstat(fd)) != before:
                raise changed(place)
        finally:
            os.close(fd)
        return before + digest

    def _digest(self, fd: int, place: bytes) -> bytes:
        try:
            data = os.read(fd, _PIECE)
            digest = hashlib.sha256(data)
            while len(data) == _PIECE:
                self.check()
                data = os.read(fd, _PIECE)
                digest.update(data)
        except OSError as error:
            raise InvalidArgument(f'cannot read "/{_text(place)}": {error.strerror}') from error
        return digest.digest()

    def _known(self, place: bytes, fd: int) -> _Known | None:
        if not self.tree.is_local:
            return None
        return _Known(self.hashes, self._path(place), fd)

    def _path(self, place: bytes) -> bytes:
        """Where a directory of the tree is on this machine."""
        top = os.fsencode(self.tree.path)
        return top + b"/" + place if place else top


class _Known:
    """The records of one directory, before and now."""

    __slots__ = ("_hashes", "_new", "_now", "_path", "_status", "_trusted", "old")

    def __init__(self, hashes: HashCache, path: bytes, fd: int) -> None:
        self._hashes = hashes
        self._path = path
        self._status = os.fstat(fd)
        self._trusted = hashes.trusts(fd, self._status.st_dev)
        self._now = time.time_ns()
        self.old = hashes.directory(path, self._status) if self._trusted else {}
        self._new: list[tuple[bytes, bytes]] = []

    def see(self, name: bytes, record: bytes) -> None:
        """A file that is not as it was known."""
        self._new.append((name, record))

    def forget_others(self, rows: list[Row]) -> None:
        """These are all files that are there: others are gone."""
        if self._new:
            names = {row.path.rpartition(b"/")[2] for row in rows}
            self.old = {name: record for name, record in self.old.items() if name in names}

    def save(self) -> None:
        """Remember what is new."""
        if not self._trusted or not self._new:
            return
        records = dict(self.old)
        for name, record in self._new:
            if is_settled(record, self._now):
                records[name] = record
            else:
                records.pop(name, None)
        if records != self.old:
            self._hashes.keep(self._path, self._status, records)


def open_file(parent: int, name: bytes, place: bytes) -> int:
    """Open what was seen to be a regular file; the caller closes it."""
    try:
        fd = os.open(name, FILE, dir_fd=parent)
    except PermissionError as error:
        raise _unreadable(place) from error
    except OSError as error:
        raise changed(place) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise changed(place)
    return fd


def changed(place: bytes) -> Unavailable:
    """The error for what is exchanged or written to while it is read."""
    return Unavailable(
        f'"/{_text(place)}" was changed while it was read: build again when nothing writes to it'
    )


def attributes(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes that belong into a layer, sorted."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return ()
    if not names:
        return ()
    wanted = keep_xattrs({os.fsencode(name): b"" for name in names}) or {}
    return tuple((name, os.getxattr(fd, name)) for name in sorted(wanted))


def _means_removal(place: bytes) -> InvalidArgument:
    return InvalidArgument(
        f'"/{_text(place)}" cannot be copied: names that begin with ".wh." mean removal in a layer'
    )


def _unreadable(place: bytes) -> InvalidArgument:
    return InvalidArgument(
        f'cannot read "/{_text(place)}": permission denied; make it readable, or exclude it in .dockerignore'
    )


def _text(path: bytes) -> str:
    return path[:300].decode("utf-8", "backslashreplace")
