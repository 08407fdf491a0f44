"""Every command and every flag of Docker 28 is known here, or is in the lists of exceptions below.

tests/data/docker-28-flags.json was made from the help pages of the docker client 28.2: for each command its
usage, its other names, and its flags as (name, shorthand, kind of value).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carboy.cli import main
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS, LATER, LATER_GROUPED

DOCKER: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "docker-28-flags.json").read_text())
WITH_VALUE = {"string", "int", "list", "no"}

_WINDOWS = "containers of Windows only"
NOT_KNOWN: dict[tuple[str, str], str] = {
    (command, flag): reason
    for command in ("run", "create")
    for flag, reason in {
        "cpu-count": _WINDOWS,
        "cpu-percent": _WINDOWS,
        "io-maxbandwidth": _WINDOWS,
        "io-maxiops": _WINDOWS,
        "use-api-socket": "experimental in Docker 28: hands the daemon's socket to the container",
        "help": "every command knows it",
    }.items()
}
"""Flags of commands that exist here, with the reason why we don't know them."""


def ours(name: str) -> str:
    """Our canonical name of a docker command: "" when it comes later, None when it is not known."""
    if name in COMMANDS or name in ALIASES:
        return ALIASES.get(name, name)
    group, _space, rest = name.partition(" ")
    if name in LATER or group in LATER or rest in LATER_GROUPED.get(group, ()):
        return ""
    raise AssertionError(f"`docker {name}` is not known")


NAMES = [name for name, facts in DOCKER.items() if name and not facts.get("commands")]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_known_by_every_name(name: str) -> None:
    found = {ours(one) for one in (name, *DOCKER[name]["aliases"])}
    assert len(found) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if ours(name)])
def test_every_flag_is_known(name: str) -> None:
    command = ours(name)
    module = main.load(command)
    table = {row[0]: row for row in main.flags_of(command, module)}
    for flag, short, kind in DOCKER[name]["flags"]:
        if (command, flag) in NOT_KNOWN and flag not in table:
            continue
        assert flag in table, f"{command} --{flag} is not known"
        assert table[flag][1] == short, f"{command} --{flag}"
        takes_value = table[flag][2].partition(":")[0] in WITH_VALUE and table[flag][2] != "no:bool"
        assert takes_value == (kind != "bool"), f"{command} --{flag} {kind}"


def test_every_group_is_known() -> None:
    for name, facts in DOCKER.items():
        if name and facts.get("commands"):
            assert name in GROUP_WORDS or name.partition(" ")[0] in LATER


def test_every_global_flag_is_known() -> None:
    table = {row[0]: row for row in main.GLOBAL_FLAGS}
    for flag, short, kind in DOCKER[""]["flags"]:
        assert flag in table, flag
        assert (table[flag][1], table[flag][2] == "bool") == (short, kind == "bool")


def test_the_list_of_exceptions_is_about_what_docker_has() -> None:
    known = {(ours(name), flag) for name in NAMES for flag, _short, _kind in DOCKER[name]["flags"]}
    assert set(NOT_KNOWN) <= known
