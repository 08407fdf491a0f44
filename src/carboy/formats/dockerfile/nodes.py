r"""Dockerfile text to nodes: one per instruction, each knowing where every word of it stands.

    # syntax=docker/dockerfile:1      directive (only above everything else)
    RUN --mount=type=cache,target=/c \   ┐
        # a comment between              │ one logical line: `text`, made of `pieces`;
        cat <<EOF > /a && \              │ words are offsets into it
        true                             ┘
    a                                    ┐ content of the heredoc
    EOF                                  ┘ its terminator

Nothing is expanded and nothing is checked here beyond what must be known to find the end of an
instruction; `instructions` gives nodes their meaning.  Where BuildKit's reading is odd, so is this
one: continuation lines keep their indentation, comments inside them vanish, empty ones vanish with a
warning, and heredocs are looked for in the whole line with `\` as the escape, whatever `# escape=` says.
"""

from __future__ import annotations

import re

from carboy.formats.dockerfile.arguments import STYLES, NodeMaker, read_heredoc
from carboy.formats.dockerfile.source import DEFAULT_LIMITS, DockerfileError, Limits, Remark, Span
from carboy.formats.dockerfile.tree import Comment, Directive, File, Heredoc, Node, Word
from carboy.formats.dockerfile.words import Lexer, WordError

__all__ = [
    "DIRECTIVES",
    "STYLES",
    "Comment",
    "Directive",
    "File",
    "Heredoc",
    "Node",
    "Word",
    "parse_nodes",
    "parse_trigger",
    "read_heredoc",
]

DIRECTIVES = ("syntax", "escape", "check")

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")


def parse_nodes(unsafe_text: str | bytes, *, limits: Limits = DEFAULT_LIMITS) -> File:
    """Read a Dockerfile; raises DockerfileError.

    Bytes that are no UTF-8 are kept as surrogate escapes, so that heredocs lose nothing.
    """
    if len(unsafe_text) > limits.text:
        raise DockerfileError(f"the Dockerfile is larger than {limits.text} bytes")
    text = unsafe_text if isinstance(unsafe_text, str) else unsafe_text.decode("utf-8", "surrogateescape")
    if not text:
        raise DockerfileError("the Dockerfile cannot be empty")
    return _Reader(text.removeprefix("\ufeff"), limits).read()


def parse_trigger(unsafe_text: str, *, limits: Limits = DEFAULT_LIMITS) -> Node:
    """Read the one instruction of an ONBUILD trigger that a base image carries."""
    nodes = parse_nodes(unsafe_text, limits=limits).nodes
    if len(nodes) != 1:
        raise DockerfileError("onbuild trigger should be a single expression")
    return nodes[0]


