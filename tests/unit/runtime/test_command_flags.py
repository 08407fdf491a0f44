"""The command line of carboy-runtime, and what it takes for an id, a signal, a state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.errors import Conflict, InvalidArgument, NotFound
from carboy.runtime import state
from carboy.runtime.command import COMMANDS
from carboy.runtime.command.flags import parse
from carboy.runtime.command.life import signal_number

if TYPE_CHECKING:
    from carboy.runtime.command.flags import Table

TABLE: Table = {
    "bundle": ("b", "text", ""),
    "force": ("f", "bool", ""),
    "count": ("", "number", ""),
    "memory": ("m", "size", ""),
    "env": ("e", "list", ""),
}


def test_flags_end_at_the_first_argument() -> None:
    flags, rest = parse(["-b", "x", "--force", "-e", "A=b", "--env=C", "id", "sh", "-c", "--force"], TABLE)
    assert (flags.text("bundle"), flags.flag("force"), flags.texts("env")) == ("x", True, ["A=b", "C"])
    assert rest == ["id", "sh", "-c", "--force"]


def test_forms_of_flags() -> None:
    flags, rest = parse(["--bundle=a=b", "--force=false", "--count", "-5", "-m", "64MiB", "--", "-x"], TABLE)
    assert (flags.text("bundle"), flags.flag("force"), flags.number("count")) == ("a=b", False, -5)
    assert (flags.number("memory"), rest) == (64 << 20, ["-x"])


@pytest.mark.parametrize(
    "words", [["--nope"], ["--bundle"], ["--count", "x"], ["--force=maybe"], ["-m", "1x"]]
)
def test_wrong_flags(words: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        parse(words, TABLE)


def test_every_command_has_a_function_of_that_name() -> None:
    from carboy.runtime.command import about, inside, life, limits

    modules = {
        "life": life.COMMANDS,
        "inside": inside.COMMANDS,
        "limits": limits.COMMANDS,
        "about": about.COMMANDS,
    }
    assert all(name in modules[module] for name, (module, _, _) in COMMANDS.items())


def test_signals() -> None:
    assert [signal_number(name) for name in ("9", "KILL", "SIGKILL", "kill", "RTMIN+3")] == [9, 9, 9, 9, 37]
    for name in ("0", "65", "", "KILLER", "SIG", "_DFL", "SIG_IGN", "-9"):
        with pytest.raises(InvalidArgument):
            signal_number(name)


def test_state_is_whole_and_an_id_is_taken_once(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    made = state.Container.make(root, "one", "/bundle", {"annotations": {"a": "b"}})
    assert made.status() == "creating"
    with pytest.raises(Conflict):
        state.Container.make(root, "one", "/bundle", {})
    made.set_process(1)
    made.started += 1  # another process with the same number
    made.save()
    read = state.Container.load(root, "one")
    assert (read.status(), read.document()["pid"], read.document()["annotations"]) == (
        "stopped",
        0,
        {"a": "b"},
    )
    with pytest.raises(Conflict, match="container not running"):
        read.require("kill")
    read.remove()
    with pytest.raises(NotFound):
        state.Container.load(root, "one")
    assert state.containers(root) == []


@pytest.mark.parametrize("unsafe_id", ["", ".", "..", ".x", "a/b", "a\0", "é", "x" * 256])
def test_ids(unsafe_id: str) -> None:
    with pytest.raises(InvalidArgument):
        state.check_id(unsafe_id)
