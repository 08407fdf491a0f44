"""Writing a large tar for a client: headers through a sink, contents inside the kernel where it can."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from carboy.formats.tar import DIRECTORY, END, REGULAR, TarEntry, encode, padding
from carboy.store.content import storage_error, write_all

_CHUNK = 1 << 20
_SENDFILE_CHUNK = 1 << 26

OpenFile = Callable[[], int]
"""A descriptor to read a file from; who called closes it."""


class Sink(Protocol):
    """Where the archive goes."""

    def write(self, data: bytes | memoryview, /) -> None: ...
    def fileno(self) -> int | None: ...


class ArchiveOut:
    """The sink: its descriptor alone when it has one, so that nothing is written out of order."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._descriptor = sink.fileno()

    def directory(self, path: str) -> None:
        """A member that is a directory."""
        self.write(encode(TarEntry(path.encode(), DIRECTORY, mode=0o755)))

    def member(self, path: str, data: bytes) -> None:
        """A small file."""
        self.write(_header(path, len(data)) + data + padding(len(data)))

    def file(self, path: str, source: int, size: int) -> None:
        """A file with the first `size` bytes of an open one."""
        self.write(_header(path, size))
        self.copy(source, size)
        self.write(padding(size))

    def tree(self, small: Mapping[str, bytes], large: Mapping[str, tuple[int, OpenFile]]) -> None:
        """All of an archive, by path: small files, large ones (bytes, opener), directories."""
        names = {*small, *large}
        for path in sorted(names.union(*map(_parents, names))):
            if path in small:
                self.member(path, small[path])
            elif path in large:
                self._opened(path, *large[path])
            else:
                self.directory(path)
        self.end()

    def _opened(self, path: str, size: int, opener: OpenFile) -> None:
        descriptor = opener()
        try:
            self.file(path, descriptor, size)
        finally:
            os.close(descriptor)

    def end(self) -> None:
        """What closes an archive."""
        self.write(END)

    def write(self, data: bytes | memoryview) -> None:
        """Bytes as they are."""
        if self._descriptor is None:
            self._sink.write(data)
            return
        write_all(self._descriptor, data, "write the archive")

    def copy(self, source: int, size: int) -> None:
        """Copy `size` bytes from the beginning of `source`, inside the kernel when it can."""
        offset = 0
        while offset < size:
            done = self._send(source, offset, min(size - offset, _SENDFILE_CHUNK))
            if not done:
                data = os.pread(source, min(size - offset, _CHUNK), offset)
                if not data:
                    raise storage_error(OSError(errno.EIO, "a layer's tar is too short"), "write the archive")
                self.write(data)
                done = len(data)
            offset += done

    def _send(self, source: int, offset: int, size: int) -> int:
        """Bytes sent by sendfile; 0 when it cannot."""
        if self._descriptor is None:
            return 0
        try:
            return os.sendfile(self._descriptor, source, offset, size)
        except OSError as error:
            # O_APPEND files and some others do not take it.
            if error.errno in (errno.EINVAL, errno.ENOSYS):
                return 0
            raise storage_error(error, "write the archive") from error


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _header(path: str, size: int) -> bytes:
    return encode(TarEntry(path.encode(), REGULAR, mode=0o644, size=size))
