"""Cheap JSON against the standard library's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from carboy.client import document
from carboy.errors import Corrupt

VALUES = [None, True, 1, -2.5, 'x\n"é\\\u2028', [], {}, [1, [2, {"a": None}]], {"k": "v", "n": {"m": [1, 2]}}]


@pytest.mark.parametrize("value", VALUES)
def test_both_ways(value: object) -> None:
    text = json.dumps(value)
    assert document.decode(text) == value
    assert document.decode(b"  " + text.encode() + b"\n") == value
    assert json.loads(document.encode(value)) == value
    assert json.loads(document.pretty(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[1,", "nul", '"x', "{} {}", "[" * 200_000])
def test_what_is_not_json_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt):
        document.decode(text)


def test_indentation_is_dockers() -> None:
    assert document.pretty([{"a": [1], "b": {}}]) == json.dumps([{"a": [1], "b": {}}], indent=4)


def test_accessors_never_trust_the_shape() -> None:
    value = {"t": 5, "n": "x", "c": [1, {"d": 1}], "s": ["a", 2], "f": "true"}
    assert document.text(value, "t") == ""
    assert document.number(value, "n") == 0
    assert document.child(value, "c") == {}
    assert document.children(value, "c") == [{"d": 1}]
    assert document.strings(value, "s") == ["a"]
    assert not document.flag(value, "f")


def test_what_is_not_json_is_corrupt_also_without_the_json_module() -> None:
    """The C scanner takes its exception's class from `json`, which the command line never imports."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from carboy.client import document
from carboy.errors import Corrupt
for text in ("{{", "[1,", '{{"a"', '"x'):
    try: document.decode(text)
    except Corrupt: continue
    sys.exit(1)
# Newer interpreters import `json` for it by themselves.
sys.exit(2 if "json" in sys.modules and sys.version_info < (3, 12) else 0)
"""
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
