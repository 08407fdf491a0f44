"""The functions of `--format` templates, and how Go prints values."""

from __future__ import annotations

from carboy.client import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Value = Any


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
    if isinstance(value, dict):
        return "{" + ",".join(f"{document.scalar(key)}:{to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(to_json(item) for item in value) + "]"
    return document.scalar(value)


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
    if verb in "svt":
        return f"%{flags}s" % show(value)
    return f"%!{verb}({show(value)})"


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


def _title(text: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "json": to_json,
    "index": _index,
    "join": lambda items, separator: separator.join(show(item) for item in items or ()),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": _title,
    "len": lambda value: len(value if value is not None else ()),
    "truncate": lambda text, count: text[:count],
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "print": lambda *values: "".join(show(value) for value in values),
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
