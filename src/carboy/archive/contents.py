"""What is written into a new file: bytes of an archive, or another file's."""

from __future__ import annotations

import errno
import os

from carboy.errors import Corrupt, Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.formats.tar.entry import TarEntry
    from carboy.formats.tar.reader import ReadAt

_PIECE = 1 << 20
_SMALL = 1 << 16
_KERNEL_PIECE = 1 << 26
_CANNOT_SHARE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EPERM)


class BufferedReader:
    """Large reads from a stream, small ones for the tar reader."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = memoryview(b"")

    def __call__(self, size: int) -> bytes:
        if not self._buffer:
            self._buffer = memoryview(self._read(max(size, 1 << 18)))
        piece = self._buffer[:size]
        self._buffer = self._buffer[size:]
        return bytes(piece)


class ArchiveContents:
    """The data of the member that a tar reader has just given."""

    def __init__(self, read_at: ReadAt) -> None:
        self._read_at = read_at

    def copy(self, entry: TarEntry, target: int) -> None:
        """Write the member's data; holes stay holes."""
        where = entry.data_offset
        if entry.segments is None:
            self._piece(entry, target, where, entry.size)
            return
        for offset, length in entry.segments:
            os.lseek(target, offset, os.SEEK_SET)
            self._piece(entry, target, where, length)
            where += length
        os.ftruncate(target, entry.size)

    def _piece(self, entry: TarEntry, target: int, where: int, left: int) -> None:
        while left:
            data = self._read_at(where, min(left, _PIECE))
            if not data:
                raise Malformed(f"tar: truncated inside {entry.unsafe_path[:200]!r}")
            write_all(target, data)
            where += len(data)
            left -= len(data)


class FileContents:
    """The data of an open file on this machine."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def copy(self, entry: TarEntry, target: int) -> None:
        """Copy the whole file; holes stay holes."""
        source = self._descriptor
        if entry.size <= _SMALL:
            if entry.size:
                write_all(target, os.pread(source, entry.size, 0))
            return
        if os.fstat(source).st_blocks * 512 < entry.size:
            self._sparse(entry, target)
        else:
            copy_range(source, target, 0, entry.size)

    def _sparse(self, entry: TarEntry, target: int) -> None:
        source, position = self._descriptor, 0
        while position < entry.size:
            try:
                begin = os.lseek(source, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole up to the end
            end = min(os.lseek(source, begin, os.SEEK_HOLE), entry.size)
            os.lseek(target, begin, os.SEEK_SET)
            if copy_range(source, target, begin, end - begin) < end - begin:
                break  # it has become shorter
            position = end
        os.ftruncate(target, entry.size)


def copy_range(source: int, target: int, begin: int, size: int) -> int:
    """Copy from an offset to the target's position, in the kernel where it can; says how much."""
    position, end = begin, begin + size
    in_kernel = True
    while position < end:
        if in_kernel:
            try:
                done = os.sendfile(target, source, position, min(end - position, _KERNEL_PIECE))
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(source, min(end - position, _PIECE), position)
            write_all(target, data)
            done = len(data)
        if not done:
            break
        position += done
    return position - begin


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write everything, whatever the descriptor takes at a time."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


def as_malformed(error: Corrupt) -> Malformed:
    """What a client sent, not what is stored, is damaged."""
    return error if isinstance(error, Malformed) else Malformed(str(error))
