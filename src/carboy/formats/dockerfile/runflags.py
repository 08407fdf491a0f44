"""The flags of RUN that have a language of their own: `--mount` and `--device`.

--mount=type=cache,target=/root/.cache,id=pip,sharing=locked
        fields, separated by commas as in CSV; `type=bind` when none is said
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.source import suggestion

MOUNT_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
MOUNT_KEYS = (
    "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw",
    "id", "sharing", "required", "mode", "uid", "gid", "size", "env",
)  # fmt: skip

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_MAX_SIZE = (1 << 63) - 1

Expander = Callable[[str], str]


class FlagError(InvalidArgument):
    """A flag's value that means nothing; the caller knows where it stands."""


class MountFlag(msgspec.Struct, frozen=True):
    """A `--mount` as written: variables may still be in it."""

    fields: tuple[tuple[str, str | None], ...]
    """(key in small letters, value or None), in order."""

    def value(self, key: str) -> str:
        """The last value of a key as written; empty when it is not there."""
        return next((value for name, value in reversed(self.fields) if name == key and value), "")

    @property
    def origin(self) -> str:
        """`from=`: a stage, an image or a named context.  Never holds a variable."""
        return self.value("from")

    @property
    def has_variables(self) -> bool:
        """Whether what it means depends on ARG and ENV."""
        return any(value is not None and "$" in value for _, value in self.fields)


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A `--mount` as it is meant."""

    type: str = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = True
    id: str = ""
    sharing: str = ""
    """Of a cache: shared (when empty, too), private or locked."""
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int = 0
    """Bytes of a tmpfs, 0 for no bound."""
    env: str = ""
    """The variable that a secret comes in."""


class Device(msgspec.Struct, frozen=True):
    """A `--device`: a CDI name."""

    name: str
    required: bool = False


def read_mount(unsafe_text: str) -> MountFlag:
    """Split a `--mount`; what its fields mean is seen when it is resolved."""
    fields = []
    for field in split_csv(unsafe_text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key == "from" and "$" in value[:-1]:
            raise FlagError("'from' doesn't support variable expansion, define alias stage instead")
        fields.append((key, value if equals else None))
    return MountFlag(tuple(fields))


def resolve_mount(flag: MountFlag, expand: Expander = str) -> Mount:
    """What a mount means once its variables are replaced; raises FlagError."""
    found: dict[str, str | int | bool] = {"type": "bind"}
    for key, written in flag.fields:
        if written is None:
            _bare(key, found)
            continue
        _keyed(key, written if key == "from" else expand(written), found)
    return _checked(found)


def _bare(key: str, found: dict[str, str | int | bool]) -> None:
    match key:
        case "readonly" | "ro":
            found["readonly"] = True
        case "readwrite" | "rw":
            found["readonly"] = False
        case "required" if found["type"] in ("secret", "ssh"):
            found["required"] = True
        case "required":
            raise FlagError(f"unexpected key 'required' for mount type '{found['type']}'")
        case _:
            raise FlagError(f"invalid field '{key}' must be a key=value pair{suggestion(key, MOUNT_KEYS)}")


def _keyed(key: str, value: str, found: dict[str, str | int | bool]) -> None:
    kind = found["type"]
    match key:
        case "type":
            if value.lower() not in MOUNT_TYPES:
                raise FlagError(f'unsupported mount type "{value}"{suggestion(value, MOUNT_TYPES)}')
            found["type"] = value.lower()
        case "from":
            found["origin"] = value
        case "source" | "src":
            found["source"] = value
        case "target" | "dst" | "destination":
            found["target"] = value
        case "readonly" | "ro":
            found["readonly"] = read_bool(key, value)
        case "readwrite" | "rw":
            found["readonly"] = not read_bool(key, value)
        case "required" if kind in ("secret", "ssh"):
            found["required"] = read_bool(key, value)
        case "size" if kind == "tmpfs":
            found["size"] = read_size(key, value)
        case "env" if kind == "secret":
            found["env"] = value
        case "required" | "size" | "env":
            raise FlagError(f"unexpected key '{key}' for mount type '{kind}'")
        case "id":
            found["id"] = value
        case "sharing":
            if value.lower() not in SHARING:
                raise FlagError(f'unsupported sharing value "{value}"{suggestion(value, SHARING)}')
            found["sharing"] = value.lower()
        case "mode" | "uid" | "gid":
            found[key] = _number(key, value, 8 if key == "mode" else 10)
        case _:
            raise FlagError(f"unexpected key '{key}' in '{key}={value}'{suggestion(key, MOUNT_KEYS)}")


def _checked(found: dict[str, str | int | bool]) -> Mount:
    kind = found["type"]
    for key in ("mode", "uid", "gid"):
        if key in found and kind not in ("secret", "ssh", "cache"):
            raise FlagError(f'{key} not allowed for "{kind}" type mounts')
    found.setdefault("readonly", kind not in ("cache", "tmpfs"))
    mount = msgspec.convert(found, Mount)
    if kind == "secret":
        if mount.origin:
            raise FlagError("secret mount should not have a from")
        if mount.sharing:
            raise FlagError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise FlagError("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise FlagError("both source and id can't be set")
    elif kind in ("bind", "cache", "tmpfs") and not mount.target:
        raise FlagError(f"{kind} mount needs a target: say target=/path")
    if mount.sharing and kind != "cache":
        raise FlagError(f"invalid cache sharing set for {kind} mount")
    return mount


def read_device(unsafe_text: str) -> Device:
    """Read a `--device`."""
    name, required = "", False
    for field in split_csv(unsafe_text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key == "required":
            required = read_bool(key, value) if equals else True
        elif key == "name" and equals:
            if name:
                raise FlagError(f"device name already set to {name}")
            name = value
        elif not name:
            name = field  # a CDI name holds an equals sign itself: vendor/class=name
        elif not equals:
            raise FlagError(f"invalid field '{field}' must be a key=value pair")
        else:
            raise FlagError(f"unexpected key '{key}' in '{field}'{suggestion(key, ('name', 'required'))}")
    return Device(name, required)


def split_csv(unsafe_text: str) -> list[str]:
    """The fields of one CSV record."""
    if '"' not in unsafe_text:
        return unsafe_text.split(",")
    fields, rest = [], unsafe_text
    while True:
        if not rest.startswith('"'):
            field, comma, rest = rest.partition(",")
            if '"' in field:
                raise FlagError(f'bare " in non-quoted field {field}')
        else:
            end = 1
            while (end := rest.find('"', end)) >= 0 and rest[end + 1 : end + 2] == '"':
                end += 2
            if end < 0 or rest[end + 1 : end + 2] not in ("", ","):
                raise FlagError(f'extraneous or missing " in quoted field {rest}')
            field = rest[1:end].replace('""', '"')
            comma, rest = rest[end + 1 : end + 2], rest[end + 2 :]
        fields.append(field)
        if not comma:
            return fields


def read_bool(key: str, value: str) -> bool:
    """What Go's ParseBool takes."""
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise FlagError(f"invalid value for {key}: {value}")


def read_size(key: str, value: str) -> int:
    """Bytes: `64m`, `1.5GiB`, a number."""
    text = value.lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(digits) :].strip()
    unit = (
        unit.removesuffix("ib")
        if unit.endswith("ib")
        else unit[0] + unit[1:].removesuffix("b")
        if unit
        else ""
    )
    plain = digits.replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit()) or unit not in _UNITS or len(digits) > 20:
        raise FlagError(f"invalid value for {key}: {value}")
    size = int(float(digits) * _UNITS[unit]) if "." in digits else int(digits) * _UNITS[unit]
    if size > _MAX_SIZE:
        raise FlagError(f"invalid value for {key}: {value}")
    return size


def _number(key: str, value: str, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    if not value or set(value) - set(digits) or len(value) > 12 or int(value, base) >= 1 << 32:
        raise FlagError(f"invalid value {value} for {key}")
    return int(value, base)
