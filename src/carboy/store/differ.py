"""What a container has changed: overlay's upper directory as a list, and as a canonical tar.

The container may still be running and is hostile: directories are opened below their own
descriptors and never through links; a file is opened as a path first (O_PATH), looked at, and only then
read, so that a device or pipe put in its place is never opened.

The tar's form (determinism.md rows 4, 6, 7): members sorted by the bytes of their paths, the
first path of an inode carries its contents, whiteouts with time 0, allowed attributes only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.layertree import OPAQUE, WHITEOUT
from carboy.formats.tar import (
    DIRECTORY,
    END,
    HARDLINK,
    REGULAR,
    SYMLINK,
    TarEntry,
    encode,
    keep_xattrs,
    padding,
)
from carboy.store.bytecode import HEADER_SIZE, Bytecode
from carboy.store.intake import Intake

_OPAQUE_XATTR = "trusted.overlay.opaque"
_ORIGIN_XATTR = "trusted.overlay.origin"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 256
_MOST_HOLES = 1 << 36
"""Bytes, of a layer's files together: as of the archives that ADD unpacks."""
# Below this a read and a write are quicker than asking the kernel to copy.
_SMALL = 1 << 16


@dataclass(slots=True)
class Found:
    """One name in an upper directory."""

    path: bytes
    status: os.stat_result
    link: bytes = b""
    opaque: bool = False
    copied: bool = False
    """Overlay has copied it from below: it may be the same still."""
    xattrs: dict[bytes, bytes] | None = None

    @property
    def is_whiteout(self) -> bool:
        """True for overlay's mark that the name is gone."""
        return stat.S_ISCHR(self.status.st_mode) and self.status.st_rdev == 0


def find(upper_fd: int, *, omit: frozenset[bytes] = frozenset()) -> list[Found]:
    """Everything below `upper_fd`, sorted by path; `omit`ted paths and what is below them left out."""
    found: list[Found] = []
    _find_in(upper_fd, b"", 0, found, omit)
    found.sort(key=lambda item: item.path)
    return found


def write_tar(
    upper_fd: int,
    found: Iterable[Found],
    intake: Intake,
    *,
    epoch: int | None = None,
    bytecode: Bytecode | None = None,
) -> None:
    """Write the canonical tar of `found` into an intake; `bytecode` keeps Python's caches fresh."""
    pending: list[bytes] = []
    owners: dict[tuple[int, int], bytes] = {}
    opener = _Opener(upper_fd)
    try:
        for item, entry in _members(found):
            if bytecode is not None and item.path in bytecode.earlier:
                entry.mtime = bytecode.earlier[item.path]
            owner = _owner_of(item, entry, owners)
            if owner is not None:
                entry = _link(entry, owner)
            if entry.kind != REGULAR or not entry.size:
                pending.append(encode(entry, epoch=epoch))
            else:
                _write_file(
                    opener, item, entry, intake=intake, pending=pending, epoch=epoch, bytecode=bytecode
                )
            if len(pending) > 256:
                intake.write(b"".join(pending))
                pending.clear()
    finally:
        opener.close()
    intake.write(b"".join([*pending, END]))


def refuse_holes(found: Iterable[Found]) -> None:
    """Raise InvalidArgument for files that claim much more than they take: a tar holds holes as zeros."""
    files = {
        (item.status.st_dev, item.status.st_ino): item for item in found if stat.S_ISREG(item.status.st_mode)
    }
    holes = 0
    for item in files.values():
        holes += max(0, item.status.st_size - 512 * item.status.st_blocks)
        if holes > _MOST_HOLES:
            path = item.path[:200].decode("utf-8", "backslashreplace")
            raise InvalidArgument(
                f'"/{path}" cannot be in a layer: it is sparse, with more than'
                f" {_MOST_HOLES >> 30} GiB of holes; remove it in the step that makes it"
            )


def disk_usage(found: Iterable[Found]) -> int:
    """Bytes on disk, each inode counted once."""
    blocks = {(item.status.st_dev, item.status.st_ino): item.status.st_blocks for item in found}
    return 512 * sum(blocks.values())


def _find_in(
    directory_fd: int, prefix: bytes, depth: int, found: list[Found], omit: frozenset[bytes]
) -> None:
    if depth > _MAX_DEPTH:
        raise Unsupported(
            f"the directory {prefix[:200]!r} is too deep for a layer (more than {_MAX_DEPTH} levels)"
        )
    for text in os.listdir(directory_fd):
        name = os.fsencode(text)
        path = prefix + name
        if path in omit:
            continue
        try:
            fd = os.open(name, _LOOK, dir_fd=directory_fd)
        except FileNotFoundError:
            continue  # the container is running
        try:
            item = _look(path, fd)
            if item is None:
                continue
            found.append(item)
            if stat.S_ISDIR(item.status.st_mode):
                child_fd = os.open(".", _DIRECTORY, dir_fd=fd)
                try:
                    _find_in(child_fd, path + b"/", depth + 1, found, omit)
                finally:
                    os.close(child_fd)
        finally:
            os.close(fd)


