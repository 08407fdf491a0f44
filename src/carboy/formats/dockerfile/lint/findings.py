"""What was found, and where."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from carboy.formats.dockerfile.lint.options import Options
from carboy.formats.dockerfile.lint.rules import WARNING, Rule
from carboy.formats.dockerfile.source import DockerfileError, distance, printable
from carboy.formats.dockerfile.tree import Node

MAX_FINDINGS = 1_000
"""More of them nobody reads, and a hostile file could have a million."""
MAX_SHOWN = 300
"""Characters of what was found: values of variables may be long."""
MAX_SUGGESTIONS = 50
MAX_CANDIDATES = 300
MAX_WORD = 40


class Finding(msgspec.Struct, frozen=True):
    """One thing that should not stay."""

    rule: Rule
    detail: str
    line: int
    end_line: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is to be said about a Dockerfile."""

    text: str
    findings: tuple[Finding, ...]
    error: DockerfileError | None = None
    fails: bool = False
    """`error=true`: warnings fail a build."""

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What counts."""
        return tuple(each for each in self.findings if each.rule.severity == WARNING)

    @property
    def advice(self) -> tuple[Finding, ...]:
        """What does not."""
        return tuple(each for each in self.findings if each.rule.severity != WARNING)


class Collector:
    """Takes findings of the rules that are wanted."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._found: dict[Finding, None] = {}
        self._suggestions = 0

    def add(self, rule: Rule, node: Node, *values: str) -> None:
        """A finding at an instruction; `values` fill the places of the rule's detail."""
        self.add_lines(rule, node.line, node.end_line, *values)

    def add_lines(self, rule: Rule, line: int, end_line: int, *values: str) -> None:
        """A finding at lines."""
        if self._options.wants(rule) and len(self._found) < MAX_FINDINGS:
            shown = [value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…" for value in values]
            detail = printable(rule.detail.format(*shown))
            self._found[Finding(rule, detail, line, max(line, end_line))] = None

    def sorted(self) -> tuple[Finding, ...]:
        """By line; in one line in the order in which they were found."""
        return tuple(sorted(self._found, key=lambda finding: finding.line))

    def near(self, word: str, known: Collection[str], form: str) -> str:
        """A suggestion: " (did you mean …?)" for the known word that is at most two letters away.

        Distances are dear: the first findings have suggestions, and long lists of words none.
        """
        if self._suggestions >= MAX_SUGGESTIONS or len(known) > MAX_CANDIDATES or len(word) > MAX_WORD:
            return ""
        self._suggestions += 1
        best, nearest = "", 3
        for each in sorted(known):
            if abs(len(each) - len(word)) < nearest and (found := distance(word, each)) < nearest:
                best, nearest = each, found
        return f" (did you mean {form.format(best)}?)" if best and nearest else ""
