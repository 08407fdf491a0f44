"""The wildcards of COPY's and ADD's sources: Go's filepath.Match, a name at a time, in bounded time.

`*` any run of characters, `?` one, `[a-z]` and `[^a-z]` one of a class, a backslash takes the next as it is.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument


def has_wildcards(pattern: str) -> bool:
    """Whether anything in it stands for more than itself."""
    at = 0
    while at < len(pattern):
        if pattern[at] in "*?[":
            return True
        at += 1 + (pattern[at] == "\\")
    return False


class Glob:
    """One name's pattern."""

    __slots__ = ("_items", "pattern")

    def __init__(self, unsafe_pattern: str) -> None:
        self.pattern = unsafe_pattern
        self._items = _compile(unsafe_pattern)

    def matches(self, name: str) -> bool:
        """Whether the whole name is one that the pattern means."""
        items, at, place = self._items, 0, 0
        star, resume = -1, 0
        # Only the last star ever needs to take more: earlier ones have done their part.
        while at < len(name):
            item = items[place] if place < len(items) else None
            if item is None and place < len(items):
                star, resume = place, at
                place += 1
            elif item is not None and item.accepts(name[at]):
                at += 1
                place += 1
            elif star >= 0:
                resume += 1
                at, place = resume, star + 1
            else:
                return False
        return all(item is None for item in items[place:])


class _One:
    """A character that is one of some, or is not."""

    __slots__ = ("_negated", "_ranges")

    def __init__(self, ranges: list[tuple[str, str]], *, negated: bool = False) -> None:
        self._ranges = ranges
        self._negated = negated

    def accepts(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self._ranges) != self._negated


def _compile(pattern: str) -> list[_One | None]:
    """Items in order; None is a star."""
    items: list[_One | None] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            if not items or items[-1] is not None:
                items.append(None)
        elif letter == "?":
            items.append(_One([("\0", "\U0010ffff")]))
        elif letter == "[":
            item, at = _class(pattern, at)
            items.append(item)
        else:
            letter, at = _letter(pattern, at - 1)
            items.append(_One([(letter, letter)]))
    return items


def _class(pattern: str, at: int) -> tuple[_One, int]:
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", at)):
        if pattern[at : at + 1] in ("", "-", "]"):
            raise _bad(pattern)
        low, at = _letter(pattern, at)
        high = low
        if pattern.startswith("-", at):
            if pattern[at + 1 : at + 2] in ("", "-", "]"):
                raise _bad(pattern)
            high, at = _letter(pattern, at + 1)
        ranges.append((low, high))
    return _One(ranges, negated=negated), at + 1


def _letter(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at] == "\\":
        at += 1
        if at == len(pattern):
            raise _bad(pattern)
    return pattern[at], at + 1


def _bad(pattern: str) -> InvalidArgument:
    return InvalidArgument(
        f'syntax error in pattern "{pattern[:200]}": a class [...] is open or empty, or a backslash ends it'
    )
