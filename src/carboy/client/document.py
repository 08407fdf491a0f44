"""JSON documents at the lowest price: the C scanner and encoder of `_json`, without `json`.

`import json` costs 8 ms here (it compiles regular expressions), the C functions under it
nothing.  Where they are missing (another Python), `json` itself is used.

Documents from a server are untrusted in shape: read them through `text`, `number`, `flag`,
`child`, `children` and `strings`, which give an empty value for what is absent or of another type.
"""

from __future__ import annotations

from carboy.errors import Corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    JsonValue = None | bool | int | float | str | list[Any] | dict[str, Any]
    Json = dict[str, Any]


class _Context:
    """What `_json.make_scanner` asks of a decoder."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))


def _make_scan() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner

        return make_scanner(_Context)  # type: ignore[arg-type]  # a decoder by its attributes only
    except ImportError:
        import json

        return json.JSONDecoder(strict=False).raw_decode


def _make_encode() -> Callable[[JsonValue], str]:
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
        return lambda value: "".join(encode(value, 0))
    except (ImportError, TypeError):
        import json

        return json.JSONEncoder(separators=(",", ":")).encode


def _refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} is not JSON")


_scan = _make_scan()
_encode = _make_encode()


def decode(data: bytes | str) -> JsonValue:
    """The value of a whole JSON text."""
    value, rest = decode_first(data)
    if rest.strip():
        raise Corrupt(f"the server's reply goes on after its JSON value: {rest[:60]!r}")
    return value


def decode_first(data: bytes | str) -> tuple[JsonValue, str]:
    """The first value of a stream of JSON texts, and what follows it."""
    unsafe_text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    unsafe_text = unsafe_text.lstrip()
    try:
        value, end = _scan(unsafe_text, 0)
    except StopIteration as error:
        raise Corrupt(f"the server's reply is not JSON: {unsafe_text[:80]!r}") from error
    except (ValueError, SystemError) as error:
        # SystemError: the C scanner finds its exception's class only where `json` is imported
        raise Corrupt(f"the server's reply is not JSON: {unsafe_text[:80]!r}") from error
    except RecursionError as error:
        raise Corrupt("the server's reply is nested too deeply") from error
    return value, unsafe_text[end:]


def encode(value: JsonValue) -> bytes:
    """Compact JSON."""
    return _encode(value).encode("utf-8")


def pretty(value: JsonValue, indent: str = "    ", margin: str = "") -> str:
    """Indented JSON, as `inspect` prints it."""
    deeper = margin + indent
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{_encode(key)}: {pretty(item, indent, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + margin + "}"
    if isinstance(value, list) and value:
        lines = [deeper + pretty(item, indent, deeper) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + margin + "]"
    return scalar(value)


def scalar(value: JsonValue) -> str:
    """One value as JSON, with text outside ASCII left readable."""
    if isinstance(value, str) and value.isprintable():
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encode(value)


def text(document: Json, key: str) -> str:
    """A string member, or ""."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def number(document: Json, key: str) -> int:
    """An integer member, or 0."""
    value = document.get(key)
    return int(value) if isinstance(value, int | float) else 0


def flag(document: Json, key: str) -> bool:
    """A boolean member, or False."""
    return document.get(key) is True


def child(document: Json, key: str) -> Json:
    """An object member, or {}."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def children(document: Json, key: str) -> list[Json]:
    """The objects of an array member."""
    return objects(document.get(key))


def strings(document: Json, key: str) -> list[str]:
    """The strings of an array member."""
    value = document.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def objects(value: JsonValue) -> list[Json]:
    """The objects of an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_object(value: JsonValue) -> Json:
    """The value when it is an object."""
    if not isinstance(value, dict):
        raise Corrupt("the server's reply is not a JSON object")
    return value
