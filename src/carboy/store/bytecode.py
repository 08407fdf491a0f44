"""Python's bytecode files stay fresh when the times of a layer are clamped.

A .pyc begins with a header of 16 bytes:

    magic (4)  flags (4)  time of its source (4)  size of its source (4)      flags 0: checked by time
    magic (4)  flags (4)  hash of its source (8)                              flags 1, 3: by hash, or not

Python takes a .pyc only when the time in it is that of the .py beside it (modulo 2**32).  A layer
says another time of a .py that was written after the epoch: so the header must say that, too.  A file
that was stale before must not become fresh by that, and what does not depend on a source in the
layer (its source is in a layer below, where times are not touched) stays as it is.

The other way round: a .py that was changed, in a layer above that of its .pyc, would have the very time
that the .pyc says, if both were clamped; with the same size, Python would go on with the old code.  Such
a source gets a time one second earlier (`earlier`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

HEADER_SIZE = 16
_MASK = 0xFFFFFFFF
_CACHE = b"__pycache__"


def source_of(path: bytes) -> bytes:
    """The .py that a .pyc belongs to: `a/__pycache__/b.cpython-311.opt-1.pyc` and `a/b.pyc` to `a/b.py`."""
    head, slash, name = path.rpartition(b"/")
    if head == _CACHE or head.endswith(b"/" + _CACHE):
        parent = head[: -len(_CACHE)]
        return parent + name.partition(b".")[0] + b".py"
    return head + slash + name.removesuffix(b".pyc") + b".py"


@dataclass(frozen=True, slots=True)
class Source:
    """A .py in the layer."""

    time: int
    """Seconds, before clamping."""
    size: int


def earlier(
    sources: Mapping[bytes, Source], epoch: int, headers: Callable[[bytes], Iterable[bytes]]
) -> dict[bytes, int]:
    """Times for those sources that old bytecode would be taken for.

    headers: the first bytes of the .pyc files in the layers below that belong to a source there, and stay.
    """
    found = {}
    for path, source in sources.items():
        if source.time <= epoch:
            continue
        taken = {
            recorded
            for flags, recorded, size in map(_fields, headers(path))
            if not flags and size == source.size & _MASK
        }
        time = epoch
        while time & _MASK in taken:
            time -= 1
        if time != epoch:
            found[path] = time
    return found


def _fields(header: bytes) -> tuple[int, int, int]:
    """(flags, time, size); flags that mean nothing to us when it is too short."""
    if len(header) < HEADER_SIZE:
        return (1, 0, 0)
    flags, recorded, size = struct.unpack_from("<III", header, 4)
    return flags, recorded, size


class Bytecode:
    """The headers of one layer's .pyc files."""

    def __init__(
        self,
        epoch: int,
        sources: Mapping[bytes, Source],
        below: Callable[[bytes], int | None] | None = None,
        *,
        earlier: Mapping[bytes, int] | None = None,
    ) -> None:
        """sources: the .py files in the layer; earlier: the times of some of them, see `earlier`.

        below: the time of a path in the layers below; None when there is nothing.
        """
        self._epoch = epoch
        self._sources = sources
        self._below = below
        self.earlier = earlier or {}

    def header(self, path: bytes, header: bytes) -> bytes:
        """What to write instead of the first bytes of `path`; nothing when they may stay."""
        if len(header) < HEADER_SIZE:
            return b""
        flags, recorded = struct.unpack_from("<II", header, 4)
        if flags:
            return b""
        source = source_of(path)
        written = self._sources.get(source)
        if written is None:
            if recorded <= self._epoch or (self._below is not None and self._below(source) is not None):
                return b""
            return self._with_time(header, self._epoch)
        time = written.time
        clamped = self.earlier.get(source, min(time, self._epoch))
        if recorded == time & _MASK:
            return b"" if clamped == time else self._with_time(header, clamped)
        if recorded > self._epoch or recorded == clamped & _MASK:
            return self._with_time(header, clamped - 1)  # stale, and stays so
        return b""

    @staticmethod
    def _with_time(header: bytes, time: int) -> bytes:
        return header[:8] + struct.pack("<I", time & _MASK) + header[12:]
