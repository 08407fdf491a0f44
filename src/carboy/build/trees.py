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


@dataclass(frozen=True, slots=True)
class OpenTree:
    """What sources are looked up in: a directory that is open, wherever its files come from."""

    root: int
    ignore: Ignore | None = None
    path: str = ""
    """Of a directory of this machine: where it is.  Empty for layers, which never change."""

    @property
    def is_local(self) -> bool:
        """Whether its files may change, and are their user's own."""
        return bool(self.path)
