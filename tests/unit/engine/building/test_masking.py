"""What .dockerignore keeps out of a mounted context."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.build.trees import LocalTree
from carboy.engine.building.masking import mask
from carboy.errors import Unsupported
from carboy.formats.dockerignore import Ignore


def masked(context: Path, place: Path, *patterns: str) -> list[str]:
    """The paths of the whiteouts."""
    place.mkdir()
    root = os.open(context, os.O_PATH | os.O_DIRECTORY)
    try:
        made = mask(LocalTree(root, str(context), Ignore(list(patterns))), str(place))
    finally:
        os.close(root)
    if made is not None:
        os.close(made)
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir())


def test_what_is_ignored_is_one_whiteout_each(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for name in ("a.log", "kept/b.log", "kept/c", "gone/d", "gone/e/f", "half/g", "half/h"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text("x")
    assert masked(context, tmp_path / "mask", "**/*.log", "gone", "half", "!half/g") == [
        "a.log",
        "gone",
        "half/h",
        "kept/b.log",
    ]
    assert masked(context, tmp_path / "none", "nothing") == []


def test_nothing_that_is_ignored_is_shown_because_it_is_deep(tmp_path: Path) -> None:
    deep = tmp_path / "context" / "/".join("d" * 300)
    deep.mkdir(parents=True)
    (deep / "secret").write_text("x")
    with pytest.raises(Unsupported, match="too deep"):
        masked(tmp_path / "context", tmp_path / "mask", "**/secret")
