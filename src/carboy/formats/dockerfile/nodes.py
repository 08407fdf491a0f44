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

import json
import re
from typing import NoReturn

import msgspec

from carboy.formats.dockerfile.source import DEFAULT_LIMITS, DockerfileError, Limits, Remark, Span
from carboy.formats.dockerfile.words import Lexer, WordError

DIRECTIVES = ("syntax", "escape", "check")

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_BLANK = re.compile(r"[\t\v\f\r ]+")
_CHUNK = re.compile(r"[^\t\v\f\r ]+")
_HEREDOC = re.compile(r"([0-9]*)<<(-?)([^<]+)", re.DOTALL)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A flag: quotes are taken away, a backslash escapes everywhere, whatever the escape directive says.
_FLAG = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*+"?|'(?:\\.|[^'\\])*+'?|[^\s"'\\]+)++""", re.DOTALL)
_FLAG_PART = re.compile(r"""\\(.)|"((?:\\.|[^"\\])*+)"?|'((?:\\.|[^'\\])*+)'?|([^\s"'\\]+)""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _word_pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    quoted = rf'"(?:{mark}.|[^"{mark}])*+"?'
    return re.compile(rf"""(?:{mark}.|{quoted}|'[^']*+'?|[^\s"'{mark}]+)++""", re.DOTALL)


_WORDS = {escape: _word_pattern(escape) for escape in "\\`"}

LIST, WORDS, PAIRS, CHUNKS, WHOLE, COMMAND, HEALTH, SUB, NOTHING = range(9)
"""How the arguments of an instruction are read."""

STYLES = {
    "ADD": LIST,
    "ARG": WORDS,
    "CMD": COMMAND,
    "COPY": LIST,
    "ENTRYPOINT": COMMAND,
    "ENV": PAIRS,
    "EXPOSE": CHUNKS,
    "FROM": CHUNKS,
    "HEALTHCHECK": HEALTH,
    "LABEL": PAIRS,
    "MAINTAINER": WHOLE,
    "ONBUILD": SUB,
    "RUN": COMMAND,
    "SHELL": COMMAND,
    "STOPSIGNAL": WHOLE,
    "USER": WHOLE,
    "VOLUME": LIST,
    "WORKDIR": WHOLE,
}
"""Every instruction there is."""

HEREDOC_INSTRUCTIONS = frozenset(("ADD", "COPY", "RUN"))


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
        maker = _NodeMaker(body, tuple(pieces), self._escape, self._limits)
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

    def _heredocs(self, maker: _NodeMaker) -> tuple[Heredoc, ...]:
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

    def _content(self, opened: tuple[str, bool, bool, int], maker: _NodeMaker) -> Heredoc:
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


class _NodeMaker:
    """One logical line to a node."""

    def __init__(
        self, text: str, pieces: tuple[tuple[int, int, int], ...], escape: str, limits: Limits
    ) -> None:
        self.text = text
        self._pieces = pieces
        self._escape = escape
        self._limits = limits
        self._end = len(text.rstrip())

    def fail(self, message: str, start: int, end: int) -> NoReturn:
        place = Node(keyword="", name="", text=self.text, pieces=self._pieces, end_line=0)
        raise DockerfileError(message, place.spans(start, max(end, start + 1)))

    def whole_span(self) -> tuple[Span, ...]:
        place = Node(keyword="", name="", text=self.text, pieces=self._pieces, end_line=0)
        return place.spans(0, self._end)

    def place(self, text: str) -> tuple[Span, ...]:
        place = Node(keyword="", name="", text=self.text, pieces=self._pieces, end_line=0)
        start = max(self.text.find(text), 0)
        chunk = _CHUNK.match(self.text, start)
        return place.spans(start, chunk.end() if chunk else start + len(text))

    def may_have_heredocs(self) -> bool:
        """Whether `<<` means a heredoc here: RUN, COPY, ADD, also behind ONBUILD, not in exec form."""
        name, _, after = self._head(0)
        if name.upper() == "ONBUILD":
            name, _, after = self._head(self._flags(after)[1])
        if name.upper() not in HEREDOC_INSTRUCTIONS:
            return False
        after = self._flags(after)[1]
        return self.text[after : after + 1] != "[" or self._json(after) is None

    def _head(self, begin: int) -> tuple[str, int, int]:
        """(keyword, where it begins, where what follows does)."""
        match = _CHUNK.match(self.text, begin)
        if not match:
            return "", begin, begin
        blank = _BLANK.match(self.text, match.end())
        return match[0], begin, blank.end() if blank else match.end()

    def node(
        self,
        begin: int,
        *,
        end_line: int,
        comments: tuple[Comment, ...] = (),
        heredocs: tuple[Heredoc, ...] = (),
    ) -> Node:
        keyword, _, after = self._head(begin)
        name = keyword.upper()
        flags: tuple[Word, ...] = ()
        if self.text.startswith("--", after):
            flags, after = self._flags(after)
        arguments: tuple[Word, ...] = ()
        is_json = is_legacy = False
        child = None
        style = STYLES.get(name, NOTHING)
        if after < self._end:
            match style:
                case 0 | 5:  # LIST, COMMAND
                    found = self._json(after) if self.text[after] == "[" else None
                    if found is not None:
                        arguments, is_json = found, True
                    else:
                        arguments = self._whole(after) if style else self._chunks(after)
                case 1:  # WORDS
                    arguments = self._words(after)
                case 2:  # PAIRS
                    arguments, is_legacy = self._pairs(name, after)
                case 3:  # CHUNKS
                    arguments = self._chunks(after)
                case 4:  # WHOLE
                    arguments = self._whole(after)
                case 6:  # HEALTH
                    arguments, is_json = self._health(after)
                case 7:  # SUB
                    child = self._child(after, heredocs, end_line)
                case _:
                    pass
        if len(arguments) > self._limits.words:
            self.fail(f"more than {self._limits.words} arguments", begin, begin + len(keyword))
        return Node(
            keyword=keyword,
            name=name,
            text=self.text,
            begin=begin,
            pieces=self._pieces,
            flags=flags,
            arguments=arguments,
            is_json=is_json,
            is_legacy=is_legacy,
            heredocs=heredocs,
            comments=comments,
            child=child,
            end_line=end_line,
        )

    def _child(self, after: int, heredocs: tuple[Heredoc, ...], end_line: int) -> Node:
        if self._head(after)[0].upper() == "ONBUILD":
            # Not followed further: a chain of a megabyte would be as deep.
            word = Word("ONBUILD", after, after + 7)
            return Node(
                keyword=self.text[after : after + 7], name="ONBUILD", text=self.text, begin=after,
                pieces=self._pieces, arguments=(word,), end_line=end_line,
            )  # fmt: skip
        return self.node(after, heredocs=heredocs, end_line=end_line)

    def _flags(self, at: int) -> tuple[tuple[Word, ...], int]:
        """The flags that begin at `at`, and where what follows them does."""
        flags = []
        text, end = self.text, self._end
        while text.startswith("--", at) and at < end:
            match = _FLAG.match(text, at)
            stop = match.end() if match else at + 2
            value = "".join(map(_flag_part, _FLAG_PART.finditer(text, at, stop)))
            start = at
            at = stop
            while at < end and (text[at].isspace() or (text[at] == "\\" and at + 1 == end)):
                at += 1
            if value == "--":
                break
            flags.append(Word(value, start, stop))
        return tuple(flags), at

    def _json(self, at: int) -> tuple[Word, ...] | None:
        """The words of an exec form; None when it is none, which makes it the shell form."""
        try:
            values = json.loads(self.text[at : self._end], parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, list):
            return None
        if not all(isinstance(value, str) for value in values):
            message = "when using JSON array syntax, arrays must be comprised of strings only"
            self.fail(message, at, self._end)
        found, place = [], at
        for value in values:
            # Where it stands, when it is written without escapes; else the whole list.
            start = self.text.find(f'"{value}"', place)
            if start >= 0:
                place = start + len(value) + 2
            clean = _LONE_SURROGATE.sub("\ufffd", value) if "\\u" in self.text else value
            found.append(Word(clean, start, place) if start >= 0 else Word(clean, at, self._end))
        return tuple(found)

    def _whole(self, at: int) -> tuple[Word, ...]:
        return (Word(self.text[at : self._end], at, self._end),)

    def _chunks(self, at: int) -> tuple[Word, ...]:
        return tuple(Word(each[0], *each.span()) for each in _CHUNK.finditer(self.text, at, self._end))

    def _words(self, at: int) -> tuple[Word, ...]:
        pattern = _WORDS[self._escape]
        return tuple(Word(each[0], *each.span()) for each in pattern.finditer(self.text, at, self._end))

    def _pairs(self, name: str, at: int) -> tuple[tuple[Word, ...], bool]:
        words = self._words(at)
        if not words:
            return (), False
        if "=" not in words[0].value:
            return self._legacy_pair(name, at), True
        pairs = []
        for word in words:
            key, equals, value = word.value.partition("=")
            if not equals:
                self.fail(
                    f'Syntax error - can\'t find = in "{word.value}". Must be of the form: name=value',
                    word.start,
                    word.end,
                )
            middle = word.start + len(key)
            pairs += [Word(key, word.start, middle), Word(value, middle + 1, word.end)]
        return tuple(pairs), False

    def _legacy_pair(self, name: str, at: int) -> tuple[Word, ...]:
        blank = _BLANK.search(self.text, at, self._end)
        if not blank:
            self.fail(f"{name} must have two arguments", at, self._end)
        key = Word(self.text[at : blank.start()], at, blank.start())
        return key, Word(self.text[blank.end() : self._end], blank.end(), self._end)

    def _health(self, at: int) -> tuple[tuple[Word, ...], bool]:
        stop = at
        while stop < self._end and not self.text[stop].isspace():
            stop += 1
        kind = Word(self.text[at:stop], at, stop)
        while stop < self._end and self.text[stop].isspace():
            stop += 1
        if stop >= self._end:
            return (kind,), False
        found = self._json(stop) if self.text[stop] == "[" else None
        if found is not None:
            return (kind, *found), True
        return (kind, *self._whole(stop)), False


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _flag_part(match: re.Match[str]) -> str:
    escaped, double, single, plain = match.groups()
    if plain is not None:
        return plain
    return escaped if escaped is not None else _ESCAPED.sub(r"\1", double if double is not None else single)


def read_heredoc(word: str) -> tuple[str, bool, bool, int] | None:
    """(name, expand, chomp, descriptor) when a word opens a heredoc; raises WordError."""
    match = _HEREDOC.fullmatch(word)
    if not match:
        return None
    plain = Lexer("\\", keep_unset=True).words(match[3], {})
    if len(plain) != 1:
        return None
    raw = Lexer("\\", keep_unset=True, raw_quotes=True).words(match[3], {})
    quotes = [text.count("'") + text.count('"') for text in (plain[0], "".join(raw))]
    return plain[0], quotes[0] == quotes[1], match[2] == "-", int(match[1][:9] or 0)


def _raw_words(line: str) -> tuple[str, ...]:
    try:
        return Lexer("\\", keep_unset=True, raw_quotes=True, raw_escapes=True).words(line, {})
    except WordError:
        return ()  # as with BuildKit: a line that is no shell words has no heredocs
