"""--mount: every type and key of Docker's, checked where Docker's command checks."""

from __future__ import annotations

import os

from carboy.cli.units import parse_size
from carboy.cli.values import bad, boolean, csv
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json

_ALONE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")
_RECURSIVE = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}
_GROUPS = (
    ("VolumeOptions", "volume"),
    ("ImageOptions", "image"),
    ("BindOptions", "bind"),
    ("TmpfsOptions", "tmpfs"),
)


def mount(text: str) -> Json:
    """One --mount; fields are separated by commas, quoted as in CSV when they hold one."""
    result: Json = {"Type": "volume"}
    for field in csv(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals and key in _ALONE:
            value = "true"
        elif not equals:
            raise bad("--mount", text, f"invalid field '{field}' must be a key=value pair")
        try:
            _take(result, key, value, field)
        except ValueError as error:
            raise bad("--mount", text, f"invalid value for {key}: {value}") from error
        except InvalidArgument as error:
            raise bad("--mount", text, str(error)) from error
    _check(result, text)
    return result


def _take(result: Json, key: str, value: str, field: str) -> None:
    def options(name: str) -> Json:
        found: Json = result.setdefault(name, {})
        return found

    match key:
        case "type":
            result["Type"] = value.lower()
        case "source" | "src":
            result["Source"] = os.path.abspath(value) if value == "." or value.startswith("./") else value
        case "target" | "dst" | "destination":
            result["Target"] = value
        case "readonly" | "ro":
            result["ReadOnly"] = boolean(value)
        case "consistency":
            result["Consistency"] = value.lower()
        case "bind-propagation":
            options("BindOptions")["Propagation"] = value.lower()
        case "bind-nonrecursive":
            options("BindOptions")["NonRecursive"] = boolean(value)
        case "bind-recursive":
            if value not in _RECURSIVE:
                raise InvalidArgument(
                    f"invalid value for {key}: {value}"
                    ' (must be "enabled", "disabled", "writable", or "readonly")'
                )
            if _RECURSIVE[value]:
                options("BindOptions")[_RECURSIVE[value]] = True
        case "bind-create-src" | "bind-create-mountpoint":
            options("BindOptions")["CreateMountpoint"] = boolean(value)
        case "volume-subpath":
            options("VolumeOptions")["Subpath"] = value
        case "volume-nocopy":
            options("VolumeOptions")["NoCopy"] = boolean(value)
        case "volume-label":
            _pair(options("VolumeOptions").setdefault("Labels", {}), value)
        case "volume-driver":
            options("VolumeOptions").setdefault("DriverConfig", {})["Name"] = value
        case "volume-opt":
            driver: Json = options("VolumeOptions").setdefault("DriverConfig", {})
            _pair(driver.setdefault("Options", {}), value)
        case "image-subpath":
            options("ImageOptions")["Subpath"] = value
        case "tmpfs-size":
            options("TmpfsOptions")["SizeBytes"] = _size(value)
        case "tmpfs-mode":
            options("TmpfsOptions")["Mode"] = int(value, 8)
        case "tmpfs-opt":
            options("TmpfsOptions").setdefault("Options", []).append(value.split("=", 1))
        case _:
            raise InvalidArgument(f"unexpected key '{key}' in '{field}'")


def _size(text: str) -> int:
    try:
        return parse_size(text, "size")
    except InvalidArgument as error:
        raise ValueError(text) from error


def _pair(target: dict[str, str], text: str) -> None:
    name, _, value = text.partition("=")
    if name:
        target[name] = value


def _check(result: Json, text: str) -> None:
    kind = result["Type"]
    if not kind:
        raise bad("--mount", text, "type is required")
    if not result.get("Target"):
        raise bad("--mount", text, "target is required")
    for name, group in _GROUPS:
        if name in result and kind != group:
            raise bad("--mount", text, f"cannot mix '{group}-*' options with mount type '{kind}'")
    bind = result.get("BindOptions", {})
    for name, word in (("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")):
        if bind.get(name) and not result.get("ReadOnly"):
            raise bad(
                "--mount",
                text,
                f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction",
            )
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise bad(
            "--mount",
            text,
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate'"
            " to be specified in conjunction",
        )
