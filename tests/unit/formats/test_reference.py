"""References: the distribution grammar, familiar and canonical forms, hostile text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats import reference

CASES = json.loads((Path(__file__).parents[2] / "golden" / "reference" / "valid.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[ascii(case["text"])[:40] for case in CASES])
def test_golden(case: dict[str, str]) -> None:
    if "invalid" in case:
        with pytest.raises(InvalidArgument):
            reference.parse(case["text"])
        return
    parsed = reference.parse(case["text"])
    assert str(parsed) == case["canonical"]
    assert parsed.familiar == case["familiar"]
    assert reference.parse(str(parsed)) == parsed
    assert reference.parse(parsed.familiar) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Busybox", r"repository name \(library/Busybox\) must be lowercase"),
        ("a" * 256, "must not be more than 255 characters"),
        ("a" * 5000, "more than 1024 characters"),
        ("f" * 64, "cannot specify 64-byte hexadecimal strings"),
        ("a:" + "t" * 129, "invalid tag"),
        ("a b", "invalid reference format"),
    ],
)
def test_errors_say_why(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        reference.parse(text)


def test_tagged_adds_latest_once() -> None:
    assert reference.parse("a").tagged().tag == "latest"
    assert reference.parse("a:b").tagged().tag == "b"
    digest = Digest("0" * 64)
    assert reference.parse(f"a@{digest}").tagged().tag is None


def test_repository_and_tag_given_apart() -> None:
    assert reference.parse_repository("a", "b").familiar == "a:b"
    assert reference.parse_repository("a:c", "b").familiar == "a:b"
    assert reference.parse_repository("a:c").familiar == "a:c"
    assert reference.parse_repository("a").familiar == "a:latest"
    with pytest.raises(InvalidArgument, match="digest reference"):
        reference.parse_repository(f"a@{Digest('0' * 64)}")
    with pytest.raises(InvalidArgument, match="invalid tag"):
        reference.parse_repository("a", "b/c")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("abc", "abc"),
        ("sha256:abc", "abc"),
        ("f" * 64, "f" * 64),
        ("f" * 65, None),
        ("sha256:", None),
        ("ABC", None),
        ("abg", None),
        ("abc\n", None),
        ("", None),
    ],
)
def test_id_prefix(text: str, prefix: str | None) -> None:
    assert reference.id_prefix(text) == prefix


@given(st.text(alphabet=st.sampled_from("abAB01._-:/@[]\n\0é%+"), max_size=40))
def test_any_text_parses_to_something_stable_or_is_refused(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except InvalidArgument:
        return
    assert reference.parse(str(parsed)) == parsed
    assert reference.parse(parsed.familiar) == parsed
    assert ".." not in parsed.path
    assert "\0" not in str(parsed)
