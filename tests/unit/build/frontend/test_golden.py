"""Dockerfiles and what is to be built for them: tests/golden/build/<case>/.

    Dockerfile    the input, as bytes
    case.json     optional: arguments, targets, platforms, contexts, images with their configs …
    graph.txt     the vertices: inputs, and fields that are not as by default
    config.json   the images: config, author, history
    error.txt     or, instead of both, what is wrong, as it is shown

`CARBOY_GOLDEN=rewrite pytest tests/unit/build/frontend` writes the results again; review the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from carboy.build.frontend.drawing import draw
from carboy.errors import CarboyError
from carboy.formats.dockerfile.source import DockerfileError
from carboy.formats.dockerfile.stages import read_document
from support.graphs import CaseOptions, FakeBases, config_text, graph_text

CASES = Path(__file__).parents[3] / "golden" / "build"
NAMES = sorted(path.name for path in CASES.iterdir())
RESULTS = ("graph.txt", "config.json", "error.txt")


def read_case(folder: Path) -> tuple[bytes, CaseOptions]:
    text = (folder / "Dockerfile").read_bytes()
    given = folder / "case.json"
    options = msgspec.json.decode(given.read_bytes(), type=CaseOptions) if given.exists() else CaseOptions()
    return text, options


def outcome(folder: Path) -> dict[str, str]:
    """Content by name of the file."""
    text, options = read_case(folder)
    try:
        graph = draw(read_document(text), options.request(), FakeBases(options))
    except DockerfileError as error:
        shown = error.pointed(text.decode("utf-8", "surrogateescape"))
        return {"error.txt": f"{error}\n\n{shown}\n"}
    except CarboyError as error:
        return {"error.txt": f"{type(error).__name__}: {error}\n"}
    return {"graph.txt": graph_text(graph), "config.json": config_text(graph)}


@pytest.mark.parametrize("case", NAMES)
def test_golden(case: str) -> None:
    folder = CASES / case
    found = outcome(folder)
    if os.environ.get("CARBOY_GOLDEN") == "rewrite":
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
        for name, content in found.items():
            (folder / name).write_text(content)
    assert {path.name for path in folder.iterdir()} & set(RESULTS) == set(found)
    for name, content in found.items():
        assert content == (folder / name).read_text()


def test_there_are_many() -> None:
    assert len(NAMES) >= 150
    errors = [name for name in NAMES if (CASES / name / "error.txt").exists()]
    assert len(errors) >= 30
