"""Which paths a .dockerignore keeps outside: the golden cases, a slow model beside it, hostile patterns."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest

from carboy.errors import InvalidArgument
from carboy.formats.dockerignore import MAX_LINE, MAX_PATTERNS, Ignore, clean, files_for

CASES = json.loads((Path(__file__).parents[2] / "golden/dockerignore/cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_golden(case: dict[str, object]) -> None:
    text = str(case["ignore"])
    inside, outside = case["inside"], case["outside"]
    assert isinstance(inside, list)
    assert isinstance(outside, list)
    for is_dir in (False, True):
        ignore = Ignore.parse(text)
        assert [path for path in (*inside, *outside) if ignore.excludes(path, is_dir)] == outside
    alone = [path for path in (*inside, *outside) if Ignore.parse(text).excludes(path)]
    assert alone == outside, "the answer depends on what was asked before"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!", "illegal exclusion pattern"),
        ("a\n! ", "illegal exclusion pattern"),
        ("[", "not closed|open"),
        ("a[", "open"),
        ("[^", "open"),
        ("[^bc", "not closed"),
        ("[]a]", "open"),
        ("[-]", "bare"),
        ("[x-]", "bare"),
        ("[-x]", "bare"),
        ("[a-b-c]", "bare"),
        ("a\\", "backslash"),
        ("*\\", "backslash"),
        ("a" * (MAX_LINE + 1), "line 1: longer"),
        ("a\n" * (MAX_PATTERNS + 1), "more than"),
        ("\n".join(f"[a]*{n}" for n in range(3000)), "classes"),
        ("[z-a]*", "range"),
    ],
)
def test_errors(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Ignore.parse(text)


def test_which_file() -> None:
    assert files_for("docker/app.Dockerfile") == ("docker/app.Dockerfile.dockerignore", ".dockerignore")
    assert files_for("Dockerfile") == ("Dockerfile.dockerignore", ".dockerignore")
    assert files_for("") == (".dockerignore",)


def test_clean() -> None:
    for path, expected in {
        "": ".",
        "a/b/": "a/b",
        "/..": "/",
        "../a": "../a",
        "a/../..": "..",
        "//a/./b": "/a/b",
        "...": "...",
    }.items():
        assert clean(path) == expected


def test_patterns_are_shown_cleaned() -> None:
    ignore = Ignore.parse("# x\n/a/\n ! ./b/../c \n")
    assert ignore.patterns == ("a", "!c")
    assert ignore.has_exceptions
    assert not Ignore.parse("a").has_exceptions


@pytest.mark.parametrize(
    ("text", "visited", "pruned"),
    [
        ("", ["a"], []),
        ("a", ["b"], ["a", "a/b"]),
        ("*\n!src/lib", ["src", "src/lib", "src/lib/x"], ["other", "src/x", "srcx"]),
        ("*\n!**/keep", ["a", "a/b/c"], []),
        ("*\n!a/*/c", ["a", "a/b", "a/b/c"], ["b", "a/b/d", "x/b"]),
        ("*\n!a*/x", ["a", "abc"], ["b"]),
        ("!a/b\n*", [], ["a", "b"]),
        ("a\n!a\na", [], ["a"]),
        ("a\n!a/b/**", ["a", "a/b"], ["a/c"]),
        ("**\n!x.txt", [], ["a", "x"]),
        (".git\n!.git/HEAD", [".git", "a"], [".git/objects"]),
    ],
)
def test_only_directories_that_can_hold_something_are_visited(
    text: str, visited: list[str], pruned: list[str]
) -> None:
    ignore = Ignore.parse(text)
    assert [path for path in (*visited, *pruned) if ignore.may_descend(path)] == visited


class Model:
    """Docker's algorithm, pattern after pattern, in the slow way."""

    def __init__(self, patterns: list[str]) -> None:
        self.patterns = [(p.startswith("!"), self.compiled(p.removeprefix("!"))) for p in patterns]

    @staticmethod
    def compiled(pattern: str) -> re.Pattern[str]:
        made, kind, at = "", "exact", 0
        while at < len(pattern):
            first = at == 0
            if pattern.startswith("**", at):
                at += 3 if pattern.startswith("**/", at) else 2
                if at < len(pattern):
                    made, kind = made + "(.*/)?", "regexp"
                elif kind == "exact":
                    kind = "prefix"
                else:
                    made, kind = made + ".*", "regexp"
                kind = "suffix" if first else kind
                continue
            one = pattern[at]
            at += 1
            if one in "*?":
                made, kind = made + ("[^/]*" if one == "*" else "[^/]"), "regexp"
            else:
                made += re.escape(one)
        match kind:
            case "exact":
                return re.compile(re.escape(pattern))
            case "prefix":
                return re.compile(re.escape(pattern[:-2]) + "(?s:.*)")
            case "suffix":
                suffix = pattern[2:]
                bare = "|" + re.escape(suffix[1:]) if suffix.startswith("/") else ""
                return re.compile("(?s:.*)" + re.escape(suffix) + bare)
            case _:
                return re.compile(made)

    def excludes(self, path: str) -> bool:
        parts = path.split("/")
        held = [False] * len(self.patterns)
        matched = False
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            matched, now = False, [False] * len(self.patterns)
            for n, (exception, pattern) in enumerate(self.patterns):
                if not held[n] and exception != matched:
                    continue
                if held[n] or pattern.fullmatch(prefix):
                    now[n], matched = True, not exception
            held = now
        return matched


