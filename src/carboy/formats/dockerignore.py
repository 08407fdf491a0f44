"""`.dockerignore`: which paths of a build context stay outside.  Docker's matching, exactly.

    text ─▶ patterns, in order ─▶ runs of equal kind ─▶ one automaton ─▶ excludes(path), may_descend(path)

The last pattern that matches a path, or a directory above it, decides: `!` takes a path back in.
`*` and `?` stop at slashes, `**` does not; `**/x` is x at any depth, `x/**` is everything below x.

Patterns are hostile and there may be many, trees are large.  So all patterns are matched at once,
in linear time: the places in all of them are bits of one number (as in Shift-And), the numbers that
occur are remembered (a DFA made while it is used), and the number after "directory/" is where its
files begin.  What can still be reached from there says whether a directory needs a visit at all.

Two of Docker's habits are kept on purpose: a pattern becomes one of Go's regular expressions (so
`\\d` is a digit, and a negated class may match a slash), and what matched a directory is carried
down, while patterns that were passed over there are tried anew on what is below.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument
from carboy.formats import linearpattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Test = Callable[[str], bool]

NAME = ".dockerignore"
MAX_LINE = 65_536
MAX_PATTERNS = 10_000
MAX_CHARACTERS = 262_144
"""Of all patterns: one step of a path never costs more than looking at all of them."""
MAX_CLASSES = 2_000
"""Each is asked about each letter that occurs, once."""
_MEMORY = 16 << 20
"""Bytes that remembered states may take, about."""
_MAX_DIRECTORIES = 100_000

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def files_for(dockerfile: str) -> tuple[str, ...]:
    """Where the patterns for a Dockerfile may be, best first: its own file, then the context's."""
    return (f"{dockerfile}{NAME}", NAME) if dockerfile else (NAME,)


