"""Archives as contexts: a tar becomes a layer as it is, indexed and not unpacked.

What the archive says of owners and times does not matter: COPY gives its own.  Names are the layer store's
business (`..` and the like are refused there); whiteouts, which would be taken for ones, are refused here,
unless .dockerignore keeps them out: the lowest layer has nothing that they could remove.
When it keeps out something that the archive has, the layer is written again without it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fcntl import F_GETFL, fcntl
from typing import NoReturn

from carboy.build.progress import Cancellation
from carboy.build.sources.layerwriting import Batch, make_layer
from carboy.build.sources.pipes import Pipe
from carboy.digest import Digest
from carboy.errors import Cancelled, Corrupt, InvalidArgument, Malformed, Unsupported
from carboy.formats.compression import Compression, Decompressor
from carboy.formats.dockerfile.source import DEFAULT_LIMITS
from carboy.formats.dockerignore import Ignore
from carboy.formats.layertree import split_path
from carboy.formats.tar import DIRECTORY, END, HARDLINK, REGULAR, ReadAt, TarEntry, encode, padding, scan
from carboy.store.content import storage_error
from carboy.store.intake import FileWindow, Reader
from carboy.store.layers import LayerStore

_BLOCK = 512
_WHITEOUT = b".wh."


@dataclass(frozen=True, slots=True)
class Archive:
    """What came: a layer, or a lone Dockerfile, or neither (an archive of nothing)."""

    layer: Digest | None = None
    dockerfile: bytes | None = None
    whiteout: bytes = b""
    """A name in it that no file of a context may have, if there is one."""


def take_archive(descriptor: int, layers: LayerStore, *, cancellation: Cancellation) -> Archive:
    """Read a tar, perhaps compressed, or a Dockerfile's text; the descriptor is a file's or a pipe's."""
    try:
        return _take(descriptor, layers, cancellation)
    except Malformed:
        raise
    except Corrupt as error:
        raise Malformed(f"the build context cannot be read: {error}") from error
    except OSError as error:
        raise storage_error(error, "receive the build context") from error


def _take(descriptor: int, layers: LayerStore, cancellation: Cancellation) -> Archive:
    source = _source(descriptor, cancellation.check)
    plain = Decompressor(source.read)
    head = _exactly(plain, 2 * _BLOCK)
    if not head:
        raise InvalidArgument("the build context is empty: neither an archive nor a Dockerfile came")
    if not looks_like_tar(head):
        return Archive(dockerfile=_text(head, plain))
    if isinstance(source, FileWindow) and plain.compression is Compression.NONE:
        reader: Reader = FileWindow.whole(descriptor)  # from the start: it is copied inside the kernel
    else:
        reader = _Pushed(head, plain)
    with layers.begin() as intake, ExitStack() as stack:
        stack.callback(cancellation.subscribe(lambda: intake.abort(Cancelled(cancellation.reason))))
        intake.fill(reader)
        members = _Members(intake.read_at, cancellation.check)
        layer = layers.commit(intake, members=members).diff_id
    return Archive(layer=layer if members.count else None, whiteout=members.whiteout)


class _Members:
    """The members of an archive on its way in."""

    def __init__(self, read_at: ReadAt, check: Callable[[], None]) -> None:
        self._read_at = read_at
        self._check = check
        self.count = 0
        self.whiteout = b""

    def __iter__(self) -> Iterator[TarEntry]:
        for entry in scan(self._read_at):
            self._check()
            self.count += 1
            if _is_whiteout(entry):
                self.whiteout = entry.unsafe_path
                if _is_whiteout(entry, above=True):
                    _refuse(self.whiteout)  # no layer can hold it, not even one that is written again
            yield entry


def without_ignored(
    layer: Digest,
    layers: LayerStore,
    ignore: Ignore | None,
    *,
    check: Callable[[], None],
    whiteout: bytes = b"",
) -> Digest:
    """The layer, or another one that has nothing of what the patterns keep out; `whiteout`: an Archive's."""
    if ignore is None:
        if whiteout:
            _refuse(whiteout)
        return layer
    descriptor = layers.open_tar(layer)
    try:

        def read_at(offset: int, size: int) -> bytes:
            return os.pread(descriptor, size, offset)

        def entries() -> Iterator[TarEntry]:
            for entry in scan(read_at):
                check()
                yield entry

        if not any(_excluded(entry, ignore) for entry in entries()):
            if whiteout:
                _refuse(whiteout)
            return layer
        return make_layer(layers, lambda batch: _copy(batch, descriptor, entries(), ignore)).diff_id
    finally:
        os.close(descriptor)