def _look(path: bytes, fd: int) -> Found | None:
    """Status and attributes; None for what no layer can hold."""
    status = os.fstat(fd)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFSOCK:
        return None  # sockets have no place in a tar
    item = Found(path, status)
    if kind == SYMLINK:
        item.link = os.readlink(b"", dir_fd=fd)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        # An O_PATH descriptor has no attributes of its own; its link in /proc has.
        place = f"/proc/self/fd/{fd}"
        for name in os.listxattr(place):
            if name == _OPAQUE_XATTR:
                item.opaque = os.getxattr(place, name) == b"y"
            elif name == _ORIGIN_XATTR:
                item.copied = True
            elif name == "security.capability" or name.startswith("user."):
                item.xattrs = item.xattrs or {}
                item.xattrs[os.fsencode(name)] = os.getxattr(place, name)
        item.xattrs = keep_xattrs(item.xattrs)
    return item


def _members(found: Iterable[Found]) -> Iterator[tuple[Found, TarEntry]]:
    """The members in their final order: whiteouts get their names, opaque directories their mark."""
    # Entries are made when they are written: a layer may have a hundred thousand.
    members: list[tuple[bytes, Found]] = []
    for item in found:
        head, slash, name = item.path.rpartition(b"/")
        if item.is_whiteout:
            members.append((head + slash + WHITEOUT + name, item))
            continue
        if name.startswith(WHITEOUT):
            raise Unsupported(
                f'"/{item.path[:200].decode("utf-8", "backslashreplace")}" cannot be in a layer:'
                ' names that begin with ".wh." mean removal'
            )
        members.append((item.path, item))
        if item.opaque:
            members.append((item.path + b"/" + OPAQUE, item))
    members.sort(key=lambda member: member[0])
    for path, item in members:
        yield item, _entry(item) if path == item.path else TarEntry(path, REGULAR, mode=0o644)


def _entry(item: Found) -> TarEntry:
    status = item.status
    kind = stat.S_IFMT(status.st_mode)
    return TarEntry(
        item.path,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        link=item.link,
        size=status.st_size if kind == REGULAR else 0,
        mtime=int(status.st_mtime_ns // 1_000_000_000),
        rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)),
        xattrs=item.xattrs,
    )


def _owner_of(item: Found, entry: TarEntry, owners: dict[tuple[int, int], bytes]) -> bytes | None:
    """The first path of this inode, if this is not it."""
    status = item.status
    if status.st_nlink < 2 or entry.kind == DIRECTORY or entry.unsafe_path != item.path:
        return None
    key = (status.st_dev, status.st_ino)
    first = owners.setdefault(key, item.path)
    return None if first == item.path else first


def _link(entry: TarEntry, owner: bytes) -> TarEntry:
    return TarEntry(
        entry.unsafe_path,
        HARDLINK,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        link=owner,
        xattrs=entry.xattrs,
    )


class _Opener:
    """Opens what was found, below the upper directory, without following links.

    Paths come sorted, so the last directory is kept open: most files lie beside the one before.
    """

    def __init__(self, upper_fd: int) -> None:
        self._upper_fd = upper_fd
        self._path = b""
        self._fd = -1

    def look(self, path: bytes) -> int:
        """An O_PATH descriptor of the last component; raises OSError when a parent is no directory now."""
        head, _, name = path.rpartition(b"/")
        return os.open(name, _LOOK, dir_fd=self._directory(head))

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _directory(self, path: bytes) -> int:
        if not path:
            return self._upper_fd
        if path != self._path or self._fd < 0:
            fd = os.dup(self._upper_fd)
            for part in path.split(b"/"):
                try:
                    child = os.open(part, _DIRECTORY, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = child
            self.close()
            self._path, self._fd = path, fd
        return self._fd


def _write_file(
    opener: _Opener,
    item: Found,
    entry: TarEntry,
    *,
    intake: Intake,
    pending: list[bytes],
    epoch: int | None,
    bytecode: Bytecode | None,
) -> None:
    fd = _open_regular(opener, item)
    if fd is None:
        return  # removed or replaced while we looked; as if it had never been
    try:
        size = entry.size
        header = encode(entry, epoch=epoch)
        begin = b""
        if bytecode is not None and item.path.endswith(b".pyc"):
            begin = bytecode.header(item.path, os.pread(fd, min(size, HEADER_SIZE), 0))
        if size <= _SMALL:
            data = _read_exactly(fd, size)
            pending += (header, begin, data[len(begin) :], padding(size))
            return
        intake.write(b"".join([*pending, header, begin]))
        pending.clear()
        intake.write_from(fd, len(begin), size - len(begin))
        pending.append(padding(size))
    finally:
        os.close(fd)


def _open_regular(opener: _Opener, item: Found) -> int | None:
    try:
        looked = opener.look(item.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(looked)
        if (status.st_dev, status.st_ino) != (item.status.st_dev, item.status.st_ino):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None  # the number of a removed file is soon another's: a FIFO would block us
        return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(looked)


def _read_exactly(fd: int, size: int) -> bytes:
    """`size` bytes; a file that has become shorter is filled with zeros, as GNU tar does."""
    return os.pread(fd, size, 0).ljust(size, b"\0")
