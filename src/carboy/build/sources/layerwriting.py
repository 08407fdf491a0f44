"""Layers that sources make: a tar written straight into the store."""

from __future__ import annotations

from collections.abc import Callable

from carboy.errors import InvalidArgument
from carboy.store.intake import Intake
from carboy.store.layers import Layer, LayerStore

_NAME_MAX = 255
_BATCH = 1 << 20


class Batch:
    """Gathers small pieces on their way into an intake: each write there wakes the thread that hashes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self.flush()

    def write_from(self, fd: int, offset: int, size: int) -> None:
        """Append part of a file, copied inside the kernel."""
        self.flush()
        self._intake.write_from(fd, offset, size)

    def flush(self) -> None:
        """Write what is waiting."""
        if self._pieces:
            self._intake.write(b"".join(self._pieces))
            self._pieces, self._size = [], 0


def make_layer(layers: LayerStore, write: Callable[[Batch], None]) -> Layer:
    """The layer of what `write` writes; nothing is left of it when that fails."""
    with layers.begin() as intake:
        batch = Batch(intake)
        try:
            write(batch)
            batch.flush()
        except BaseException as error:
            layers.discard(intake, error)
            raise
        return layers.commit(intake)


def checked_name(unsafe_name: str) -> bytes:
    """A name that a file of a layer can have, as bytes."""
    name = unsafe_name.encode("utf-8", "surrogateescape")
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or name.startswith(b".wh."):
        raise InvalidArgument(f"invalid file name {unsafe_name[:100]!r} of a download")
    if len(name) > _NAME_MAX:
        raise InvalidArgument(
            f"the file name {unsafe_name[:100]!r}… of a download is longer than {_NAME_MAX} bytes"
        )
    return name
