"""The functions of `--format` templates, and how Go prints values."""

from __future__ import annotations

from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Value = Any


class Nil:
    """A nil pointer: shown so, and false."""

    def __str__(self) -> str:
        return "<nil>"

    def __bool__(self) -> bool:
        return False


class NilList(list[str]):
    """A list that is not there: empty, and null in JSON."""


class NilMap(dict[str, str]):
    """A mapping that is not there: empty, and null in JSON."""


NIL, NIL_LIST, NIL_MAP = Nil(), NilList(), NilMap()


def show(value: Value) -> str:
    """A value as Go's fmt prints it with %v."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def truth(value: Value) -> bool:
    """Go's idea of truth: everything but the zero value."""
    return bool(value)


def to_json(value: Value) -> str:
    """Compact JSON as Go writes it: <, > and & escaped only by the browser's needs, so not here."""
    if isinstance(value, Nil | NilList | NilMap):
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join(f"{document.scalar(key)}:{to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(to_json(item) for item in value) + "]"
    return document.scalar(value)


def call(name: str, method: Callable[[str], str], arguments: list[Value]) -> str:
    """What a method with one argument answers; TypeError, in Go's words, when it is given another."""
    if len(arguments) != 1:
        raise TypeError(f"wrong number of args for {name}: want 1 got {len(arguments)}")
    if not isinstance(arguments[0], str):
        raise TypeError(f"wrong type for value; expected string; got {_type_name(arguments[0])}")
    return method(arguments[0])


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, list | str) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        elif value is None:
            raise ValueError("index of untyped nil")
        else:
            raise IndexError(f"index out of range: {show(key)}")
    return value


def _printf(pattern: str, *arguments: Value) -> str:
    out, position, waiting = "", 0, list(arguments)
    while position < len(pattern):
        if pattern[position] != "%":
            out += pattern[position]
            position += 1
            continue
        end = position + 1
        while end < len(pattern) and pattern[end] in "-+# 0123456789.":
            end += 1
        verb, flags = pattern[end : end + 1], pattern[position + 1 : end].replace("#", "")
        position = end + 1
        if verb == "%":
            out += "%"
        elif not waiting:
            out += f"%!{verb}(MISSING)"
        else:
            out += _verb(flags, verb, waiting.pop(0))
    return out


def _verb(flags: str, verb: str, value: Value) -> str:
    if verb in "dxXofeg" and isinstance(value, int | float) and not isinstance(value, bool):
        return f"%{flags}{verb}" % (int(value) if verb in "dxXo" else value)
    if verb == "q":
        return f"%{flags}s" % document.scalar(show(value))
    if verb == "T":
        return f"%{flags}s" % _type_name(value)
    if verb == "v" or (verb == "s" and not isinstance(value, int | float)) or isinstance(value, bool):
        return f"%{flags}s" % show(value)
    return f"%!{verb}({_type_name(value)}={show(value)})"


def _type_name(value: Value) -> str:
    """Go's name for a value's type, as far as JSON tells it."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {bool: "bool", str: "string", int: "int", float: "float64"}.get(type(value), "<nil>")


def _compare(test: Callable[[Value, Value], bool]) -> Callable[..., bool]:
    return lambda first, *others: any(test(first, other) for other in others)


def _and(*values: Value) -> Value:
    for value in values:
        if not truth(value):
            return value
    return values[-1]


def _or(*values: Value) -> Value:
    for value in values:
        if truth(value):
            return value
    return values[-1]


def _slice(value: Value, start: int = 0, end: int | None = None) -> Value:
    return value[start : len(value) if end is None else end]


def _print(*values: Value) -> str:
    """Go's Sprint: a space between two neighbours that are no strings."""
    out = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            out += " "
        out += show(value)
    return out


_HTML = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&#34;",
    "'": "&#39;",
    "\0": "\N{REPLACEMENT CHARACTER}",
}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _percent(byte: int) -> str:
    letter = chr(byte)
    plain = byte < 128 and (letter.isalnum() or letter in "-_.~")
    return letter if plain else "+" if letter == " " else f"%{byte:02X}"


def _title(text: str) -> str:
    """Capitals after everything that is no letter, digit or underscore, as Go's strings.Title."""
    before = " " + text
    return "".join(
        letter if previous.isalnum() or previous == "_" else letter.upper()
        for previous, letter in zip(before, text, strict=False)
    )


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "json": to_json,
    "index": _index,
    "join": lambda items, separator: separator.join(show(item) for item in items or ()),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": _title,
    "len": lambda value: len(
        value.encode() if isinstance(value, str) else value if value is not None else ()
    ),
    "truncate": lambda text, count: text[:count],
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "print": _print,
    "html": lambda text: "".join(_HTML.get(letter, letter) for letter in show(text)),
    "js": lambda text: "".join(_JS.get(letter, letter) for letter in show(text)),
    "urlquery": lambda text: "".join(map(_percent, show(text).encode())),
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "printf": _printf,
    "eq": _compare(lambda a, b: a == b),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": _and,
    "or": _or,
    "not": lambda value: not truth(value),
    "slice": _slice,
}

HEADER_FUNCTIONS: dict[str, Callable[..., Value]] = {
    **FUNCTIONS,
    **dict.fromkeys(("json", "lower", "upper", "title"), lambda text: text),
    "truncate": lambda text, _count: text,
}
"""In a table's header, where a field is its name."""
