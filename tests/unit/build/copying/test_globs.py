"""Wildcards of sources: Go's filepath.Match."""

from __future__ import annotations

import time

import pytest

from carboy.build.copying.globs import Glob, has_wildcards
from carboy.errors import InvalidArgument


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        # The cases of Go's own tests of filepath.Match that lie in one name.
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "abc", True),
        ("a*b*c*d*e*", "axbxcxdxe", True),
        ("a*b*c*d*e*", "axbxcxdxexxx", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^b-d]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
        ("arr[[]0].txt", "arr[0].txt", True),
        ("**", "anything", True),
        ("", "", True),
        ("*", "", True),
        ("?", "", False),
    ],
)
def test_matches_as_go_does(pattern: str, name: str, matches: bool) -> None:
    assert Glob(pattern).matches(name) is matches


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]", "[]"]
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        Glob(pattern)


def test_hostile_patterns_take_linear_time() -> None:
    glob = Glob("a*" * 60 + "b")
    begin = time.process_time()
    assert not glob.matches("a" * 255)
    assert time.process_time() - begin < 1


def test_escaped_wildcards_are_none() -> None:
    assert not has_wildcards("a\\*b")
    assert has_wildcards("a\\\\*b")
    assert not has_wildcards("plain")
