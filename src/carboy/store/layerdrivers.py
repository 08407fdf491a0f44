"""What overlay mounts of a layer: an index beside its tar, or its tree extracted.

    ErofsDriver      meta.erofs, an EROFS image that points into layer.tar; sparse.data, rarely
    DirectoryDriver  tree/, for kernels before 6.12

A driver writes into a directory that is not published yet, or looks at one that is;
`layers.py` names, publishes and removes them.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from carboy.digest import Digest
from carboy.errors import Corrupt
from carboy.formats.erofs import write_index
from carboy.formats.layertree import Node
from carboy.linux import layers as linux_layers
from carboy.store.intake import TAR_NAME
from carboy.store.treewriter import write_tree

_READ = os.O_RDONLY | os.O_CLOEXEC
_PIECE = 1 << 24


@dataclass(frozen=True, slots=True)
class LayerTar:
    """A layer's tar, and what was read in it."""

    fd: int
    size: int
    root: Node
    diff_id: Digest


class Driver(Protocol):
    """What the kinds of layer store do differently."""

    def prepare(self, path: str, tar: LayerTar) -> None:
        """Make beside the tar what `mount` needs; all of it is on the disk on return."""
        ...

    def check(self, path: str, tar: LayerTar) -> None:
        """Corrupt when what `prepare` made does not belong to the tar."""
        ...

    def mount(self, path: str) -> int:
        """A descriptor that overlay takes; the caller closes it."""
        ...


class ErofsDriver:
    """meta.erofs beside the tar."""

    def prepare(self, path: str, tar: LayerTar) -> None:
        """Write the index; and sparse.data when it needs one."""
        with _SparseData(f"{path}/sparse.data", tar.fd) as sparse:
            image = _index(tar, sparse)
        write_synced(f"{path}/meta.erofs", image)

    def check(self, path: str, tar: LayerTar) -> None:
        """Make the index again, compare."""
        scratch = f"{path}/.verify-{secrets.token_hex(4)}"
        try:
            with _SparseData(scratch, tar.fd) as sparse:
                image = _index(tar, sparse)
            if not _same_bytes(f"{path}/meta.erofs", image):
                raise _foreign("meta.erofs", tar)
            if os.path.exists(scratch) and not _same_sparse(f"{path}/sparse.data", scratch):
                raise _foreign("sparse.data", tar)
        finally:
            if os.path.exists(scratch):
                os.unlink(scratch)

    def mount(self, path: str) -> int:
        """A detached EROFS mount."""
        opened: list[int] = []
        try:
            opened.append(_open_part(path, "meta.erofs"))
            opened.append(_open_part(path, TAR_NAME))
            if os.path.exists(f"{path}/sparse.data"):
                opened.append(_open_part(path, "sparse.data"))
            return linux_layers.mount_erofs(opened[0], opened[1:])
        finally:
            for fd in opened:
                os.close(fd)


class DirectoryDriver:
    """tree/ beside the tar."""

    def prepare(self, path: str, tar: LayerTar) -> None:
        """Extract."""
        os.mkdir(f"{path}/tree", 0o700)
        fd = os.open(f"{path}/tree", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_tree(tar.root, tar.fd, fd)
        finally:
            os.close(fd)
        os.sync()

    def check(self, path: str, tar: LayerTar) -> None:
        """The extracted tree must at least be there; what it holds is not compared."""
        if not os.path.isdir(f"{path}/tree"):
            raise Corrupt(f"layer {tar.diff_id}: its tree is missing; fetch it again")

    def mount(self, path: str) -> int:
        """A descriptor of the directory."""
        return os.open(f"{path}/tree", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


class _SparseData:
    """The second data file, made when the first file is put into it."""

    def __init__(self, path: str, tar_fd: int) -> None:
        self._path = path
        self._tar_fd = tar_fd
        self._fd = -1
        self.size = 0

    def __enter__(self) -> _SparseData:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)

    def add(self, node: Node, alignment: int) -> int:
        """Lay a sparse file out; returns where its first byte is."""
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        base = -(-self.size // alignment) * alignment
        self.size = base + -(-node.size // alignment) * alignment
        if self.size >= 1 << 41:
            raise Corrupt("layer: its sparse files are too large to be indexed (2 TiB)")
        os.ftruncate(self._fd, self.size)
        where = node.data_offset
        for offset, length in node.segments or ():
            os.lseek(self._fd, base + offset, os.SEEK_SET)
            while length:
                done = os.sendfile(self._fd, self._tar_fd, where, min(length, _PIECE))
                if not done:
                    raise Corrupt("layer: the tar ends inside a sparse file")
                where += done
                length -= done
        return base


def _open_part(path: str, name: str) -> int:
    try:
        return os.open(f"{path}/{name}", _READ)
    except FileNotFoundError:
        raise Corrupt(f"layer {os.path.basename(path)}: {name} is missing; fetch it again") from None


def _foreign(name: str, tar: LayerTar) -> Corrupt:
    return Corrupt(f"layer {tar.diff_id}: {name} does not belong to its tar; fetch it again")


def _index(tar: LayerTar, sparse: _SparseData) -> bytes:
    return write_index(
        tar.root,
        tar_size=tar.size,
        uuid=bytes.fromhex(tar.diff_id.hex[:32]),
        copy_sparse=sparse.add,
        sparse_size=lambda: sparse.size,
    )


def write_synced(path: str, data: bytes) -> None:
    """Make a file; it is on the disk on return."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def read_whole(path: str) -> bytes:
    """All of a file."""
    with open(path, "rb") as file:
        return file.read()


def _same_bytes(path: str, expected: bytes) -> bool:
    try:
        return os.path.getsize(path) == len(expected) and read_whole(path) == expected
    except FileNotFoundError:
        return False


def _same_sparse(path: str, other_path: str) -> bool:
    """Compare where either has data: the files may be terabytes of holes."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        return False
    other = os.open(other_path, _READ)
    try:
        if os.fstat(fd).st_size != os.fstat(other).st_size:
            return False
        return all(
            os.pread(fd, size, offset) == os.pread(other, size, offset)
            for place in (fd, other)
            for offset, size in _data_in(place)
        )
    finally:
        os.close(fd)
        os.close(other)


def _data_in(fd: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of the parts of a file that are no holes, in bounded pieces."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        for offset in range(start, end, _PIECE):
            yield offset, min(_PIECE, end - offset)
