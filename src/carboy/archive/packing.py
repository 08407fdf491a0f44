"""A tree of files as a tar stream, in bounded memory."""

from __future__ import annotations

import os

from carboy.archive.walking import walk
from carboy.formats.tar.entry import REGULAR
from carboy.formats.tar.writer import END, encode, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carboy.archive.walking import Scope
    from carboy.formats.tar.entry import TarEntry

    Send = Callable[[int, int], int]

_PIECE = 1 << 20
_BATCH = 1 << 17


def pack(start: int, name: bytes, *, scope: Scope | None = None, send: Send | None = None) -> Iterator[bytes]:
    """The tar of what the O_PATH descriptor `start` is, called `name`, with all below it.

    send: copies so many bytes of a descriptor to where the pieces go, by the kernel, and says how
    many it took; the rest is given as pieces.
    """
    return pack_entries(walk(start, name, scope), send=send)


def pack_entries(entries: Iterable[tuple[TarEntry, int]], *, send: Send | None = None) -> Iterator[bytes]:
    """The tar of entries, each with the descriptor that its bytes are read from (-1: it has none)."""
    pending: list[bytes] = []
    held = 0
    for entry, fd in entries:
        header = encode(entry)
        pending.append(header)
        held += len(header)
        if entry.kind == REGULAR and entry.size:
            left = entry.size
            if send is not None and left >= _BATCH:
                yield b"".join(pending)
                pending, held = [], 0
                left -= send(fd, left)
            while left:
                data = _read(fd, min(left, _PIECE))
                left -= len(data)
                pending.append(data)
                held += len(data)
                if held >= _BATCH:
                    yield b"".join(pending)
                    pending, held = [], 0
            pending.append(padding(entry.size))
        if held >= _BATCH:
            yield b"".join(pending)
            pending, held = [], 0
    pending.append(END)
    yield b"".join(pending)


def _read(fd: int, size: int) -> bytes:
    """Some bytes; zeros where the file has become shorter: the header has told its size."""
    return os.read(fd, size) or bytes(size)
