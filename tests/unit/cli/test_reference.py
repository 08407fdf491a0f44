"""The reference page is current, and every command has what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.cli import help as pages
from carboy.cli import main, reference
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS, GROUPS

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference.reference(), "python -m carboy.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_complete(name: str) -> None:
    module = main.load(name)
    assert COMMANDS[name][1] in GROUPS
    least, most = module.ARGUMENTS
    assert most is None or least <= most
    names = [row[0] for row in main.flags_of(name, module)]
    shorts = [row[1] for row in main.flags_of(name, module) if row[1]]
    assert len(names) == len(set(names))
    assert len(shorts) == len(set(shorts))
    page = pages.page(name.split())
    assert page.startswith(f"Usage:  carboy {name}")
    assert all(len(line) <= 110 for line in page.splitlines())


@pytest.mark.parametrize("name", GROUP_WORDS)
def test_every_group_has_a_page(name: str) -> None:
    page = pages.page([name])
    for key in (*COMMANDS, *ALIASES):
        word = key.partition(" ")[2]
        if key.startswith(name + " ") and word not in ("list", "remove", "ps") and key in COMMANDS:
            assert f"\n  {word} " in page


def test_aliases_lead_to_commands() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)


def test_the_overview_names_every_command() -> None:
    page = pages.page([])
    assert all(f"\n  {name} " in page for name in COMMANDS if " " not in name)
    for title in ("Common Commands:", "Management Commands:", "Commands:", "Global Options:"):
        assert title in page
