"""Writing image archives: `docker save`.

One archive is both a docker-archive and an OCI layout (as Docker writes them since 25).  Equal
images give equal bytes: members sorted by path, no owners, no times, layers as they are stored.
"""

from __future__ import annotations

from carboy.digest import Digest
from carboy.formats.imagearchive import SavedImage, blob_path, write_documents
from carboy.store.archiveout import ArchiveOut, OpenFile, Sink


def write_archive(
    images: list[SavedImage],
    configs: dict[Digest, bytes],
    layers: dict[Digest, tuple[int, OpenFile]],
    sink: Sink,
) -> None:
    """Write the archive; `layers` says how large each tar is and how to open it."""
    small = write_documents(images)
    small.update({blob_path(digest): data for digest, data in configs.items()})
    large = {blob_path(diff_id): layer for diff_id, layer in layers.items()}
    ArchiveOut(sink).tree(small, large)
