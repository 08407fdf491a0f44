"""A directory of this machine as a build context."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.formats.dockerignore import Ignore


@dataclass(frozen=True, slots=True)
class LocalTree:
    """What is below a descriptor, less what .dockerignore keeps out.  Hostile: it may change meanwhile."""

    root: int
    path: str
    """Where it is: for people and for the hash cache."""
    ignore: Ignore | None = None
