"""pflag's rules, as Docker's users know them."""

from __future__ import annotations

import pytest

from carboy.cli import flags
from carboy.cli.flags import UsageError, parse

TABLE = (
    ("interactive", "i", "bool", ""),
    ("tty", "t", "bool", ""),
    ("name", "", "string", ""),
    ("env", "e", "list", ""),
    ("time", "n", "int", ""),
    ("gpus", "", "no", ""),
)


def test_combined_shorts_lists_and_values() -> None:
    got = parse(TABLE, ["-it", "-eA=1", "-e", "B=2", "--env=C=3", "--name", "x", "-n=5", "img", "cmd"])
    assert got.flag("interactive")
    assert got.flag("tty")
    assert got.list("env") == ["A=1", "B=2", "C=3"]
    assert got.text("name") == "x"
    assert got.number("time") == 5
    assert got.arguments == ["img", "cmd"]


def test_a_short_with_a_value_ends_a_group() -> None:
    got = parse(TABLE, ["-iteA=1"])
    assert got.flag("tty")
    assert got.list("env") == ["A=1"]


def test_booleans_can_be_negated_and_the_last_wins() -> None:
    got = parse(TABLE, ["--tty", "--tty=false", "-i=false"])
    assert not got.flag("tty", default=True)
    assert not got.flag("interactive")
    assert got.given("tty")
    assert parse(TABLE, []).flag("tty", default=True)


def test_flags_after_the_image_belong_to_the_command() -> None:
    got = parse(TABLE, ["-t", "img", "-i", "--name", "--", "y"], interspersed=False)
    assert got.arguments == ["img", "-i", "--name", "--", "y"]
    assert not got.flag("interactive")
    assert parse(TABLE, ["a", "-i", "--", "-t"]).arguments == ["a", "-t"]
    assert parse(TABLE, ["--name", "-", "-"]).arguments == ["-"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nam"], "unknown flag: --nam (did you mean --name?)"),
        (["--xyzzyxyzzy"], "unknown flag: --xyzzyxyzzy"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["--name"], "flag needs an argument: --name"),
        (["--time", "1x"], 'invalid argument "1x" for "-n, --time" flag'),
        (["--tty=maybe"], 'invalid argument "maybe" for "-t, --tty" flag'),
        (["--gpus", "all"], "--gpus is not supported by Carboy yet"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(TABLE, arguments)
    assert text in str(caught.value)
    assert caught.value.exit_code == 125


def test_suggestions() -> None:
    assert flags.suggestion("rnu", ("run", "ps")) == " (did you mean run?)"
    assert flags.suggestion("frobnicate", ("run", "ps")) == ""
