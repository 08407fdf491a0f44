"""docs/dockerfile.md: every instruction and flag has a row, and what a row names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from carboy.formats.dockerfile.grammar import FLAGS
from carboy.formats.dockerfile.nodes import STYLES
from carboy.formats.dockerfile.runflags import MOUNT_KEYS, MOUNT_TYPES

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "dockerfile.md").read_text()
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])}
NAMED = sorted(set(re.findall(r"`((?:build|dockerfile|layers|tests)/[^` ]+)`", "".join(SECTIONS.values()))))


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("| ")][1:]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))]
        for line in lines
    ]


@pytest.mark.parametrize("instruction", sorted(STYLES))
def test_every_instruction_has_its_table(instruction: str) -> None:
    assert rows(instruction)


@pytest.mark.parametrize(
    ("instruction", "flag"), [(name, flag) for name, flags in FLAGS.items() for flag in flags]
)
def test_every_flag_has_a_row(instruction: str, flag: str) -> None:
    forms = [row[0] for row in rows(instruction)]
    assert any(form.startswith(f"`--{flag}") for form in forms)


def test_every_mount_has_a_row_and_every_key_is_named() -> None:
    text = SECTIONS["RUN"]
    assert all(f"`--mount=type={kind}`" in text for kind in MOUNT_TYPES)
    assert all(f"`{key}`" in text for key in MOUNT_KEYS)


def test_every_row_says_what_shows_it() -> None:
    for section in SECTIONS:
        for row in rows(section):
            assert len(row) == 3, row
            assert re.search(r"`(build|dockerfile|layers|tests)/", row[2]), row


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_is_there(name: str) -> None:
    folder, _, rest = name.partition("/")
    path, _, test = rest.partition("::")
    if folder == "tests":
        file = ROOT / "tests" / path
        assert file.exists()
        assert not test or f"def {test}(" in file.read_text()
    else:
        assert (ROOT / "tests" / "golden" / folder / path / "Dockerfile").exists()
