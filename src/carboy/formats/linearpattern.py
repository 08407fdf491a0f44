r"""Regular expressions of clients, matched in linear time: Go's language, as Docker's filters take it.

Python's `re` tries one way after the other, and `(a|a)*b` or `a?a?a?…aaa` of a client (or a benign
pattern and a hostile label of an image) would hold the whole daemon for hours: no list of
"dangerous" patterns is complete.  Here all ways go at once (Thompson's simulation):

    text ─▶ parse ─▶ program of SPLIT, JUMP, ASSERT, ONE and MATCH ─▶ a set of places per character

The sets are remembered (a DFA that is made while it is used), so ordinary patterns cost one look-up
per character.  Not known: back references and looking around, which Go has neither, and `\p{…}`.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Test = Callable[[str], bool]
    Instruction = tuple[int, Any, int]
    Node = tuple[str, Any]
    Places = frozenset[int]

MAX_PATTERN = 1024
"""Characters of a pattern."""
MAX_TEXT = 1024
"""Characters that are looked at: names and keys of labels are shorter; what follows does not count."""
MAX_PROGRAM = 1100
"""Instructions: what repetitions of repetitions may become."""
MAX_REPEAT = 1000
_MAX_DEPTH = 64
_MAX_KNOWN = 8192
"""Remembered steps, before they are forgotten."""

_ONE, _SPLIT, _JUMP, _ASSERT, _MATCH = range(5)

_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE = frozenset("\t\n\f\r ")
_NAMED: dict[str, Test] = {
    "alnum": lambda one: one.isascii() and one.isalnum(),
    "alpha": lambda one: one.isascii() and one.isalpha(),
    "ascii": str.isascii,
    "blank": lambda one: one in "\t ",
    "cntrl": lambda one: one < " " or one == "\x7f",
    "digit": _DIGITS.__contains__,
    "graph": lambda one: "!" <= one <= "~",
    "lower": lambda one: "a" <= one <= "z",
    "print": lambda one: " " <= one <= "~",
    "punct": lambda one: "!" <= one <= "~" and not one.isalnum(),
    "space": lambda one: one in "\t\n\v\f\r ",
    "upper": lambda one: "A" <= one <= "Z",
    "word": _WORD.__contains__,
    "xdigit": lambda one: one in "0123456789abcdefABCDEF",
}
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_EMPTY: Node = ("all", [])


class Pattern:
    """One compiled pattern; raises InvalidArgument for what is no pattern, or too large a one."""

    __slots__ = ("_known", "_program", "text")

    def __init__(self, unsafe_text: str) -> None:
        if len(unsafe_text) > MAX_PATTERN:
            raise InvalidArgument(f"a regular expression is longer than {MAX_PATTERN} characters")
        self.text = unsafe_text
        self._program: list[Instruction] = []
        _Compiler(self._program).compile(_Parser(unsafe_text).whole())
        self._known: dict[tuple[Places, str, str], tuple[Places, bool]] = {}

    def found_in(self, unsafe_text: str) -> bool:
        """Whether it matches anywhere in the first MAX_TEXT characters."""
        text = unsafe_text[:MAX_TEXT]
        places: Places = frozenset((0,))
        before = ""
        for after in (*text, ""):
            key = (places, before, after)
            step = self._known.get(key)
            if step is None:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                step = self._known[key] = self._step(places, before, after)
            places, matched = step
            if matched:
                return True
            before = after
        return False

    def _step(self, places: Places, before: str, after: str) -> tuple[Places, bool]:
        """The places behind the character `after`, between which and `before` we are ("": an edge)."""
        program, seen, waiting = self._program, set(places), list(places)
        reached = {0}  # a match may begin at every character
        while waiting:
            place = waiting.pop()
            kind, what, target = program[place]
            following: tuple[int, ...] = ()
            if kind == _ONE:
                if after and what(after):
                    reached.add(place + 1)
            elif kind == _SPLIT:
                following = (place + 1, target)
            elif kind == _JUMP:
                following = (target,)
            elif kind == _ASSERT:
                following = (place + 1,) if _holds(what, before, after) else ()
            else:
                return frozenset(), True
            for one in following:
                if one not in seen:
                    seen.add(one)
                    waiting.append(one)
        return frozenset(reached), False


def parse(unsafe_text: str) -> Node:
    """The nodes of an expression (see `_Parser`), for those who match it in their own way."""
    if len(unsafe_text) > MAX_PATTERN:
        raise InvalidArgument(f"a regular expression is longer than {MAX_PATTERN} characters")
    return _Parser(unsafe_text).whole()


def _holds(assertion: str, before: str, after: str) -> bool:
    match assertion:
        case "begin":
            return not before
        case "end":
            return not after
        case "line":
            return before in ("", "\n")
        case "line end":
            return after in ("", "\n")
        case _:
            return ((before in _WORD) != (after in _WORD)) == (assertion == "edge")


class _Parser:
    """Text to nodes.

    ("one", test)   ("assert", name)   ("all", nodes)   ("or", nodes)   ("repeat", (node, least, most))
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags = frozenset[str]()
        self._depth = 0

    def whole(self) -> Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise self._wrong("unexpected )")
        return node

    def _wrong(self, why: str) -> InvalidArgument:
        return InvalidArgument(f"error parsing regexp: {why}: `{self._text[:100]}`")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        one = self._peek()
        if not one:
            raise self._wrong("it ends too early")
        self._at += 1
        return one

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _alternatives(self) -> Node:
        nodes = [self._sequence()]
        while self._skip("|"):
            nodes.append(self._sequence())
        return nodes[0] if len(nodes) == 1 else ("or", nodes)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            if self._skip("\\Q"):
                end = self._text.find("\\E", self._at)
                literal = self._text[self._at : end if end >= 0 else None]
                self._at = len(self._text) if end < 0 else end + 2
                items += [self._literal(one) for one in literal]
                if literal:  # what follows repeats the last character
                    items.append(self._repeated(items.pop()))
            else:
                items.append(self._repeated(self._atom()))
        return ("all", items)

    def _repeated(self, node: Node) -> Node:
        repeats = 0
        while bounds := self._bounds():
            repeats += 1
            if repeats > 1:
                raise self._wrong("invalid nested repetition operator")
            self._skip("?")  # lazy or not: whether there is a match is the same
            node = ("repeat", (node, *bounds))
        return node

    def _bounds(self) -> tuple[int, int] | None:
        """(least, most or -1) of an operator that stands here."""
        for operator, bounds in (("*", (0, -1)), ("+", (1, -1)), ("?", (0, 1))):
            if self._skip(operator):
                return bounds
        end = self._text.find("}", self._at, self._at + 12) if self._peek() == "{" else -1
        if end < 0:
            return None
        first, comma, last = self._text[self._at + 1 : end].partition(",")
        if not (_number(first) and (not last or _number(last))):
            return None  # as with Go, it stands for itself
        self._at = end + 1
        least = int(first)
        most = least if not comma else int(last) if last else -1
        if max(least, most) > MAX_REPEAT or (most >= 0 and most < least):
            raise self._wrong("invalid repeat count")
        return least, most

    def _atom(self) -> Node:
        one = self._take()
        match one:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                everything = "s" in self._flags
                return ("one", (lambda _: True) if everything else (lambda letter: letter != "\n"))
            case "^":
                return ("assert", "line" if "m" in self._flags else "begin")
            case "$":
                return ("assert", "line end" if "m" in self._flags else "end")
            case "*" | "+" | "?":
                raise self._wrong("missing argument to repetition operator")
            case "\\":
                return self._escape()
            case _:
                return self._literal(one)

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._wrong("expression nests too deeply")
        outer = self._flags
        if self._skip("?P<") or self._skip("?<"):
            end = self._text.find(">", self._at)
            name = self._text[self._at : end]
            if end < 0 or not name or not set(name) <= _WORD:
                raise self._wrong("invalid named capture")
            self._at = end + 1
        elif self._skip("?"):
            self._read_flags()
            if self._skip(")"):  # to the end of the group around it
                self._depth -= 1
                return _EMPTY
            if not self._skip(":"):
                raise self._wrong("invalid or unsupported Perl syntax")
        node = self._alternatives()
        if not self._skip(")"):
            raise self._wrong("missing closing )")
        self._flags = outer
        self._depth -= 1
        return node

    def _read_flags(self) -> None:
        on = True
        while self._peek() in ("i", "m", "s", "U", "-"):
            flag = self._take()
            if flag == "-":
                on = False
            else:
                self._flags = self._flags | {flag} if on else self._flags - {flag}

    def _escape(self) -> Node:
        one = self._take()
        match one:
            case "A":
                return ("assert", "begin")
            case "z":
                return ("assert", "end")
            case "b":
                return ("assert", "edge")
            case "B":
                return ("assert", "no edge")
            case _:
                some = _shorthand(one)
                return ("one", some) if some else self._literal(self._character(one))

    def _character(self, one: str) -> str:
        """What an escape stands for."""
        if one in _CONTROLS:
            return _CONTROLS[one]
        if one == "x":
            digits = self._take()
            if digits == "{":
                end = self._text.find("}", self._at, self._at + 9)
                digits, self._at = self._text[self._at : max(end, self._at)], end + 1
            else:
                digits += self._take()
            if digits and all(map(_NAMED["xdigit"], digits)) and int(digits, 16) <= 0x10FFFF:
                return chr(int(digits, 16))
        if one == "x" or (one.isascii() and (one.isalnum())):
            raise self._wrong("invalid escape sequence")
        return one

    def _literal(self, one: str) -> Node:
        if "i" in self._flags:
            folded = one.lower()
            return ("one", lambda letter: letter.lower() == folded)
        return ("one", one.__eq__)

    def _class(self) -> Node:
        negated = self._skip("^")
        single: set[str] = set()
        tests: list[Test] = []
        first = True
        while first or self._peek() != "]":
            first = False
            if self._skip("[:"):
                tests.append(self._named())
                continue
            one = self._take()
            if one == "\\":
                escaped = self._take()
                some = _shorthand(escaped)
                if some:
                    tests.append(some)
                    continue
                one = self._character(escaped)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take()
                last = self._take()
                last = self._character(self._take()) if last == "\\" else last
                if last < one:
                    raise self._wrong("invalid character class range")
                tests.append(lambda letter, low=one, high=last: low <= letter <= high)  # type: ignore[misc]  # bound now
            else:
                single.add(one)
        self._take()
        insensitive = "i" in self._flags

        def inside(letter: str) -> bool:
            forms = (letter, letter.lower(), letter.upper()) if insensitive else (letter,)
            return any(form in single or any(test(form) for test in tests) for form in forms) != negated

        return ("one", inside)

    def _named(self) -> Test:
        end = self._text.find(":]", self._at)
        name = self._text[self._at : end] if end >= 0 else ""
        some = _NAMED.get(name.removeprefix("^"))
        if some is None:
            raise self._wrong("invalid character class range")
        self._at = end + 2
        return _not(some) if name.startswith("^") else some


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _shorthand(one: str) -> Test | None:
    """`\\d`, `\\w`, `\\s` and their opposites."""
    some = {"d": _DIGITS, "w": _WORD, "s": _SPACE}.get(one.lower())
    if some is None:
        return None
    return some.__contains__ if one.islower() else _not(some.__contains__)


