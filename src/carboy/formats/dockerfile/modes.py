"""Values of `--chmod`: octal (`755`, `0644`) and symbolic (`u=rwX,go=rX`, `+x`), as chmod(1) has them.

A symbolic mode changes what a file has, so it is kept as clauses that are applied to each file.
"""

from __future__ import annotations

import msgspec

from carboy.errors import InvalidArgument

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_COPIES = {"u": 6, "g": 3, "o": 0}


class ModeError(InvalidArgument):
    """A mode that chmod would not take either."""


class Clause(msgspec.Struct, frozen=True):
    """`who operator permissions`."""

    who: int
    """The bits that may change."""
    operator: str
    permissions: str
    """Of rwxXst, or one of ugo: what that one has now."""


class Mode(msgspec.Struct, frozen=True):
    """A mode to set, or changes to make."""

    octal: int | None = None
    clauses: tuple[Clause, ...] = ()

    def applied(self, mode: int, *, is_directory: bool) -> int:
        """The permission bits of a file that has `mode`."""
        if self.octal is not None:
            return self.octal
        for clause in self.clauses:
            bits = _permissions(clause.permissions, mode, is_directory=is_directory) & clause.who
            match clause.operator:
                case "+":
                    mode |= bits
                case "-":
                    mode &= ~bits
                case _:
                    # As chmod: the set-id bits of a directory stay unless they are named.
                    kept = 0o6000 if is_directory and "s" not in clause.permissions else 0
                    mode = mode & ~(clause.who & ~kept) | bits
        return mode & 0o7777


def _permissions(letters: str, mode: int, *, is_directory: bool) -> int:
    if letters in _COPIES and letters:
        return (mode >> _COPIES[letters] & 7) * 0o111
    bits = 0
    for letter in letters:
        if letter == "X":
            bits |= 0o111 if is_directory or mode & 0o111 else 0
        else:
            bits |= _BITS[letter]
    return bits


def read_mode(unsafe_text: str) -> Mode:
    """Read a `--chmod` whose variables are replaced; raises ModeError."""
    if unsafe_text.isascii() and unsafe_text.isdigit():
        if len(unsafe_text) > 10 or set(unsafe_text) - set("01234567") or int(unsafe_text, 8) > 0o7777:
            raise _wrong(unsafe_text)
        return Mode(int(unsafe_text, 8))
    clauses: list[Clause] = []
    for part in unsafe_text.split(","):
        clauses += _clauses(part, unsafe_text)
    return Mode(None, tuple(clauses))


def _clauses(part: str, whole: str) -> list[Clause]:
    rest = part.lstrip("ugoa")
    who = 0
    for letter in part[: len(part) - len(rest)] or "a":
        who |= _WHO[letter]
    found = []
    while rest:
        operator, rest = rest[0], rest[1:]
        tail = rest.lstrip("rwxXst") if rest[:1] not in ("u", "g", "o") or not rest else rest[1:]
        permissions = rest[: len(rest) - len(tail)]
        if operator not in "+-=":
            raise _wrong(whole)
        found.append(Clause(who, operator, permissions))
        rest = tail
    if not found:
        raise _wrong(whole)
    return found


def _wrong(unsafe_text: str) -> ModeError:
    return ModeError(
        f"invalid chmod parameter: '{unsafe_text}'. "
        "it should be octal string and between 0 and 07777, or symbolic like u=rwX,go=rX"
    )
