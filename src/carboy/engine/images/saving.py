"""Writing image archives: `docker save`.

One archive is both a docker-archive and an OCI layout (as Docker writes them since 25).  Equal
images give equal bytes: members sorted by path, no owners, no times, layers as they are stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from carboy.digest import Digest
from carboy.formats.imagearchive import SavedImage, blob_path, write_documents
from carboy.store.archiveout import ArchiveOut, Sink

OpenBlob = Callable[[], int]
"""A descriptor to read a layer's tar from; the caller closes it."""


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
    out = ArchiveOut(sink)
    for path in sorted({"blobs", "blobs/sha256", *small, *large}):
        if path in small:
            out.member(path, small[path])
        elif path in large:
            size, opener = large[path]
            descriptor = opener()
            try:
                out.file(path, descriptor, size)
            finally:
                os.close(descriptor)
        else:
            out.directory(path)
    out.end()
