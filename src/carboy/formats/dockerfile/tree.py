"""What `nodes` makes of a Dockerfile: instructions and words that know where they stand."""

from __future__ import annotations

import re

import msgspec

from carboy.formats.dockerfile.source import Remark, Span

_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


class Word(msgspec.Struct, frozen=True, gc=False):
    """A word and where it stands in its node's `text`; quotes and escapes are still in it."""

    value: str
    start: int
    end: int


class Comment(msgspec.Struct, frozen=True, gc=False):
    """A line that begins with `#`, without it."""

    text: str
    line: int


class Directive(msgspec.Struct, frozen=True):
    """`# name=value` at the very top."""

    name: str
    value: str
    span: Span


class Heredoc(msgspec.Struct, frozen=True):
    """`<<NAME` and the lines up to its terminator."""

    name: str
    content: str
    """As it stands in the file, line ends and leading tabs included."""
    expand: bool
    """No part of the name was quoted: variables in the content are replaced."""
    chomp: bool
    """`<<-`: leading tabs do not count."""
    descriptor: int
    line: int
    """The first line of the content."""
    end_line: int
    """The line of the terminator."""

    @property
    def text(self) -> str:
        """The content as it is meant."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction as it is written."""

    keyword: str
    """As written; `name` is it in capitals."""
    name: str
    text: str
    """The logical line: physical lines without their continuation marks, joined."""
    begin: int = 0
    """Where this node begins in `text`: not 0 for what follows ONBUILD."""
    pieces: tuple[tuple[int, int, int], ...]
    """(offset in text, line, column) of each physical line that has part of it."""
    flags: tuple[Word, ...] = ()
    """`--name=value` each, without quotes."""
    arguments: tuple[Word, ...] = ()
    """ENV and LABEL: name, value, name, value …"""
    is_json: bool = False
    """The exec form."""
    is_legacy: bool = False
    """ENV or LABEL without `=`."""
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[Comment, ...] = ()
    """The comment lines above it."""
    child: Node | None = None
    """What ONBUILD is to do."""
    end_line: int
    """The last line, heredocs included."""

    @property
    def line(self) -> int:
        """The first line."""
        return self.pieces[0][1]

    @property
    def source(self) -> str:
        """The instruction as one line."""
        return self.text[self.begin :].strip()

    def spans(self, start: int, end: int) -> tuple[Span, ...]:
        """Where a stretch of `text` stands in the file."""
        found = []
        pieces = self.pieces
        last = len(pieces) - 1
        for number, (offset, line, column) in enumerate(pieces):
            stop = pieces[number + 1][0] if number < last else max(len(self.text), end)
            low, high = max(start, offset), min(end, stop)
            if low < high:
                found.append(Span(line, column + low - offset, column + high - offset))
        return tuple(found) or (Span(pieces[-1][1], 0, 1),)

    def span_of(self, word: Word) -> tuple[Span, ...]:
        """Where a word of it stands."""
        return self.spans(word.start, word.end)

    @property
    def keyword_span(self) -> tuple[Span, ...]:
        """Where its keyword stands."""
        return self.spans(self.begin, self.begin + len(self.keyword))

    @property
    def whole_span(self) -> tuple[Span, ...]:
        """All of it, but for the heredocs' contents."""
        return self.spans(self.begin, len(self.text.rstrip()))


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A Dockerfile in nodes."""

    text: str
    nodes: tuple[Node, ...]
    directives: tuple[Directive, ...]
    escape: str
    warnings: tuple[Remark, ...]

    def directive(self, name: str) -> str:
        """The value of a directive; empty when it is not there."""
        return next((each.value for each in self.directives if each.name == name), "")
