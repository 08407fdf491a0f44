"""Flags as runc reads them: before the first argument, `--name value`, `--name=value`, `-n value`."""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    Table = dict[str, tuple[str, str, str]]
    """Name: (short form, kind, help); kinds are bool, text, number, size and list."""

SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Flags:
    """What was given, by name."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}

    def flag(self, name: str) -> bool:
        """A bool."""
        return self.values.get(name, ["false"])[-1] == "true"

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        return self.values.get(name, [default])[-1]

    def number(self, name: str, default: int = 0) -> int:
        """A number or size."""
        given = self.values.get(name)
        return default if given is None else int(given[-1])

    def texts(self, name: str) -> list[str]:
        """A list."""
        return self.values.get(name, [])

    def given(self, name: str) -> bool:
        """Whether it was there at all."""
        return name in self.values


def parse(arguments: list[str], table: Table) -> tuple[Flags, list[str]]:
    """The flags in front, and what follows them; raises InvalidArgument."""
    flags = Flags()
    shorts = {row[0]: name for name, row in table.items() if row[0]}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            position += 1
            break
        if word == "-" or not word.startswith("-"):
            break
        name, equals, value = word.lstrip("-").partition("=")
        name = shorts.get(name, name)
        if name not in table:
            raise InvalidArgument(f"unknown flag {word!r}: see --help")
        kind = table[name][1]
        position += 1
        if kind == "bool":
            value = _truth(name, value) if equals else "true"
        elif not equals:
            if position == len(arguments):
                raise InvalidArgument(f"flag --{name} needs a value")
            value = arguments[position]
            position += 1
        flags.values.setdefault(name, []).append(_checked(name, kind, value))
    return flags, arguments[position:]


def _truth(name: str, value: str) -> str:
    if value.lower() not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"flag --{name} is true or false, not {value!r}")
    return "true" if value.lower() in ("true", "1") else "false"


def _checked(name: str, kind: str, value: str) -> str:
    if kind == "size":
        return str(_size(name, value))
    if kind == "number":
        try:
            return str(int(value, 10))
        except ValueError as error:
            raise InvalidArgument(f"flag --{name} needs a number, not {value!r}") from error
    return value


def _size(name: str, value: str) -> int:
    digits = value.rstrip("bBkKmMgGtTi")
    unit = value[len(digits) :].lower().replace("ib", "").rstrip("b")
    try:
        return int(digits, 10) * SIZES[unit]
    except (ValueError, KeyError) as error:
        raise InvalidArgument(f"flag --{name} needs a size such as 64m, not {value!r}") from error
