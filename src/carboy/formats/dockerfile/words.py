r"""Variables and words of a Dockerfile: the small shell that its instructions speak.

    $X ${X}            the value, nothing when unset
    ${X:-d} ${X-d}     d when unset (or, with the colon, empty)
    ${X:+a} ${X+a}     a when set (and, with the colon, not empty)
    ${X:?e} ${X?e}     an error e when unset (or empty)
    ${X#p} ${X##p}     without the shortest, longest beginning that matches p
    ${X%p} ${X%%p}     without the shortest, longest end that matches p
    ${X/p/r} ${X//p/r} the first, every match of p replaced by r

'…' is literal; in "…" variables are replaced and the escape works before `"`, `$` and itself only.
Every variable that was asked for is reported, set or unset: cache keys and lint need it.  Patterns are
matched without backtracking, and results have a limit: both are as long as a hostile file wants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.patterns import PatternError, Wildcard
from carboy.formats.dockerfile.source import DEFAULT_LIMITS, Limits

_SPECIAL_NAMES = frozenset("@*#?-$!")
_NAME = re.compile(r"[^\W\d]\w*|\d+")
_END = ""


class WordError(InvalidArgument):
    """A word that cannot be read, or a `${X:?}` that said no."""

    word = ""
    """The word as a whole, once it is known."""


class Expansion(msgspec.Struct, frozen=True):
    """A word with its variables replaced."""

    text: str
    used: frozenset[str] = frozenset()
    """Variables that it named and that are set, empty or not."""
    unset: frozenset[str] = frozenset()
    """Variables that it named and that are not."""


class Lexer:
    """Reads words; one may be used for many, one after the other."""

    def __init__(
        self,
        escape: str = "\\",
        *,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_quotes: bool = False,
        keep_unset: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`raw_…` leave quotes and escapes in the result; `keep_quotes` gives quotes no meaning
        at all (contents of heredocs); `keep_unset` leaves unset variables as they are written."""
        self._escape = escape
        self._raw_quotes = raw_quotes
        self._raw_escapes = raw_escapes
        self._keep_quotes = keep_quotes
        self._keep_unset = keep_unset
        self._limits = limits
        special = re.escape(escape) + "$" + ("" if keep_quotes else "'\"")
        self._plain = re.compile(rf"[^{special}]+")
        self._plain_in = {stop: re.compile(rf"[^{special}{stop}]+") for stop in "}/"}
        self._quoted = re.compile(rf'[^"${re.escape(escape)}]+')
        self._text = ""
        self._at = 0
        self._depth = 0
        self._length = 0
        self._total = 0
        self._work = 0
        self._variables: Mapping[str, str] = {}
        self._used: set[str] = set()
        self._unset: set[str] = set()

    def expand(self, text: str, variables: Mapping[str, str]) -> Expansion:
        """One word to one word; raises WordError."""
        match = self._plain.match(text)
        if not text or (match and match.end() == len(text)):
            return Expansion(text)  # most words have nothing to replace
        result = self._read(text, variables, None)
        if self._used:
            self._total += len(result)
            if self._total > self._limits.expanded_together:
                raise WordError("the variables of this file grow too large")
        return Expansion(result, frozenset(self._used), frozenset(self._unset))

    def words(self, text: str, variables: Mapping[str, str]) -> tuple[str, ...]:
        """One text to words, split at blanks that are not quoted, also those of unquoted values."""
        words = _Words()
        self._read(text, variables, words)
        return words.end()

    def _read(self, text: str, variables: Mapping[str, str], words: _Words | None) -> str:
        self._text, self._at, self._depth, self._length = text, 0, 0, 0
        self._variables, self._used, self._unset = variables, set(), set()
        try:
            return self._until(_END, self._raw_escapes, words)
        except WordError as error:
            shown = text if len(text) <= 80 else text[:77] + "..."
            whole = WordError(f'failed to process "{shown}": {error}')
            whole.word = text
            raise whole from error

    def _grown(self, part: str) -> str:
        """Hold what a file of bounded size may become (`ENV A=$B$B`, again and again)."""
        self._length += len(part)
        if self._length > self._limits.expanded:
            raise WordError(f"the result is longer than {self._limits.expanded} characters")
        return part

    def _until(self, stop: str, raw_escapes: bool, words: _Words | None = None) -> str:
        """What stands before `stop` (or the end of everything), which is taken too."""
        parts: list[str] = []
        text, count = self._text, len(self._text)
        plain = self._plain_in[stop] if stop else self._plain
        while self._at < count:
            match = plain.match(text, self._at)
            if match:
                self._at = match.end()
                parts.append(match[0])
                if words:
                    words.add(match[0])
                continue
            one = text[self._at]
            if one == stop:
                self._at += 1
                return "".join(parts)
            if one == "$":
                part = self._grown(self._dollar())
                if words:
                    words.add(part)
            elif one == self._escape:
                part = self._escaped(raw_escapes)
                if words:
                    words.add_raw(part)
            else:
                part = self._single() if one == "'" else self._double(raw_escapes)
                if words:
                    words.add_raw(part)
            parts.append(part)
        if stop:
            raise WordError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(parts)

    def _escaped(self, raw: bool) -> str:
        two = self._text[self._at : self._at + 2]
        self._at += 2
        return two if raw else two[1:]

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._at = len(self._text)
            raise WordError("unexpected end of statement while looking for matching single-quote")
        start, self._at = self._at, end + 1
        return self._text[start : end + 1] if self._raw_quotes else self._text[start + 1 : end]

    def _double(self, raw_escapes: bool) -> str:
        text, count = self._text, len(self._text)
        parts = ['"'] if self._raw_quotes else []
        self._at += 1
        while self._at < count:
            match = self._quoted.match(text, self._at)
            if match:
                self._at = match.end()
                parts.append(match[0])
                continue
            one = text[self._at]
            if one == '"':
                self._at += 1
                return "".join((*parts, '"') if self._raw_quotes else parts)
            if one == "$":
                parts.append(self._grown(self._dollar()))
                continue
            following = text[self._at + 1 : self._at + 2]
            self._at += 1
            if raw_escapes:
                parts.append(one)
            if following and following in ('"', "$", self._escape):
                parts.append(following)
                self._at += 1
            elif following:
                parts.append(one)  # twice when raw, as with BuildKit
        raise WordError("unexpected end of statement while looking for matching double-quote")

    def _name(self) -> str:
        """A name, digits, one special character, or nothing."""
        match = _NAME.match(self._text, self._at)
        if match:
            self._at = match.end()
            return match[0]
        one = self._text[self._at : self._at + 1]
        if one in _SPECIAL_NAMES and one:
            self._at += 1
            return one
        return ""

    def _value(self, name: str) -> str | None:
        value = self._variables.get(name)
        (self._unset if value is None else self._used).add(name)
        return value

    def _dollar(self) -> str:
        self._at += 1
        following = self._text[self._at : self._at + 1]
        if following != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._value(name)
            return (f"${name}" if self._keep_unset else "") if value is None else value
        self._at += 1
        following = self._text[self._at : self._at + 1]
        if not following:
            raise WordError("syntax error: missing '}'")
        if following in "{}:":
            raise WordError("syntax error: bad substitution")
        self._depth += 1
        if self._depth > self._limits.depth:
            raise WordError(f"more than {self._limits.depth} substitutions inside each other")
        result = self._braces()
        self._depth -= 1
        return result

    def _take(self) -> str:
        one = self._text[self._at : self._at + 1]
        self._at += 1
        return one

    def _braces(self) -> str:
        """`${` was read; up to its `}`."""
        name = self._name()
        operator = self._take()
        if operator == "}":
            value = self._value(name)
            return (f"${{{name}}}" if self._keep_unset else "") if value is None else value
        if operator == "/":
            return self._replaced(name)
        modifier = operator
        if operator == ":":
            modifier = self._take()
            operator += modifier
        if modifier in ("+", "-", "?", "#", "%") and modifier:
            return self._modified(name, operator, modifier)
        if not operator:
            raise WordError("syntax error: missing '}'")
        raise WordError(f"unsupported modifier ({operator}) in substitution")

    def _part(self, stop: str, missing: str, *, raw: bool) -> str:
        try:
            outer, self._raw_escapes = self._raw_escapes, raw
            try:
                return self._until(stop, raw)
            finally:
                self._raw_escapes = outer
        except WordError as error:
            if self._at >= len(self._text):
                raise WordError(missing) from error
            raise

    def _modified(self, name: str, operator: str, modifier: str) -> str:
        word = self._part("}", "syntax error: missing '}'", raw=modifier in "#%")
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}{operator}{word}}}"
        lacking = value is None or (operator[0] == ":" and not value)
        match modifier:
            case "-":
                return word if lacking else value or ""
            case "+":
                return "" if lacking else word
            case "?":
                if lacking:
                    state = "unset" if value is None else "empty"
                    raise WordError(f"{name}: {word or f'is not allowed to be {state}'}")
                return value or ""
            case _:
                return self._trimmed(value or "", word, modifier)

    def _trimmed(self, value: str, word: str, modifier: str) -> str:
        longest = word[:1] == modifier
        wildcard = self._wildcard(word[1:] if longest else word)
        try:
            if modifier == "#":
                return wildcard.without_prefix(value, longest=longest)
            return wildcard.without_suffix(value, longest=longest)
        except PatternError as error:
            raise WordError(str(error)) from error
        finally:
            self._work = wildcard.work

    def _replaced(self, name: str) -> str:
        everything = self._text[self._at : self._at + 1] == "/"
        self._at += everything
        pattern = self._part("/", "syntax error: missing '/' in ${}", raw=True)
        replacement = self._part("}", "syntax error: missing '}'", raw=True)
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        limit = self._limits.expanded
        wildcard = self._wildcard(pattern)
        try:
            return wildcard.replaced(value or "", replacement, everything=everything, limit=limit)
        except PatternError as error:
            raise WordError(str(error)) from error
        finally:
            self._work = wildcard.work

    def _wildcard(self, pattern: str) -> Wildcard:
        try:
            return Wildcard(pattern, work=self._work)
        except PatternError as error:
            raise WordError(f"invalid pattern ({pattern}) in substitution: {error}") from error


class _Words:
    """Splits at blanks what is added, but for what is added raw."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._parts: list[str] = []

    def __bool__(self) -> bool:
        return True

    def add(self, text: str) -> None:
        if not text:
            return
        chunks = text.split()
        if not chunks:
            self._close()
            return
        if text[0].isspace():
            self._close()
        self._parts.append(chunks[0])
        for chunk in chunks[1:]:
            self._close()
            self._parts.append(chunk)
        if text[-1].isspace():
            self._close()

    def add_raw(self, text: str) -> None:
        self._parts.append(text)

    def _close(self) -> None:
        word = "".join(self._parts)
        if word:
            self._words.append(word)
        self._parts.clear()

    def end(self) -> tuple[str, ...]:
        self._close()
        return tuple(self._words)
