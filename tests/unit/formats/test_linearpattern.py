"""Patterns of clients: Go's language, as Python's `re` sees it where both agree, and never slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.errors import InvalidArgument
from carboy.formats.linearpattern import MAX_TEXT, Pattern

CATASTROPHES = [
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(.*)*b",
    "a?" * 60 + "a" * 60,
    "(a|a)" * 60 + "b",
    "(?:a{0,20}){0,20}b",
    ".*.*.*.*=",
    "(x+x+)+y",
    "((a*)*)*c",
]


@pytest.mark.parametrize("text", CATASTROPHES)
def test_no_pattern_takes_long(text: str) -> None:
    pattern = Pattern(text)
    begun = time.process_time()
    for subject in ("a" * MAX_TEXT + "!", "x" * MAX_TEXT, "a" * 59):
        pattern.found_in(subject)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    "text",
    [
        "(((((){1000}){1000}){1000}){1000}){1000}",
        "((a{1000}){1000}){1000}",
        "a" * 1025,
        "(" * 500 + ")" * 500,
        "a{1001}",
        "a{3,2}",
    ],
)
def test_what_is_too_large_is_refused_at_once(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidArgument):
        Pattern(text)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        *("(", ")", "a)", "[", "[a", "[z-a]", "[[:nothing:]]", "*a", "a**", r"\1", "(?=a)", "(?P<>a)", "\\"),
        *(r"\x{zz}", r"\xg0", r"\x4", "(?", "(?P<a", r"\pL", "(?<=a)b", "(?i", "[\\", "a|*"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Pattern(text)


@pytest.mark.parametrize(
    ("text", "subject", "found"),
    [
        ("", "", True),
        ("^/?web", "/web1", True),
        ("^web$", "web1", False),
        ("(?i)WEB", "my-web", True),
        ("(?i:w)EB", "web", False),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?m)^b$", "a\nb\nc", True),
        (r"\Aa\z", "a", True),
        (r"\bweb\b", "my-web-1", True),
        (r"\Bweb", "myweb", True),
        (r"[[:digit:]_-]{2,3}$", "a-1", True),
        (r"[^[:alpha:]\d]", "a1", False),
        (r"\Qa.b\E+", "a.bbb", True),
        (r"\Qa.b\E", "axb", False),
        (r"\x41\x{42}\t", "AB\t", True),
        ("(?P<name>a|b)(?<other>c)+?", "bcc", True),
        ("a{,2}", "a{,2}", True),
        ("a{2}", "aba", False),
        ("a{0}b", "b", True),
        ("[]a]+$", "]", True),
        ("x*", "", True),
        ("|".join(["b"] * 300), "ab", True),
        ("ü.ß", "müxßt", True),
    ],
)
def test_the_language(text: str, subject: str, found: bool) -> None:
    assert Pattern(text).found_in(subject) is found


_atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", "^", "$", r"\b", "c-", "1"])
_patterns = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(_patterns, st.text("ab1 c-", max_size=8))
def test_it_finds_what_pythons_finds(text: str, subject: str) -> None:
    expected = re.search(text.replace("$", r"\Z"), subject, re.ASCII) is not None
    assert Pattern(text).found_in(subject) is expected
