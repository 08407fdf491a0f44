"""A tree of files as a tar stream, in bounded memory."""

from __future__ import annotations

import os

from carboy.archive.walking import walk
from carboy.formats.tar.entry import REGULAR
from carboy.formats.tar.writer import END, encode, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carboy.archive.walking import Scope
    from carboy.formats.tar.entry import TarEntry

    Write = Callable[[bytes], object]
    Send = Callable[[int, int], int]

_PIECE = 1 << 20
_BATCH = 1 << 17


def pack(
    start: int, name: bytes, write: Write, *, scope: Scope | None = None, send: Send | None = None
) -> None:
    """Write the tar of what the O_PATH descriptor `start` is, called `name`, with all below it.

    send: gives the kernel `size` bytes of a descriptor to copy (sendfile); what it did not take is written.
    """
    Packer(write, send).write_all(walk(start, name, scope))


class Packer:
    """Collects small pieces, so that a stream of small files is not a stream of small writes."""

    def __init__(self, write: Write, send: Send | None = None) -> None:
        self._write = write
        self._send = send
        self._pending: list[bytes] = []
        self._held = 0

    def write_all(self, entries: Iterable[tuple[TarEntry, int]]) -> None:
        """Write every entry, and the end of the archive."""
        for entry, fd in entries:
            self._put(encode(entry))
            if entry.kind == REGULAR and entry.size:
                self._contents(fd, entry.size)
                self._put(padding(entry.size))
        self._put(END)
        self._flush()

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._held += len(data)
        if self._held >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            data, self._pending, self._held = b"".join(self._pending), [], 0
            self._write(data)

    def _contents(self, fd: int, left: int) -> None:
        """Exactly as many bytes as the header says, whatever has become of the file."""
        if self._send is not None and left >= _BATCH:
            self._flush()
            left -= self._send(fd, left)
        while left:
            data = os.read(fd, min(left, _PIECE))
            if not data:
                # It has become shorter.
                self._put(bytes(min(left, _PIECE)))
                left -= min(left, _PIECE)
                continue
            self._put(data)
            left -= len(data)
