"""Bytes from a client, as a file that can be read anywhere.

A regular file that the client handed over is read in place; a stream, and anything that is
compressed, is first written to a nameless file beside the store (the kernel frees it when it
is closed, whatever happens to us).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from carboy.formats.compression import Compression, Decompressor, detect
from carboy.store.content import storage_error, write_all
from carboy.store.intake import FileWindow, Reader

_CHUNK = 1 << 20


class Source(Protocol):
    """What a client sends."""

    def read(self, size: int, /) -> bytes: ...
    def fileno(self) -> int | None: ...


def window_of(source: Source) -> FileWindow | None:
    """The rest of the regular file behind `source`, if there is one."""
    descriptor = source.fileno()
    if descriptor is None or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    return FileWindow(descriptor, start, max(0, os.fstat(descriptor).st_size - start))


def plain_reader(source: Source) -> Reader:
    """What `source` holds, decompressed; a plain regular file stays a window that is copied fast."""
    window = window_of(source)
    return Decompressor(_reading(source)) if window is None else decompressed(window)


def decompressed(window: FileWindow) -> Reader:
    """The window itself when it is not compressed, else what it holds."""
    if compression_of(window) is Compression.NONE:
        return window
    return Decompressor(window.read)


def compression_of(window: FileWindow) -> Compression:
    """How the window's contents are compressed."""
    return detect(os.pread(window.fd, min(6, window.size), window.offset))


@contextmanager
def seekable(source: Source, scratch: str) -> Iterator[FileWindow]:
    """The uncompressed contents of `source` as a window; `scratch` is a directory for a nameless file."""
    window = window_of(source)
    if window is not None and compression_of(window) is Compression.NONE:
        yield window
        return
    descriptor = os.open(scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        reader = Decompressor(_reading(source)) if window is None else Decompressor(window.read)
        try:
            while data := reader.read(_CHUNK):
                write_all(descriptor, data, "receive the archive")
        except OSError as error:
            raise storage_error(error, "receive the archive") from error
        yield FileWindow.whole(descriptor)
    finally:
        os.close(descriptor)


def _reading(source: Source) -> Callable[[int], bytes]:
    """How to read on: from the client's own pipe when it gave one."""
    descriptor = source.fileno()
    if descriptor is None:
        return source.read
    return lambda size: os.read(descriptor, size)
