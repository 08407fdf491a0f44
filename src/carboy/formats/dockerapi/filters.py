"""Filters: the query of listings, events and prunes, with Docker's rules for matching.

Two wire forms: `{"label": {"a=b": true}}` (since API 1.22) and `{"label": ["a=b"]}`.
A filter's values are alternatives, except where a method says that all must hold.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.linearpattern import Pattern

_decoder = msgspec.json.Decoder(dict[str, dict[str, bool] | list[str]])

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Filters:
    """Values by filter name; an empty one matches everything."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Iterable[str]] | None = None) -> None:
        self._values = {name: list(dict.fromkeys(some)) for name, some in (values or {}).items()}

    @classmethod
    def parse(cls, unsafe_text: str) -> "Filters":
        """Read the `filters` of a query, in either form; raises InvalidArgument."""
        if not unsafe_text:
            return cls()
        try:
            document = _decoder.decode(unsafe_text)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            raise InvalidArgument(f"invalid filter: {error}") from error
        return cls(
            {
                name: [value for value, wanted in values.items() if wanted]
                if isinstance(values, dict)
                else values
                for name, values in document.items()
            }
        )

    def __bool__(self) -> bool:
        return any(self._values.values())

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def __repr__(self) -> str:
        return f"Filters({self._values!r})"

    def names(self) -> list[str]:
        """The filters that are present."""
        return [name for name, values in self._values.items() if values]

    def get(self, name: str) -> list[str]:
        """The values of one filter, empty when it is absent."""
        return self._values.get(name, [])

    def having(self, name: str, value: str) -> "Filters":
        """The same with one more value."""
        return Filters({**self._values, name: [*self.get(name), value]})

    def require_known(self, known: Iterable[str]) -> None:
        """Refuse a filter that the endpoint does not have."""
        for name in self._values:
            if name not in known:
                raise InvalidArgument(f"invalid filter '{name[:100]}'")

    def boolean(self, name: str, *, default: bool) -> bool:
        """A filter that is true or false (`dangling`, `all`)."""
        values = self.get(name)
        if not values:
            return default
        given = {value in _TRUE for value in values if value in _TRUE or value in _FALSE}
        if len(given) != 1 or not all(value in _TRUE or value in _FALSE for value in values):
            raise InvalidArgument(f"invalid filter '{name}=[{' '.join(values)[:100]}]'")
        return given.pop()

    def exact(self, name: str, value: str) -> bool:
        """Absent, or `value` is one of its values."""
        values = self.get(name)
        return not values or value in values

    def any_of(self, name: str, candidates: Iterable[str]) -> bool:
        """Absent, or one of the candidates is one of its values."""
        values = self.get(name)
        return not values or any(one in values for one in candidates)

    def prefix(self, name: str, value: str) -> bool:
        """Absent, or one of its values begins `value`: how ids and event actions are matched."""
        values = self.get(name)
        return not values or any(value.startswith(one) for one in values)

    def pattern(self, name: str, value: str) -> bool:
        """Absent, or one of its values is, or as a regular expression is found in, `value`: names."""
        values = self.get(name)
        return not values or any(_found(one, value) for one in values)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """Every value holds: `key` or `key=value`."""
        return all(_has_label(one, labels) for one in self.get(name))

    def without_labels(self, labels: Mapping[str, str], name: str = "label!") -> bool:
        """No value holds: the prunes' `label!`."""
        return not any(_has_label(one, labels) for one in self.get(name))


def _has_label(wanted: str, labels: Mapping[str, str]) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _found(pattern: str, value: str) -> bool:
    if pattern == value:
        return True
    if pattern.replace("-", "").replace("_", "").isalnum():  # plain text: the usual case
        return pattern in value
    try:
        return compiled(pattern).found_in(value)
    except InvalidArgument:
        return False


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """A client's pattern, kept: a listing asks for every object."""
    return Pattern(pattern)
