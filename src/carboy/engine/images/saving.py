"""Writing image archives: `docker save`.

One archive is both a docker-archive and an OCI layout (as Docker writes them since 25).  Equal
images give equal bytes: members sorted by path, no owners, no times, layers as they are stored.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

from carboy.digest import Digest
from carboy.formats.imagearchive import SavedImage, blob_path, write_documents
from carboy.formats.tar import DIRECTORY, END, REGULAR, TarEntry, encode, padding
from carboy.store.content import storage_error

_CHUNK = 1 << 20
_SENDFILE_CHUNK = 1 << 26

OpenBlob = Callable[[], int]
"""A descriptor to read a layer's tar from; the caller closes it."""


class Sink(Protocol):
    """Where the archive goes."""

    def write(self, data: bytes | memoryview, /) -> None: ...
    def fileno(self) -> int | None: ...


def write_archive(
    images: list[SavedImage],
    configs: dict[Digest, bytes],
    layers: dict[Digest, tuple[int, OpenBlob]],
    sink: Sink,
) -> None:
    """Write the archive; `layers` says how large each tar is and how to open it."""
    small = write_documents(images)
    small.update({blob_path(digest): data for digest, data in configs.items()})
    large = {blob_path(diff_id): layer for diff_id, layer in layers.items()}
    out = _Out(sink)
    for path in sorted({"blobs", "blobs/sha256", *small, *large}):
        if path in small:
            out.write(_header(path, len(small[path])) + small[path] + padding(len(small[path])))
        elif path in large:
            size, opener = large[path]
            out.write(_header(path, size))
            descriptor = opener()
            try:
                out.copy(descriptor, size)
            finally:
                os.close(descriptor)
            out.write(padding(size))
        else:
            out.write(encode(TarEntry(path.encode(), DIRECTORY, mode=0o755)))
    out.write(END)


def _header(path: str, size: int) -> bytes:
    return encode(TarEntry(path.encode(), REGULAR, mode=0o644, size=size))


class _Out:
    """The sink: its descriptor alone when it has one, so that nothing is written out of order."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._descriptor = sink.fileno()

    def write(self, data: bytes) -> None:
        if self._descriptor is None:
            self._sink.write(data)
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise storage_error(error, "write the archive") from error

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