def looks_like_tar(head: bytes) -> bool:
    """Whether some bytes begin an archive: a header whose sum is right, or the end of an empty one."""
    if len(head) < _BLOCK:
        return False
    block = head[:_BLOCK]
    if not any(block):
        return True
    stated = block[148:156].strip(b" \0")
    if not stated or any(digit not in b"01234567" for digit in stated):
        return False
    return int(stated, 8) == sum(block[:148]) + sum(block[156:]) + 8 * 0x20


def _source(descriptor: int, check: Callable[[], None]) -> FileWindow | Pipe:
    mode = os.fstat(descriptor).st_mode
    if fcntl(descriptor, F_GETFL) & (os.O_ACCMODE | os.O_PATH) not in (os.O_RDONLY, os.O_RDWR):
        raise InvalidArgument("the build context's descriptor is not open for reading")
    if stat.S_ISREG(mode):
        return FileWindow.whole(descriptor)
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return Pipe(descriptor, check)
    raise InvalidArgument("the build context is neither a file nor a pipe: what is read has to have an end")


class _Pushed:
    """A reader with the bytes in front that were looked at already."""

    def __init__(self, head: bytes, rest: Reader) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._rest.read(size)


def _exactly(reader: Reader, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := reader.read(size - len(data))):
        data += piece
    return data


def _text(head: bytes, rest: Reader) -> bytes:
    data = head + _exactly(rest, 4 * DEFAULT_LIMITS.text + 1 - len(head))
    if b"\0" in data or len(data) > 4 * DEFAULT_LIMITS.text:
        raise Malformed("the build context is neither a tar archive nor a Dockerfile")
    return data


def _is_whiteout(entry: TarEntry, *, above: bool = False) -> bool:
    """Whether a name in a path would mark a removal; above: one that has others below it."""
    if _WHITEOUT not in entry.unsafe_path:
        return False
    parts = split_path(entry.unsafe_path)
    return any(part.startswith(_WHITEOUT) for part in (parts[:-1] if above else parts))


def _refuse(whiteout: bytes) -> NoReturn:
    raise Malformed(
        f"the build context holds {whiteout[:200]!r}: names that begin with .wh. mark removals in layers,"
        " no file can have one (a .dockerignore may keep it out)"
    )


def _name(entry: TarEntry) -> bytes:
    return b"/".join(split_path(entry.unsafe_path))


def _excluded(entry: TarEntry, ignore: Ignore) -> bool:
    path = _name(entry).decode("utf-8", "surrogateescape")
    return bool(path) and ignore.excludes(path, entry.kind == DIRECTORY)


@dataclass(slots=True)
class _Gone:
    """A file that does not stay, or a name of one; all of its names share it."""

    original: TarEntry
    heir: bytes = b""
    """What later links lead to: the first one that stays, or the file that it was a name of."""


def _copy(batch: Batch, descriptor: int, entries: Iterator[TarEntry], ignore: Ignore) -> None:
    """Write the members that stay; the first link to a file that does not stay becomes the file."""
    gone: dict[bytes, _Gone] = {}
    for entry in entries:
        name = _name(entry)
        if _excluded(entry, ignore):
            if entry.kind == REGULAR:
                gone[name] = _Gone(entry)
            elif entry.kind == HARDLINK:
                target = b"/".join(split_path(entry.link))
                gone[name] = gone.get(target) or _Gone(entry, target)
            continue
        if _is_whiteout(entry):
            _refuse(entry.unsafe_path)
        if entry.kind == HARDLINK:
            entry = _relinked(entry, name, gone)
        _write(batch, descriptor, entry)
    batch.write(END)


def _relinked(entry: TarEntry, name: bytes, gone: dict[bytes, _Gone]) -> TarEntry:
    found = gone.get(b"/".join(split_path(entry.link)))
    if found is None:
        return entry
    if found.heir:
        return TarEntry(entry.unsafe_path, HARDLINK, mode=entry.mode, link=found.heir)
    found.heir = name
    original = found.original
    return TarEntry(
        entry.unsafe_path,
        REGULAR,
        mode=original.mode,
        uid=original.uid,
        gid=original.gid,
        size=original.size,
        mtime=original.mtime,
        xattrs=original.xattrs,
        data_offset=original.data_offset,
        segments=original.segments,
    )


def _write(batch: Batch, descriptor: int, entry: TarEntry) -> None:
    if entry.segments is not None:
        raise Unsupported(
            f"the build context holds {entry.unsafe_path[:200]!r} as a sparse file, and a .dockerignore"
            " that keeps something out: pack it without --sparse"
        )
    batch.write(encode(entry))
    if entry.kind == REGULAR and entry.size:
        batch.write_from(descriptor, entry.data_offset, entry.size)
        batch.write(padding(entry.size))
