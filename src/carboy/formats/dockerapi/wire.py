"""How documents of the Docker Engine API are read and written.

Reading is as tolerant as Docker's (Go's encoding/json), on top of msgspec's strict types:

- a null is the same as an absent field; inside a map or a list it is the zero value;
- field names match exactly, else without regard to case;
- a command (`StrSlice`) may be one string instead of a list;
- unknown fields are ignored, but reported, so that the engine can warn.

Types are classes with snake_case attributes and the wire's own names on the wire; names
that are not plain PascalCase (`OOMKilled`, `IPAddress`) are written out at the field.
"""

from collections.abc import Hashable
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import inspect

from carboy.errors import InvalidArgument

T = TypeVar("T")


class Document(msgspec.Struct, kw_only=True, rename="pascal"):
    """The base of every wire type."""


class Empty(Document):
    """An object without fields: what Go's `map[string]struct{}` holds."""


StrSlice = Annotated[list[str], msgspec.Meta(extra={"string_is_list": True})]
"""A list of words; one plain string stands for a list of one."""

_INT64 = 1 << 63

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(document: object) -> bytes:
    """The JSON of a document, or of a list or map of documents."""
    return _encoder.encode(document)


def decode(unsafe_body: bytes, kind: type[T], *, max_depth: int = 32) -> tuple[T, list[str]]:
    """Read a request's JSON as `kind`: the value, and the paths of the fields that `kind` does not know.

    Raises InvalidArgument, with the path of the offending field, for anything that cannot be read.
    """
    if nesting(unsafe_body) > max_depth:
        raise InvalidArgument(f"invalid JSON: nested deeper than {max_depth} levels")
    try:
        plain = _decoder.decode(unsafe_body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from error
    return from_plain(plain, kind)


def from_plain(plain: object, kind: type[T]) -> tuple[T, list[str]]:
    """Like `decode`, for JSON that has been parsed already."""
    unknown: list[str] = []
    tidy = _plan(cast(Hashable, kind)).tidy(plain, "", unknown)
    try:
        return msgspec.convert(tidy, kind), unknown
    except (msgspec.ValidationError, OverflowError) as error:
        raise InvalidArgument(f"invalid request body: {error}") from error


def nesting(unsafe_body: bytes) -> int:
    """An upper bound of the depth of some JSON, found without parsing it."""
    # A document with few brackets cannot be deep; nearly all end here.
    brackets = unsafe_body.count(b"[") + unsafe_body.count(b"{")
    if brackets <= 16:
        return brackets
    depth = deepest = 0
    in_string = escaped = False
    for byte in unsafe_body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest


class _Plan:
    """How to tidy one type: the base is a scalar, which needs nothing."""

    def __init__(self, zero: object) -> None:
        self._zero = zero

    def zero(self) -> object:
        return self._zero

    def tidy(self, value: Any, _path: str, _unknown: list[str]) -> Any:
        return self.zero() if value is None else value


class _IntegerPlan(_Plan):
    def tidy(self, value: Any, path: str, unknown: list[str]) -> Any:
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise InvalidArgument(f"invalid request body: {path.removesuffix('.')} is beyond 64 bits")
        return super().tidy(value, path, unknown)


class _StructPlan(_Plan):
    def __init__(self, fields: dict[str, _Plan]) -> None:
        super().__init__(None)
        self._fields = fields
        self._folded = {name.lower(): name for name in fields}

    def zero(self) -> object:
        return {}

    def tidy(self, value: Any, path: str, unknown: list[str]) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        tidy: dict[str, Any] = {}
        for key, inner in value.items():
            name = key if key in self._fields else self._folded.get(key.lower())
            if name is None:
                unknown.append(path + key[:100])
            elif inner is not None and (name == key or name not in value):
                tidy[name] = self._fields[name].tidy(inner, f"{path}{name}.", unknown)
        return tidy


class _MapPlan(_Plan):
    def __init__(self, values: _Plan) -> None:
        super().__init__(None)
        self._values = values

    def zero(self) -> object:
        return {}

    def tidy(self, value: Any, path: str, unknown: list[str]) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        return {key: self._values.tidy(inner, f"{path}{key[:100]}.", unknown) for key, inner in value.items()}


class _ListPlan(_Plan):
    def __init__(self, items: _Plan, *, string_is_list: bool) -> None:
        super().__init__(None)
        self._items = items
        self._string_is_list = string_is_list

    def zero(self) -> object:
        return []

    def tidy(self, value: Any, path: str, unknown: list[str]) -> Any:
        if value is None:
            return []
        if self._string_is_list and isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            return value
        return [self._items.tidy(inner, path, unknown) for inner in value]


@cache
def _plan(kind: Hashable) -> _Plan:
    return _plan_of(inspect.type_info(kind))


def _plan_of(info: inspect.Type, *, string_is_list: bool = False) -> _Plan:
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return _plan_of(inner, string_is_list=bool((extra or {}).get("string_is_list")))
        case inspect.UnionType(types=types):
            present = [one for one in types if not isinstance(one, inspect.NoneType | inspect.CustomType)]
            return _plan_of(present[0], string_is_list=string_is_list) if len(present) == 1 else _Plan(None)
        case inspect.StructType(cls=cls, fields=fields):
            return _struct_plan(cls, fields)
        case inspect.DictType(value_type=values):
            return _MapPlan(_plan_of(values))
        case inspect.ListType(item_type=items) | inspect.VarTupleType(item_type=items):
            return _ListPlan(_plan_of(items), string_is_list=string_is_list)
        case inspect.StrType():
            return _Plan("")
        case inspect.BoolType():
            return _Plan(False)
        case inspect.IntType():
            return _IntegerPlan(0)
        case inspect.FloatType():
            return _Plan(0)
        case _:
            return _Plan(None)


def _struct_plan(cls: type, fields: tuple[inspect.Field, ...]) -> _Plan:
    del cls  # no wire type contains itself, so no memory of the classes on the way is needed
    return _StructPlan({one.encode_name: _plan_of(one.type) for one in fields})
