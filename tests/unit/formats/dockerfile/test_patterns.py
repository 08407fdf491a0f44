"""Wildcards, against a slow and obvious matcher."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.formats.dockerfile.patterns import PatternError, Wildcard

LETTERS = st.text("ab\n*?", max_size=8)
VALUES = st.text("ab\n", max_size=12)


def expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)


def lengths(pattern: str, value: str) -> list[int]:
    return [end for end in range(len(value) + 1) if re.fullmatch(expression(pattern), value[:end])]


@pytest.mark.property
@given(LETTERS, VALUES)
def test_prefixes_are_the_shortest_and_the_longest(pattern: str, value: str) -> None:
    found = lengths(pattern, value) or [0]
    assert Wildcard(pattern).without_prefix(value, longest=False) == value[found[0] :]
    assert Wildcard(pattern).without_prefix(value, longest=True) == value[found[-1] :]


@pytest.mark.property
@given(LETTERS, VALUES)
def test_suffixes_are_the_shortest_and_the_longest(pattern: str, value: str) -> None:
    found = [at for at in range(len(value), -1, -1) if re.fullmatch(expression(pattern), value[at:])]
    shortest, longest = (found[0], found[-1]) if found else (len(value), len(value))
    assert Wildcard(pattern).without_suffix(value, longest=False) == value[:shortest]
    assert Wildcard(pattern).without_suffix(value, longest=True) == value[:longest]


@pytest.mark.property
@given(LETTERS.filter(lambda text: text.strip("*")), VALUES)
def test_all_matches_are_replaced(pattern: str, value: str) -> None:
    expected = re.sub(expression(pattern), "<>", value)
    assert Wildcard(pattern).replaced(value, "<>", everything=True, limit=1000) == expected
    once = re.sub(expression(pattern), "<>", value, count=1)
    assert Wildcard(pattern).replaced(value, "<>", everything=False, limit=1000) == once


def test_an_empty_pattern_matches_between_letters() -> None:
    assert Wildcard("").replaced("ab", "-", everything=True, limit=100) == "-a-b-"


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*b", "?" * 1000 + "*b", "a" * 5000])
def test_hostile_patterns_end_soon(pattern: str) -> None:
    began = time.process_time()
    for longest in (False, True):
        try:
            Wildcard(pattern).without_prefix("a" * 20_000, longest=longest)
            Wildcard(pattern).without_suffix("a" * 20_000, longest=longest)
            Wildcard(pattern).replaced("a" * 20_000, "x", everything=True, limit=1 << 20)
        except PatternError:
            pass  # it said that it takes too long
    assert time.process_time() - began < 10


def test_escapes_in_patterns() -> None:
    assert Wildcard("a\\*\\?\\\\\\}\\/").without_prefix("a*?\\}/b", longest=False) == "b"
    for wrong in ("\\", "\\a", "\\."):
        with pytest.raises(PatternError, match="invalid escape"):
            Wildcard(wrong)
