r"""Wildcards of `${X#p}`, `${X%p}` and `${X/p/r}`: `*` any characters, `?` one, `\` before them itself.

No regular expressions: `*a*a*a*b` against a long value would take Python's `re` years.  All ways are
followed at once, as the bits of a number; what a substitution may cost altogether is bounded.
As in Go's reading of them, neither wildcard matches a line end.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

MAX_WORK = 2_000_000
"""Characters looked at by all substitutions of a file, times the 64-character words of their patterns."""

Program = tuple[dict[str, int], int, int, int]
"""Bits of the tokens that each letter matches, of the stars, of the question marks, and the end's."""

_STAR, _ONE = "star", "one"


class PatternError(InvalidArgument):
    """A pattern that means nothing, or would take too long."""


class Wildcard:
    """One pattern, ready to be used."""

    __slots__ = ("_forward", "_literal", "_tokens", "_weight", "work")

    def __init__(self, unsafe_pattern: str, *, work: int = 0) -> None:
        """`work`: what others have spent before."""
        self._tokens = tuple(_tokens(unsafe_pattern))
        self._literal = (
            None if any(kind for kind, _ in self._tokens) else "".join(one for _, one in self._tokens)
        )
        self._forward = _program(self._tokens)
        self._weight = 1 + len(self._tokens) // 64
        self.work = work

    def without_prefix(self, value: str, *, longest: bool) -> str:
        """`${X#p}`, `${X##p}`."""
        if self._literal is not None:
            return value.removeprefix(self._literal)
        return value[max(0, self._match(self._forward, value, 0, longest=longest)) :]

    def without_suffix(self, value: str, *, longest: bool) -> str:
        """`${X%p}`, `${X%%p}`."""
        if self._literal is not None:
            return value.removesuffix(self._literal)
        end = self._match(_program(self._tokens[::-1]), value[::-1], 0, longest=longest)
        return value[: len(value) - max(0, end)]

    def replaced(self, value: str, replacement: str, *, everything: bool, limit: int) -> str:
        """`${X/p/r}`, `${X//p/r}`: the leftmost match, there the longest."""
        parts: list[str] = []
        at = done = size = 0
        previous = -1
        while at <= len(value):
            end = self._match_at(value, at)
            # As with Go, an empty match right behind a match does not count.
            if end < 0 or (end == at and at == previous):
                at += 1
                continue
            parts += (value[done:at], replacement)
            size += at - done + len(replacement)
            if size > limit:
                raise PatternError(f"the result is longer than {limit} characters")
            done = previous = end
            at = end + 1 if end == at else end
            if not everything:
                break
        return "".join((*parts, value[done:]))

    def _match_at(self, value: str, at: int) -> int:
        if self._literal is not None:
            if not self._literal:
                return at
            found = value.startswith(self._literal, at)
            self._spend(1)
            return at + len(self._literal) if found else -1
        return self._match(self._forward, value, at, longest=True)

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise PatternError("patterns take too long for such values")

    def _match(self, program: Program, value: str, at: int, *, longest: bool) -> int:
        """Where a match that begins at `at` ends; -1 when there is none.

        Bit n of `places` says that the first n tokens have been matched.
        """
        masks, stars, ones, accept = program
        places = _beyond_stars(1, stars)
        found = at if places & accept else -1
        if found >= 0 and not longest:
            return found
        while at < len(value) and places:
            one = value[at]
            at += 1
            self._spend(self._weight)
            wild = 0 if one == "\n" else ones
            places = (places & (masks.get(one, 0) | wild)) << 1 | (0 if one == "\n" else places & stars)
            places = _beyond_stars(places, stars)
            if places & accept:
                found = at
                if not longest:
                    break
        return found


def _program(tokens: tuple[tuple[str, str], ...]) -> Program:
    masks: dict[str, int] = {}
    stars = ones = 0
    for number, (kind, one) in enumerate(tokens):
        if kind == _STAR:
            stars |= 1 << number
        elif kind == _ONE:
            ones |= 1 << number
        else:
            masks[one] = masks.get(one, 0) | 1 << number
    return masks, stars, ones, 1 << len(tokens)


def _beyond_stars(places: int, stars: int) -> int:
    """A star may also match nothing."""
    while new := (places & stars) << 1 & ~places:
        places |= new
    return places


def _tokens(pattern: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    letters = iter(pattern)
    for one in letters:
        if one == "*":
            if not tokens or tokens[-1][0] != _STAR:
                tokens.append((_STAR, ""))
            continue
        if one == "?":
            tokens.append((_ONE, ""))
            continue
        if one == "\\":
            # `}` and `/` had to be escaped to stand inside `${}`; the escape is no part of the pattern.
            one = next(letters, "")
            if one not in ("*", "?", "\\", "}", "/") or not one:
                raise PatternError(f"invalid escape '\\{one}'")
        tokens.append(("", one))
    return tokens
