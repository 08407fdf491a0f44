"""Whether a directory is a clean git work tree, and of which commit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, and when it was made."""

    id: str
    time: int


def clean_commit(root: int) -> Commit | None:  # noqa: ARG001 - comes next
    """The commit that the files below `root` are, exactly; None when they are not, or there is none."""
    return None