class Ignore:
    """The patterns of one file."""

    __slots__ = ("_automaton", "_directories", "_exceptions", "_verdicts", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Patterns as they stand in a file, without comments (also: the values of `--exclude`)."""
        self.patterns: tuple[str, ...] = ()
        self._automaton = _Automaton()
        self._exceptions: list[bool] = []
        cleaned: list[str] = []
        for unsafe_pattern in patterns:
            pattern = unsafe_pattern.strip(_SPACE)
            if pattern:
                cleaned.append(self._add(clean(pattern)))
            if len(cleaned) > MAX_PATTERNS or self._automaton.size > MAX_CHARACTERS:
                raise InvalidArgument(
                    f"{NAME}: more than {MAX_PATTERNS} patterns or {MAX_CHARACTERS} characters: exclude "
                    "whole directories instead of files"
                )
        self.patterns = tuple(cleaned)
        self._automaton.begin()
        self._directories: dict[str, tuple[_State, int, bool]] = {}
        self._verdicts: dict[tuple[int, int], tuple[bool, int]] = {}

    @classmethod
    def parse(cls, unsafe_text: str) -> Ignore:
        """Read a file's text: comments, blank lines, spaces, leading slashes, a byte order mark."""
        return cls(_lines(unsafe_text))

    @property
    def has_exceptions(self) -> bool:
        """Whether a pattern takes paths back in."""
        return True in self._exceptions

    def excludes(self, path: str, is_dir: bool = False) -> bool:
        """Whether a path (relative to the context, with slashes) stays outside.

        Docker's patterns do not tell files from directories; `is_dir` only says that a visit to
        what is below may follow, so that the answer is kept.
        """
        if not self._exceptions:
            return False
        path = _relative(path)
        if not path or path == ".":
            return False  # the context itself always exists
        if is_dir:
            return self._directory(path)[2]
        parent, _, name = path.rpartition("/")
        below, carried, _ = self._directory(parent)
        return self._verdict(self._automaton.walk(below, name), carried)[0]

    def may_descend(self, path: str) -> bool:
        """Whether anything below a directory can be inside: false only when nothing can."""
        if not self._exceptions:
            return True
        path = _relative(path)
        if not path or path == ".":
            return True
        below, carried, excluded = self._directory(path)
        if not excluded:
            return True
        deciding = carried.bit_length()  # an exception before the last pattern that holds changes nothing
        return any(
            exception and self._automaton.may_match(below, run)
            for run, exception in enumerate(self._exceptions)
            if run >= deciding
        )

    def _add(self, pattern: str) -> str:
        exception = pattern.startswith("!")
        body = pattern[exception:]
        if not body:
            raise InvalidArgument(f'{NAME}: illegal exclusion pattern: "!": name what to take back in')
        _check(body)
        if not self._exceptions or self._exceptions[-1] != exception:
            self._exceptions.append(exception)
        self._automaton.add(len(self._exceptions) - 1, _compile(body))
        return pattern

    def _directory(self, path: str) -> tuple[_State, int, bool]:
        """(the state in which names below begin, runs that hold here, whether it is outside)."""
        known = self._directories.get(path)
        if known is not None:
            return known
        if not path:
            return self._automaton.start, 0, False
        missing = [path]
        parent = path.rpartition("/")[0]
        while parent and parent not in self._directories:  # no recursion: depth is the client's
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        found = self._directories[parent] if parent else (self._automaton.start, 0, False)
        if len(self._directories) >= _MAX_DIRECTORIES:
            self._directories.clear()
        for one in reversed(missing):
            state = self._automaton.walk(found[0], one.rpartition("/")[2])
            excluded, carried = self._verdict(state, found[1])
            found = self._directories[one] = (self._automaton.walk(state, "/"), carried, excluded)
        return found

    def _verdict(self, state: _State, carried: int) -> tuple[bool, int]:
        """(outside or not, runs that hold) for a path that ends in `state`, below what holds already."""
        hits = self._automaton.hits(state)
        known = self._verdicts.get((hits, carried))
        if known is not None:
            return known
        outside, holding = False, 0
        for run, exception in enumerate(self._exceptions):
            bit = 1 << run
            # What would change nothing is passed over, and then does not hold for what is below.
            if carried & bit or (exception == outside and hits & bit):
                holding |= bit
                outside = not exception
        if len(self._verdicts) >= _MAX_DIRECTORIES:
            self._verdicts.clear()
        self._verdicts[hits, carried] = outside, holding
        return outside, holding


def _lines(unsafe_text: str) -> Iterable[str]:
    for number, line in enumerate(unsafe_text.removeprefix("\ufeff").split("\n"), 1):
        if len(line) > MAX_LINE:
            raise InvalidArgument(f"{NAME}, line {number}: longer than {MAX_LINE} characters")
        if line.startswith("#"):
            continue
        pattern = line.strip(_SPACE)
        exception = pattern.startswith("!")
        body = pattern[exception:].strip(_SPACE)
        if body:
            body = clean(body)
            if len(body) > 1:
                body = body.removeprefix("/")
        if body or exception:
            yield "!" * exception + body


def clean(path: str) -> str:
    """Go's filepath.Clean: the shortest path that means the same, without looking at files."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part != ".." or not rooted:
            kept.append(part)
    return "/" * rooted + "/".join(kept) or "."


def _relative(path: str) -> str:
    if path.startswith(("/", ".")) or path.endswith("/") or "//" in path or "/." in path:
        return clean(path).removeprefix("/")
    return path


def _check(pattern: str) -> None:
    """Refuse what Go's filepath.Match calls a bad pattern: open classes, a backslash at the end."""
    at, end = 0, len(pattern)
    while at < end:
        one = pattern[at]
        at += 1
        if one == "\\":
            if at == end:
                raise _bad(pattern, "a backslash ends it")
            at += 1
        elif one == "[":
            at = _check_class(pattern, at + pattern.startswith("^", at))


def _check_class(pattern: str, at: int) -> int:
    first = at
    while not (pattern.startswith("]", at) and at > first):
        at = _check_member(pattern, at)
        if pattern.startswith("-", at):
            at = _check_member(pattern, at + 1)
    return at + 1


def _check_member(pattern: str, at: int) -> int:
    """One character of a class, which is not its last."""
    if pattern[at : at + 1] in ("", "-", "]"):
        raise _bad(pattern, "a class [...] is open, empty, or has a bare -")
    at += 1 + (pattern[at] == "\\")
    if at >= len(pattern):
        raise _bad(pattern, "a class [...] is not closed")
    return at


def _bad(pattern: str, why: str) -> InvalidArgument:
    return InvalidArgument(f'{NAME}: syntax error in pattern "{pattern[:200]}": {why}')


_ANY: Test = lambda _: True  # noqa: E731  # one object, so that equal items are evaluated once
_INSIDE: Test = lambda letter: letter != "/"  # noqa: E731
_LINE: Test = lambda letter: letter != "\n"  # noqa: E731
_NEVER: Test = lambda _: False  # noqa: E731

if TYPE_CHECKING:
    Item = tuple[str, Test]
    """(a letter, _) | ("one", test) | ("loop", test) | ("maybe", _): skip the next two | ("begin", _)"""


def _compile(pattern: str) -> list[list[Item]]:
    """What a pattern accepts: one sequence of items, or two (`**/x` is x, or ends in /x)."""
    kind, expression = _expression(pattern)
    match kind:
        case "exact":
            return [_literal(pattern)]
        case "prefix":
            return [[*_literal(pattern[:-2]), ("loop", _ANY)]]
        case "suffix":
            suffix = pattern[2:]
            sequences = [[("loop", _ANY), *_literal(suffix)]]
            return [*sequences, _literal(suffix[1:])] if suffix.startswith("/") else sequences
        case _:
            pass
    if not set(pattern) & set("[]\\^"):
        return [_direct(expression)]
    return [_flatten(linearpattern.parse(expression))]


def _literal(text: str) -> list[Item]:
    return [(letter, _ANY) for letter in text]


def _expression(pattern: str) -> tuple[str, str]:
    """(exact, prefix, suffix or pattern; the regular expression that Docker makes of it)."""
    kind, made, at, first = "exact", "", 0, True
    while at < len(pattern):
        one = pattern[at]
        at += 1
        if one == "*" and pattern.startswith("*", at):
            at += 1
            at += pattern.startswith("/", at)
            if at < len(pattern):
                if not made.endswith("(.*/)?"):  # twice is the same as once
                    made += "(.*/)?"
                kind = "pattern"
            elif kind == "exact":
                kind = "prefix"
            else:
                made, kind = made + ".*", "pattern"
            kind = "suffix" if first else kind
        elif one in "*?":
            made += "[^/]*" if one == "*" else "[^/]"
            kind = "pattern"
        elif one in ".+()|{}$":
            made += "\\" + one
        elif one == "\\" and at < len(pattern):
            made += "\\" + pattern[at]
            at += 1
            kind = "pattern"
        else:
            made += one
            kind = "pattern" if one in "[]" else kind
        first = False
    return kind, made


_PIECES: tuple[tuple[str, list[Item]], ...] = (
    ("[^/]*", [("loop", _INSIDE)]),
    ("[^/]", [("one", _INSIDE)]),
    ("(.*/)?", [("maybe", _ANY), ("loop", _LINE), ("/", _ANY)]),
    (".*", [("loop", _LINE)]),
)


def _direct(expression: str) -> list[Item]:
    """The items of an expression that has only what `_expression` writes: nothing of the client's own."""
    items: list[Item] = []
    at = 0
    while at < len(expression):
        for text, piece in _PIECES:
            if expression.startswith(text, at):
                items += piece
                at += len(text)
                break
        else:
            at += expression[at] == "\\"
            items.append((expression[at], _ANY))
            at += 1
    return items


def _flatten(node: linearpattern.Node) -> list[Item]:
    kind, what = node
    match kind:
        case "one":
            letter = getattr(what, "__self__", None)  # the bound __eq__ of one letter
            return [(letter, _ANY) if isinstance(letter, str) else ("one", what)]
        case "all":
            return [item for inner in what for item in _flatten(inner)]
        case "assert" if what == "begin":
            return [("begin", _ANY)]
        case "repeat":
            inner, _least, most = what
            items = _flatten(inner)
            if most < 0 and len(items) == 1:
                letter, test = items[0]
                return [("loop", letter.__eq__ if len(letter) == 1 else test)]
            if most == 1 and len(items) == 2:
                return [("maybe", _ANY), *items]
        case _:
            pass
    return [("one", _NEVER)]  # `\b` and its kind: where a path's letters meet, practically never


class _State:
    """A set of places in all patterns, and where each character leads from it."""

    __slots__ = ("hits", "next", "places")

    def __init__(self, places: int) -> None:
        self.places = places
        self.next: dict[str, _State] = {}
        self.hits = -1


class _Automaton:
    """Items of all patterns as bits: bit i is the place before item i; behind its last a pattern accepts."""

    def __init__(self) -> None:
        self.size = 0
        self._letters: dict[str, int] = {}
        self._tests: dict[Test, int] = {}
        self._loops: dict[Test, int] = {}
        self._loop = self._maybe = self._begin = self._first = 0
        self._accepts: dict[int, int] = {}
        self._inside: dict[int, int] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        self._states: dict[int, _State] = {}
        self._limit = 0
        self.start = _State(0)

    def add(self, run: int, sequences: list[list[Item]]) -> None:
        """Append the items of a pattern, which belongs to a run."""
        for items in sequences:
            self._first |= 1 << self.size
            for kind, test in items:
                self._put(kind, test, 1 << self.size)
                self._inside[run] = self._inside.get(run, 0) | 1 << self.size
                self.size += 1
            self._accepts[run] = self._accepts.get(run, 0) | 1 << self.size
            self.size += 1

    def _put(self, kind: str, test: Test, bit: int) -> None:
        match kind:
            case "one":
                self._tests[test] = self._tests.get(test, 0) | bit
            case "loop":
                self._loop |= bit
                self._loops[test] = self._loops.get(test, 0) | bit
            case "maybe":
                self._maybe |= bit
            case "begin":
                self._begin |= bit
            case _:
                self._letters[kind] = self._letters.get(kind, 0) | bit
        if len(self._tests) + len(self._loops) > MAX_CLASSES:
            raise InvalidArgument(f"{NAME}: more than {MAX_CLASSES} classes [...] in all patterns")

    def begin(self) -> None:
        """No more patterns: the state before the first character."""
        self._limit = max(64, _MEMORY // (self.size // 8 + 200))
        places = self._first
        while (more := self._closed(places | (places & self._begin) << 1)) != places:
            places = more
        self.start = self._state(places)

    def _closed(self, places: int) -> int:
        """With the places that are reached without a character."""
        while True:
            optional = places & self._maybe
            more = places | (places & self._loop) << 1 | optional << 1 | optional << 3
            if more == places:
                return places
            places = more

    def _state(self, places: int) -> _State:
        state = self._states.get(places)
        if state is None:
            if len(self._states) >= self._limit:
                for old in self._states.values():  # what is held elsewhere must not keep all others alive
                    old.next.clear()
                self._states.clear()
            state = self._states[places] = _State(places)
        return state

    def walk(self, state: _State, text: str) -> _State:
        """The state after some characters."""
        for letter in text:
            following = state.next.get(letter)
            state = self._step(state, letter) if following is None else following
        return state

    def _step(self, state: _State, letter: str) -> _State:
        masks = self._steps.get(letter)
        if masks is None:
            single = self._letters.get(letter, 0)
            for test, bits in self._tests.items():
                single |= bits if test(letter) else 0
            loop = 0
            for test, bits in self._loops.items():
                loop |= bits if test(letter) else 0
            if len(self._steps) >= self._limit:
                self._steps.clear()
            masks = self._steps[letter] = single, loop
        moved = (state.places & masks[0]) << 1 | state.places & masks[1]
        following = state.next[letter] = self._state(self._closed(moved))
        return following

    def hits(self, state: _State) -> int:
        """The runs of which a pattern accepts here, as bits."""
        if state.hits < 0:
            state.hits = sum(1 << run for run, accepts in self._accepts.items() if state.places & accepts)
        return state.hits

    def may_match(self, state: _State, run: int) -> bool:
        """Whether a pattern of the run can accept after one more character at least."""
        return bool(state.places & self._inside.get(run, 0))