class _Reader:
    """Walks over the lines."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._limits = limits
        self._at = 0
        self._escape = "\\"
        self._directives: dict[str, Directive] = {}
        self._at_top = True
        self._shebang = False
        self._warnings: list[Remark] = []
        self._comments: list[Comment] = []

    def read(self) -> File:
        nodes: list[Node] = []
        lines, count = self._lines, len(self._lines)
        while self._at < count:
            line = lines[self._at].rstrip("\r")
            body = line.lstrip()
            self._at += 1
            if body[:1] == "#":
                self._comment(body, len(line) - len(body))
                continue
            self._at_top = False
            if not body:
                continue
            nodes.append(self._instruction(body, len(line) - len(body)))
            if len(nodes) > self._limits.instructions:
                spans = nodes[-1].keyword_span
                raise DockerfileError(f"more than {self._limits.instructions} instructions", spans)
        if not nodes:
            raise DockerfileError("file with no instructions")
        return File(
            text=self._text,
            nodes=tuple(nodes),
            directives=tuple(self._directives.values()),
            escape=self._escape,
            warnings=tuple(self._warnings),
        )

    def _comment(self, body: str, column: int) -> None:
        self._comments.append(Comment(body[1:].strip(), self._at))
        if not self._at_top:
            return
        if self._at == 1 and body.startswith("#!"):
            self._shebang = True
            return
        match = _DIRECTIVE.match(body)
        name = match[1].lower() if match else ""
        if not match or name not in DIRECTIVES:
            self._at_top = False
            return
        span = Span(self._at, column, column + len(body))
        if name in self._directives:
            raise DockerfileError(f"only one {name} parser directive can be used", (span,))
        if name == "escape" and self._shebang:
            # BuildKit looks past a `#!` line for syntax and check only.
            return
        if name == "escape":
            if match[2] not in ("`", "\\"):
                raise DockerfileError(f"invalid escape token '{match[2]}' does not match ` or \\", (span,))
            self._escape = match[2]
        self._directives[name] = Directive(name, match[2], span)
        self._comments.pop()

    def _instruction(self, body: str, column: int) -> Node:
        """The logical line that begins with `body`, with its heredocs."""
        first = self._at
        body, goes_on = self._continued(body)
        pieces = [(0, first, column)]
        if goes_on:
            body = self._continuations(body, pieces)
        if not body.strip():
            spans = (Span(first, column, column + 1),)
            raise DockerfileError("line continuation without an instruction", spans)
        maker = NodeMaker(body, tuple(pieces), self._escape, self._limits)
        comments, self._comments = tuple(self._comments), []
        heredocs: tuple[Heredoc, ...] = ()
        if "<<" in body and maker.may_have_heredocs():
            heredocs = self._heredocs(maker)
        return maker.node(0, comments=comments, heredocs=heredocs, end_line=self._at)

    def _continued(self, line: str) -> tuple[str, bool]:
        """A line without its continuation mark, and whether there was one."""
        if self._escape not in line[-1:] + line.rstrip(" \t")[-1:]:
            return line, False
        trimmed = line.rstrip(" \t")
        if trimmed[-1:] == self._escape and trimmed[-2:-1] != self._escape:
            return trimmed[:-1], True
        return line, False

    def _continuations(self, body: str, pieces: list[tuple[int, int, int]]) -> str:
        parts, offset, empty = [body], len(body), []
        goes_on = True
        while goes_on and self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r")
            self._at += 1
            bare = line.lstrip()
            if not bare:
                empty.append(Span(self._at, 0, max(1, len(line))))
            elif bare[0] != "#":
                line, goes_on = self._continued(line)
                pieces.append((offset, self._at, 0))
                parts.append(line)
                offset += len(line)
        if empty:
            self._warnings.append(Remark("NoEmptyContinuation", "Empty continuation line", tuple(empty)))
        return "".join(parts)

    def _heredocs(self, maker: NodeMaker) -> tuple[Heredoc, ...]:
        found: list[Heredoc] = []
        for word in _raw_words(maker.text):
            try:
                opened = read_heredoc(word)
            except WordError as error:
                raise DockerfileError(str(error), maker.whole_span()) from error
            if opened is None:
                continue
            if len(found) >= self._limits.heredocs:
                raise DockerfileError(f"more than {self._limits.heredocs} heredocs", maker.whole_span())
            found.append(self._content(opened, maker))
        return tuple(found)

    def _content(self, opened: tuple[str, bool, bool, int], maker: NodeMaker) -> Heredoc:
        name, expand, chomp, descriptor = opened
        first = self._at
        lines = self._lines
        while self._at < len(lines):
            line = lines[self._at].rstrip("\r")
            self._at += 1
            if (line.lstrip("\t") if chomp else line) == name:
                content = "\n".join((*lines[first : self._at - 1], ""))
                return Heredoc(name, content, expand, chomp, descriptor, first + 1, self._at)
        spans = maker.place("<<")
        raise DockerfileError("unterminated heredoc", spans, mend=f"no line below it says just {name[:40]!r}")


def _raw_words(line: str) -> tuple[str, ...]:
    try:
        return Lexer("\\", keep_unset=True, raw_quotes=True, raw_escapes=True).words(line, {})
    except WordError:
        return ()  # as with BuildKit: a line that is no shell words has no heredocs
