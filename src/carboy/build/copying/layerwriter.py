"""Writing a layer's tar directly: no tree is made first, every file is read once.

    items, sorted ──▶ header, contents, header, contents … ──▶ Intake
              │         small files in one write, large ones copied by the kernel
              └──▶ members, one at a time ──▶ LayerStore.commit

There may be very many, so nothing here is kept for each.
Canonical (determinism.md rows 2, 4, 7, 10): members sorted by the bytes of their paths, every time is
the epoch, the first path of a file with several names carries its contents.  Files of a context
must still be what was looked at: they were hashed then, and their digests are in the step's key.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from carboy.build.copying.hashcache import STAMP, stamp_of
from carboy.build.copying.places import FILE, Opener
from carboy.build.copying.scan import changed
from carboy.errors import Corrupt, Unavailable
from carboy.formats.tar import DIRECTORY, END, HARDLINK, REGULAR, PlainHeaders, TarEntry, encode, padding
from carboy.store.intake import Intake
from carboy.store.layers import Layer, LayerStore

_SMALL = 1 << 16
_BATCH = 1 << 20
_PIECE = 1 << 20
_PADDING = tuple(bytes(size) for size in range(512))
_TICK = 50_000_000
"""Nanoseconds: two changes within one tick of the kernel's clock have the same times."""


class Item(msgspec.Struct, gc=False):
    """One member of the layer."""

    path: bytes
    mode: int
    """st_mode, kind included."""
    uid: int = 0
    gid: int = 0
    size: int = 0
    link: bytes = b""
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    group: bytes = b""
    """Items with the same one are names of one file."""
    origin: int = -1
    """Which of the origins has the contents; -1: `data`."""
    place: bytes = b""
    """Where, in a tree."""
    record: bytes = b""
    """Stamp and digest of a file that may change."""
    data: bytes = b""
    segments: tuple[tuple[int, int, int], ...] = ()
    """(offset in the file, length, offset in the origin), of archives: holes stay zeros."""
    mtime: int = -1
    """Of archives' members; else the epoch counts."""


@dataclass(slots=True)
class Origin:
    """Where contents are: below an open directory, or in one file."""

    fd: int
    is_local: bool = False
    """Its files may change."""
    seen: int = 0
    """When it was looked at (ns)."""
    opener: Opener = field(init=False)
    """Whoever makes the origin closes it."""

    def __post_init__(self) -> None:
        self.opener = Opener(self.fd)