def _not(test: Test) -> Test:
    return lambda letter: not test(letter)


class _Compiler:
    """Nodes to a program."""

    def __init__(self, program: list[Instruction]) -> None:
        self._program = program
        self._steps = 0

    def compile(self, node: Node) -> None:
        self._add(node)
        self._put(_MATCH)

    def _put(self, kind: int, what: object = None, target: int = 0) -> int:
        self._program.append((kind, what, target))
        return len(self._program) - 1

    def _aim(self, place: int) -> None:
        """Have an instruction lead to here."""
        kind, what, _ = self._program[place]
        self._program[place] = (kind, what, len(self._program))

    def _add(self, node: Node) -> None:
        self._steps += 1  # counted apart: nothing, repeated, makes no instructions
        if self._steps > 2 * MAX_PROGRAM or len(self._program) >= MAX_PROGRAM:
            raise InvalidArgument("error parsing regexp: expression is too large: it repeats too much")
        kind, what = node
        match kind:
            case "one":
                self._put(_ONE, what)
            case "assert":
                self._put(_ASSERT, what)
            case "all":
                for item in what:
                    self._add(item)
            case "or":
                self._add_either(what)
            case _:
                self._add_repeat(*what)

    def _add_either(self, nodes: list[Node]) -> None:
        jumps = []
        for node in nodes[:-1]:
            split = self._put(_SPLIT)
            self._add(node)
            jumps.append(self._put(_JUMP))
            self._aim(split)
        self._add(nodes[-1])
        for jump in jumps:
            self._aim(jump)

    def _add_repeat(self, node: Node, least: int, most: int) -> None:
        for _ in range(least):
            self._add(node)
        if most < 0:
            split = self._put(_SPLIT)
            self._add(node)
            self._put(_JUMP, target=split)
            self._aim(split)
            return
        splits = []
        for _ in range(most - least):
            splits.append(self._put(_SPLIT))
            self._add(node)
        for split in splits:
            self._aim(split)
