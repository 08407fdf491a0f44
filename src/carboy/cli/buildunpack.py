"""The files of a build's result, below a directory of this machine; existing ones are replaced.

They belong to the caller, as with BuildKit; no link that is there already is followed.
"""

from __future__ import annotations

import os

from carboy.archive.contents import BufferedReader
from carboy.archive.unpacking import Places, Unpacker
from carboy.archive.unpacking import unpack as unpack_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def unpack(pieces: Iterator[bytes], path: str) -> None:
    """Make the files of a tar below `path`."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    places = Places(root)

    def read(size: int) -> bytes:
        del size  # the pieces are as large as they came; the buffer above does not mind
        return next(pieces, b"")

    try:
        unpack_archive(BufferedReader(read), Unpacker(places, keep_owner=False))
        for _ in pieces:
            pass  # up to the end of the reply, so that the connection is whole
    finally:
        places.close()
        os.close(root)
