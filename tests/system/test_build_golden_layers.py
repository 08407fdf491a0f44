"""What COPY, ADD and WORKDIR write, byte by byte: tests/golden/layers/<case>/.

    Dockerfile    no RUN
    case.json     the context's files, images, named contexts, arguments …
    layers.txt    every layer: DiffID and members
    error.txt     or why there is none

Each case is built over both layer drivers, under two umasks and from files of different times: one result.
`CARBOY_GOLDEN=rewrite pytest` of this file writes them again; review the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carboy.errors import CarboyError
from carboy.store.layers import DirectoryLayers, ErofsLayers
from support.layercases import LayerCase, Shop, layers_text, shown

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]

CASES = Path(__file__).parents[1] / "golden" / "layers"
NAMES = sorted(path.name for path in CASES.iterdir())
RESULTS = ("layers.txt", "error.txt")


def outcome(folder: Path, directory: Path, driver: Callable[..., Any]) -> tuple[str, str]:
    """(file of the result, its content)."""
    case = msgspec.json.decode((folder / "case.json").read_bytes(), type=LayerCase)
    directory.mkdir()
    shop = Shop(directory, driver)
    try:
        graph, solved = shop.build((folder / "Dockerfile").read_bytes(), case, directory)
        return "layers.txt", layers_text(graph, solved, shop.layers)
    except CarboyError as error:
        return "error.txt", shown(error, directory)
    finally:
        shop.close()


@pytest.mark.parametrize("name", NAMES)
def test_golden_layers(name: str, tmp_path: Path) -> None:
    folder = CASES / name
    found = outcome(folder, tmp_path / "erofs", ErofsLayers)
    if os.environ.get("CARBOY_GOLDEN") == "rewrite":
        for old in RESULTS:
            (folder / old).unlink(missing_ok=True)
        (folder / found[0]).write_text(found[1])
    assert [path.name for path in folder.iterdir() if path.name in RESULTS] == [found[0]]
    assert found[1] == (folder / found[0]).read_text()
    umask = os.umask(0o002)
    try:
        assert outcome(folder, tmp_path / "directory", DirectoryLayers) == found
    finally:
        os.umask(umask)