@pytest.mark.parametrize("seed", range(8))
def test_as_the_slow_model(seed: int) -> None:
    chance = random.Random(seed)
    paths = [
        "/".join(chance.choices(["a", "b", "ab", "ba", "aab", "c"], k=chance.randint(1, 4)))
        for _ in range(60)
    ]
    for _ in range(60):
        patterns = []
        for _ in range(chance.randint(1, 5)):
            body = clean(
                "".join(
                    chance.choices(["a", "b", "c", "*", "**", "?", "/", "/", "**/"], k=chance.randint(1, 6))
                )
            )
            body = body.removeprefix("/")
            if body not in ("", ".", ".."):
                patterns.append(chance.choice(["", "", "!"]) + body)
        ignore, model = Ignore(patterns), Model(patterns)
        for path in paths:
            assert ignore.excludes(path) == model.excludes(path), (patterns, path)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_inside_is_ever_below_a_directory_that_is_not_visited(seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b", "ab"]
    paths = [f"{x}/{y}/{z}" for x in names for y in names for z in names]
    for _ in range(100):
        patterns = [
            chance.choice(["", "!"])
            + clean("".join(chance.choices(["a", "b", "*", "**/", "/", "?"], k=chance.randint(1, 5)))).lstrip(
                "/"
            )
            for _ in range(4)
        ]
        ignore = Ignore([one for one in patterns if one not in ("", "!")])
        for path in paths:
            if not ignore.excludes(path):
                for depth in (1, 2):
                    assert ignore.may_descend("/".join(path.split("/")[:depth])), (patterns, path)


TYPICAL = "\n".join(
    [
        "# typical",
        ".git",
        "**/__pycache__",
        "**/*.pyc",
        "*.md",
        "!README.md",
        "node_modules",
        "dist/*",
        "!dist/*.whl",
    ]
    + [f"**/dir{n}/*.tmp" for n in range(20)]
)


def test_a_hundred_thousand_paths_are_quick() -> None:
    ignore = Ignore.parse(TYPICAL)
    paths = [f"src/package{d}/sub{d % 7}/module_{f}.py" for d in range(1000) for f in range(100)]
    began = time.process_time()
    assert not any(map(ignore.excludes, paths))
    assert time.process_time() - began < 1.5  # 0.25 s on a quiet machine


@pytest.mark.parametrize(
    "pattern",
    ["a*" * 300 + "b", "**/a" * 300 + "/b", "**a" * 300, "*?" * 300, "[^x]" + "*a" * 100, "**/*" * 200 + "x"],
    ids=lambda pattern: pattern[:8],
)
def test_hostile_patterns_are_matched_in_linear_time(pattern: str) -> None:
    ignore = Ignore(["*", "!" + pattern])
    began = time.process_time()
    for path in ("a" * 4000, "/".join("a" * 1000), "a/" * 1000 + "c"):
        ignore.excludes(path)
        ignore.may_descend(path)
    assert time.process_time() - began < 5


def test_many_patterns_and_odd_letters_are_bounded_in_memory() -> None:
    ignore = Ignore([f"**/{n}*{n}?x" for n in range(5000)])
    for n in range(300):
        assert not ignore.excludes(f"{chr(0x4E00 + n)}/{n}zz")
    assert ignore.excludes("a/7b7cx")
