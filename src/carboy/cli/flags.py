"""Command-line flags by pflag's rules, from tables: what Docker's users' fingers know.

    --name value   --name=value   -n value   -nvalue   -n=value   -it (booleans combined)
    --bool   --bool=false   -- (the rest are arguments)   repeated lists

A table row is `(name, short, kind, help)`; kinds: `bool`, `string`, `int`, `list`, and
`no` for Docker's flags that this engine does not know yet (refused by a clear message,
with the number of values of the kind after it, as in `no:bool`).  argparse costs 10 ms to
import, which is more than this whole program may take.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = tuple[str, str, str, str]
    Table = tuple[Row, ...]

HELP: Row = ("help", "", "bool", "Show this help")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class UsageError(InvalidArgument):
    """The command line itself is wrong; `exit_code` is what Docker exits with."""

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Parsed:
    """What a command line said: arguments, and flags by name."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}

    def given(self, name: str) -> bool:
        """Whether the flag appeared at all."""
        return name in self.values or name in self.lists

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean."""
        value = self.values.get(name)
        return default if value is None else value == "true"

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return self.values.get(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """An integer."""
        value = self.values.get(name)
        return default if value is None else int(value)

    def list(self, name: str) -> list[str]:
        """Every value of a repeated flag."""
        return self.lists.get(name, [])


def parse(table: Table, unsafe_arguments: list[str], *, interspersed: bool = True) -> Parsed:
    """Parse arguments; without `interspersed` the first argument ends the flags (run, exec)."""
    return _Parser(table, interspersed=interspersed).parse(unsafe_arguments)


class _Parser:
    def __init__(self, table: Table, *, interspersed: bool) -> None:
        self.interspersed = interspersed
        self.names = {row[0]: row for row in table}
        self.names["help"] = HELP
        self.shorts = {row[1]: row for row in table if row[1]}
        self.result = Parsed()
        self.waiting: list[str] = []

    def parse(self, unsafe_arguments: list[str]) -> Parsed:
        self.waiting = unsafe_arguments[::-1]
        arguments = self.result.arguments
        while self.waiting:
            item = self.waiting.pop()
            if item == "--":
                arguments.extend(self.waiting[::-1])
                break
            if item[:2] == "--":
                self._long(item)
            elif item[:1] == "-" and len(item) > 1:
                self._short(item)
            else:
                arguments.append(item)
                if not self.interspersed:
                    arguments.extend(self.waiting[::-1])
                    break
        return self.result

    def _long(self, item: str) -> None:
        name, equals, value = item[2:].partition("=")
        row = self.names.get(name)
        if row is None:
            raise UsageError(f"unknown flag: --{name}" + suggestion(name, self.names))
        self._take(row, "--" + name, value if equals else None)

    def _short(self, item: str) -> None:
        letters = item[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            row = self.shorts.get(letter)
            if row is None and letter == "h":
                row = HELP
            if row is None:
                raise UsageError(f"unknown shorthand flag: {letter!r} in {item}")
            if letters[:1] == "=":
                self._take(row, "-" + letter, letters[1:])
                return
            if row[2] in ("bool", "no:bool"):
                self._take(row, "-" + letter, None)
                continue
            self._take(row, "-" + letter, letters or None)
            return

    def _take(self, row: Row, shown: str, value: str | None) -> None:
        name, _short, kind, _help = row
        if kind[:2] == "no":
            raise UsageError(f"{shown} is not supported by Carboy yet: leave it out")
        if kind == "bool":
            self.result.values[name] = _boolean(row, value)
            return
        if value is None:
            if not self.waiting:
                raise UsageError(f"flag needs an argument: {shown}")
            value = self.waiting.pop()
        if kind == "list":
            self.result.lists.setdefault(name, []).append(value)
            return
        if kind == "int":
            _check_integer(row, value)
        self.result.values[name] = value


def _boolean(row: Row, value: str | None) -> str:
    if value is None or value in _TRUE:
        return "true"
    if value in _FALSE:
        return "false"
    raise UsageError(f"{invalid(row, value)}: write true or false")


def _check_integer(row: Row, value: str) -> None:
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise UsageError(f"{invalid(row, value)}: write a whole number")


def invalid(row: Row, value: str) -> str:
    """Docker's words for a flag's value that is not valid."""
    name = f"-{row[1]}, --{row[0]}" if row[1] else f"--{row[0]}"
    return f'invalid argument "{value}" for "{name}" flag'


def suggestion(word: str, known: dict[str, Row] | tuple[str, ...]) -> str:
    """ " (did you mean --x?)" for the nearest known word, or nothing."""
    dashes = "--" if isinstance(known, dict) else ""
    best, best_distance = "", max(len(word) // 3, 2) + 1
    for name in known:
        if abs(len(name) - len(word)) < best_distance:
            distance = _distance(word, name)
            if distance < best_distance:
                best, best_distance = name, distance
    return f" (did you mean {dashes}{best}?)" if best else ""


def _distance(a: str, b: str) -> int:
    """Levenshtein's edit distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]