def write_layer(
    layers: LayerStore,
    items: Iterable[Item],
    origins: Sequence[Origin],
    *,
    epoch: int,
    check: Callable[[], None],
) -> Layer:
    """Make a layer of the items, which come sorted by path; nothing is left of it when that fails."""
    with layers.begin() as intake:
        try:
            writer = _Writer(intake, origins, epoch, check)
            return layers.commit(intake, members=writer.write(items))
        except BaseException as error:
            if os.path.isdir(intake.path):
                layers.discard(intake, error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(
                    "writing a layer: no space left on the disk; remove images or containers"
                ) from error
            raise


class _Writer:
    def __init__(
        self, intake: Intake, origins: Sequence[Origin], epoch: int, check: Callable[[], None]
    ) -> None:
        self._intake = intake
        self._origins = origins
        self._epoch = epoch
        self._check = check
        self._headers = PlainHeaders(epoch)
        self._pending: list[bytes] = []
        self._size = 0
        self._total = 0

    def write(self, items: Iterable[Item]) -> Iterator[TarEntry]:
        """Write them all; gives what a reader of the tar would find."""
        groups: dict[bytes, bytes] = {}
        for item in items:
            entry = self._entry(item)
            if item.group:
                first = groups.setdefault(item.group, item.path)
                if first != item.path:
                    entry.kind, entry.link, entry.size = HARDLINK, first, 0
            header = None
            if entry.kind == REGULAR and item.mtime < 0 and not entry.xattrs:
                header = self._headers.make(entry.unsafe_path, entry.mode, entry.uid, entry.gid, entry.size)
            header = header or encode(entry, epoch=self._epoch)
            entry.data_offset = self._total + len(header)
            if not entry.size:
                self._add(header)
            elif item.origin >= 0 and entry.size <= _SMALL and not item.segments:
                self._add(header + self._file(item, self._origins[item.origin]) + _PADDING[-entry.size % 512])
            else:
                self._add(header)
                self._contents(item)
            yield entry
        self._add(END)
        self._flush()

    def _entry(self, item: Item) -> TarEntry:
        kind = stat.S_IFMT(item.mode)
        return TarEntry(
            item.path,
            kind,
            mode=item.mode & 0o7777,
            uid=item.uid,
            gid=item.gid,
            size=item.size if kind == REGULAR else 0,
            mtime=self._epoch if item.mtime < 0 else item.mtime,
            link=item.link,
            rdev=(os.major(item.rdev), os.minor(item.rdev)) if item.rdev else (0, 0),
            xattrs=dict(item.xattrs) if item.xattrs else None,
        )

    def _add(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)
        self._total += len(data)
        if self._size > _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._check()
        if self._pending:
            self._intake.write(b"".join(self._pending))
            self._pending.clear()
            self._size = 0

    def _contents(self, item: Item) -> None:
        if item.origin < 0:
            self._add(item.data)
        elif item.segments:
            self._segments(item)
        else:
            self._file(item, self._origins[item.origin])
        rest = -item.size % 512
        if rest:
            self._add(padding(item.size))

    def _file(self, item: Item, origin: Origin) -> bytes:
        """A small file's contents; those of a large one are written, and nothing is given back."""
        head, _, name = item.place.rpartition(b"/")
        try:
            parent = origin.opener.directory(head)
        except OSError as error:
            raise changed(item.place) from error
        try:
            fd = os.open(name, FILE, dir_fd=parent)
        except OSError as error:
            raise changed(item.place) from error
        try:
            if origin.is_local and STAMP.unpack_from(item.record)[3] > origin.seen - _TICK:
                data = self._copy_checked(fd, item)
            elif item.size > _SMALL:
                data = self._copy(fd, item)
            else:
                data = _read(fd, item.size, item)
                if len(data) != item.size:
                    raise changed(item.place)
            # Only now: what had the stamp before it was looked at and after it was read is what was read.
            if origin.is_local and stamp_of(os.fstat(fd)) != item.record[: STAMP.size]:
                raise changed(item.place)
        finally:
            os.close(fd)
        return data

    def _copy(self, fd: int, item: Item) -> bytes:
        self._flush()
        try:
            self._intake.write_from(fd, 0, item.size)
        except Corrupt as error:
            raise changed(item.place) from error
        self._total += item.size
        return b""

    def _copy_checked(self, fd: int, item: Item) -> bytes:
        """A file so young that its stamp might not show a change: compare what is written."""
        digest, left, data = hashlib.sha256(), item.size, b""
        while left:
            data = _read(fd, min(left, _PIECE), item)
            if not data:
                raise changed(item.place)
            digest.update(data)
            left -= len(data)
            if item.size > _SMALL:
                self._add(data)
                data = b""
            elif left:
                raise changed(item.place)
        if digest.digest() != item.record[STAMP.size :]:
            raise changed(item.place)
        return data

    def _segments(self, item: Item) -> None:
        fd = self._origins[item.origin].fd
        position = 0
        for offset, length, where in item.segments:
            self._zeros(offset - position)
            if length > _SMALL:
                self._flush()
                self._intake.write_from(fd, where, length)
                self._total += length
            else:
                self._add(os.pread(fd, length, where))
            position = offset + length
        self._zeros(item.size - position)

    def _zeros(self, count: int) -> None:
        while count > 0:
            piece = min(count, _PIECE)
            self._add(bytes(piece))
            count -= piece


def _read(fd: int, size: int, item: Item) -> bytes:
    try:
        return os.read(fd, size)
    except OSError as error:
        raise changed(item.place) from error


def directory(path: bytes, uid: int, gid: int) -> Item:
    """A directory that is made because it is missing."""
    return Item(path, DIRECTORY | 0o755, uid, gid)
