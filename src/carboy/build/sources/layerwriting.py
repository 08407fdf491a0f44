"""Layers that sources make: a tar written straight into the store."""

from __future__ import annotations

from collections.abc import Callable

from carboy.errors import InvalidArgument
from carboy.store.intake import Intake
from carboy.store.layers import Layer, LayerStore

_NAME_MAX = 255


def make_layer(layers: LayerStore, write: Callable[[Intake], None]) -> Layer:
    """The layer of what `write` writes; nothing is left of it when that fails."""
    with layers.begin() as intake:
        try:
            write(intake)
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
