"""Types tar and local: the files of a target as one tar, walked through a mount of its layers.

Owners, modes and times are the image's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from carboy.archive.packing import pack
from carboy.digest import Digest
from carboy.formats.tar import END
from carboy.store.archiveout import ArchiveOut, Sink

View = Callable[[tuple[Digest, ...]], AbstractContextManager[int]]
"""Mounts layers read-only for the length of a block: a descriptor of the root."""


def write_flat(roots: Sequence[tuple[str, tuple[Digest, ...]]], view: View, sink: Sink) -> None:
    """Write one tar; each root is (directory that it gets, empty for none; its layers)."""
    out = ArchiveOut(sink)
    for name, layers in roots:
        if not layers:
            if name:
                out.directory(name)
            continue
        with view(layers) as root:
            # The end of each is held back: one archive has one.
            held = b""
            for piece in pack(root, name.encode()):
                if held:
                    out.write(held)
                held = piece
            out.write(held[: -len(END)])
    out.end()


def directory_names(images: Sequence[tuple[str, str]]) -> list[str]:
    """The directory of each (target, platform): empty for a lone one, else `linux_amd64`."""
    targets = {target for target, _ in images}
    platforms = {platform for _, platform in images}
    names = []
    for target, platform in images:
        parts = []
        if len(targets) > 1:
            parts.append(target.replace("/", "_"))
        if len(platforms) > 1:
            parts.append(platform.replace("/", "_"))
        names.append("_".join(parts))
    return names
