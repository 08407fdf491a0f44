"""One logical line to a node: keyword, flags, and arguments in the way of the instruction.

ADD COPY VOLUME              a JSON list, else words between blanks
CMD ENTRYPOINT RUN SHELL     a JSON list, else everything
HEALTHCHECK                  a word, then the same
ENV LABEL                    name=value words with quotes, or one name and the rest
ARG                          words with quotes
EXPOSE FROM                  words between blanks
MAINTAINER STOPSIGNAL USER WORKDIR   everything
ONBUILD                      an instruction
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from carboy.formats.dockerfile.source import DockerfileError, Limits, Span
from carboy.formats.dockerfile.tree import Comment, Heredoc, Node, Word
from carboy.formats.dockerfile.words import Lexer

_BLANK = re.compile(r"[\t\v\f\r ]+")
_CHUNK = re.compile(r"[^\t\v\f\r ]+")
_HEREDOC = re.compile(r"([0-9]*)<<(-?)([^<]+)", re.DOTALL)
_JSON_TEXT = re.compile(r'"(?:\\.|[^"\\])*+"')
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


class NodeMaker:
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
        found = []
        for value, token in zip(values, _JSON_TEXT.finditer(self.text, at, self._end), strict=True):
            start, end = token.span()
            # Halves of a surrogate pair mean nothing alone; Go reads them as U+FFFD too.
            if end - start - 2 != len(value):
                value = _LONE_SURROGATE.sub("\ufffd", value)
            found.append(Word(value, start, end))
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
