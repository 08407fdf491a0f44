"""The query of a request, read with Docker's leniency for booleans and strictness for numbers."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.filters import Filters

_FALSE = frozenset({"", "0", "no", "false", "none"})

MAX_FIELDS = 1024


class Query:
    """Values by name; the first one counts unless `all` is asked for."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def parse(cls, unsafe_text: str) -> Query:
        """Read what follows the `?`; raises InvalidArgument."""
        if not unsafe_text:
            return cls()
        try:
            return cls(parse_qsl(unsafe_text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError as error:
            raise InvalidArgument(f"invalid query: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The value, or `default`."""
        return self._values[name][0] if name in self._values else default

    def optional(self, name: str) -> str | None:
        """The value, or None when it is absent or empty."""
        return self.text(name) or None

    def all(self, name: str) -> list[str]:
        """Every value."""
        return list(self._values.get(name, ()))

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """True for everything but `0`, `no`, `false`, `none` and nothing."""
        if name not in self._values:
            return default
        return self._values[name][0].strip().lower() not in _FALSE

    def integer(self, name: str) -> int | None:
        """The number, or None when it is absent or empty; raises InvalidArgument."""
        value = self.text(name).strip()
        if not value:
            return None
        digits = value[1:] if value[0] in "+-" else value
        if not (digits.isdecimal() and digits.isascii() and len(digits) <= 18):
            raise InvalidArgument(f"invalid value of {name}: {value[:80]!r} is not a whole number")
        return int(value)

    def positive(self, name: str) -> int:
        """A number that must be there, from 0 to 65535 (rows, columns)."""
        value = self.integer(name)
        if value is None or not 0 <= value <= 0xFFFF:
            raise InvalidArgument(f"invalid value of {name}: it must be a number from 0 to 65535")
        return value

    def filters(self) -> Filters:
        """The `filters`."""
        return Filters.parse(self.text("filters"))
