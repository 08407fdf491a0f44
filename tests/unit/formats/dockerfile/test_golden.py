"""Dockerfiles and what they mean: tests/golden/dockerfile/<case>/.

    Dockerfile           the input, as bytes
    args.json            optional: arguments, targets, contexts, platforms, the base's environment
    expected.json        nodes with their places, stages, expanded instructions
    expected-error.txt   or what is wrong with it, as it is shown

`CARBOY_GOLDEN=rewrite pytest tests/unit/formats/dockerfile` writes the results again; review the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from carboy.formats.dockerfile.source import DockerfileError
from support.dockerfiles import CaseOptions, described

CASES = Path(__file__).parents[3] / "golden" / "dockerfile"
NAMES = sorted(path.name for path in CASES.iterdir())


def outcome(folder: Path) -> tuple[str, str]:
    """(file of the result, its content)."""
    text = (folder / "Dockerfile").read_bytes()
    options = CaseOptions()
    if (folder / "args.json").exists():
        options = msgspec.json.decode((folder / "args.json").read_bytes(), type=CaseOptions)
    try:
        result = described(text, options)
    except DockerfileError as error:
        shown = error.pointed(text.decode("utf-8", "surrogateescape"))
        return "expected-error.txt", f"{error}\n\n{shown}\n"
    return "expected.json", json.dumps(result, indent=1, ensure_ascii=True) + "\n"


@pytest.mark.parametrize("case", NAMES)
def test_golden(case: str) -> None:
    folder = CASES / case
    name, content = outcome(folder)
    if os.environ.get("CARBOY_GOLDEN") == "rewrite":
        for old in ("expected.json", "expected-error.txt"):
            (folder / old).unlink(missing_ok=True)
        (folder / name).write_text(content)
    assert [path.name for path in folder.iterdir() if path.name.startswith("expected")] == [name]
    assert content == (folder / name).read_text()


def test_there_are_many() -> None:
    assert len(NAMES) >= 110
    errors = [name for name in NAMES if (CASES / name / "expected-error.txt").exists()]
    assert len(errors) >= 30
