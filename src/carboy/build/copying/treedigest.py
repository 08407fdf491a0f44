"""What a mount shows of a directory of this machine, as one digest.

Names, kinds, modes and contents count; owners and times do not: who builds the same files on another
machine or another day has the same.  Contents come from the hash cache, as those of COPY do.
"""

from __future__ import annotations

import hashlib
import os
import stat

from carboy.build.copying.hashcache import HashCache
from carboy.build.copying.places import Opener, locate
from carboy.build.copying.scan import Row, Scanner
from carboy.build.session import Session
from carboy.build.trees import LocalTree, OpenTree
from carboy.errors import InvalidArgument, NotFound


def tree_identity(tree: LocalTree, source: str, session: Session) -> str:
    """sha256:… of what lies at `source`; NotFound."""
    with HashCache(session.workshop.paths.cache) as hashes:
        scanner = Scanner(
            OpenTree(tree.root, tree.ignore, tree.path),
            hashes,
            session.cancellation.check,
            lambda _text: None,
        )
        return _digest(_rows(scanner, source))


def _rows(scanner: Scanner, source: str) -> list[Row]:
    root = scanner.tree.root
    try:
        place = locate(root, os.fsencode(source))
    except OSError as error:
        raise InvalidArgument(
            f"{source[:200]!r} cannot be found in the build context: {error.strerror}"
        ) from error
    if not place.exists:
        raise NotFound(f"{source[:200]!r} is not in the build context")
    opener = Opener(root)
    try:
        if place.is_directory:
            return scanner.directory(opener.directory(place.path), place.path)
        return [scanner.file(opener.directory(b"/".join(place.parts[:-1])), place.parts[-1], place.path)]
    finally:
        opener.close()


def _digest(rows: list[Row]) -> str:
    found = hashlib.sha256()
    for row in sorted(rows, key=lambda one: one.path):
        content = row.digest if stat.S_ISREG(row.mode) else row.link.hex()
        fields = (
            row.path.hex(),
            f"{row.mode:o}",
            content,
            f"{row.rdev}",
            *(f"{k.hex()}={v.hex()}" for k, v in row.xattrs),
        )
        found.update(" ".join(fields).encode() + b"\n")
    return f"sha256:{found.hexdigest()}"
