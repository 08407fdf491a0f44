"""Names of containers."""

from __future__ import annotations

import random

import pytest

from carboy.engine.names import ADJECTIVES, SURNAMES, check_name, random_name
from carboy.errors import InvalidArgument


@pytest.mark.parametrize("name", ["ab", "/ab", "a.b-c_d", "0x"])
def test_good(name: str) -> None:
    assert check_name(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["", "a", "/", "..", "../x", "a/b", "a b", "ä" * 3, "a\0b", "x" * 300, "-a"])
def test_bad(name: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        check_name(name)


def test_random_names_are_names_and_free() -> None:
    taken: set[str] = set()
    choose = random.Random(1)
    for _ in range(2000):
        name = random_name(taken.__contains__, choose=choose)
        assert check_name(name) not in taken
        taken.add(name)


def test_the_word_lists_have_no_doubles() -> None:
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(SURNAMES)) == len(SURNAMES)
