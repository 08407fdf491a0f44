"""Values that flags carry: key=value lists, environment and label files, ulimits, devices, ports, mounts."""

from __future__ import annotations

import os

from carboy.cli.units import parse_size
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.client.document import Json

MAX_TEXT = 4 << 20


def pairs(items: list[str], what: str, *, bare: bool = True) -> dict[str, str]:
    """`["a=b", "c"]` as a mapping; `bare` allows a name alone."""
    result: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or (not equals and not bare):
            raise InvalidArgument(f"invalid {what} {item!r}: write NAME=VALUE")
        result[name] = value
    return result


def environment(items: list[str], files: list[str], ours: Mapping[str, str]) -> list[str]:
    """Variables for the container: files first, then flags; a name alone takes our value, if there is one."""
    result: list[str] = []
    for item in [*(line for path in files for line in read_lines(path)), *items]:
        name, equals, _value = item.partition("=")
        if not name:
            raise InvalidArgument(f"invalid environment variable {item!r}: write NAME=VALUE")
        if equals:
            result.append(item)
        elif name in ours:
            result.append(f"{name}={ours[name]}")
    return result


def read_lines(path: str) -> list[str]:
    """The lines of an environment or label file: comments and empty lines left out."""
    lines = [line.lstrip().rstrip("\r") for line in read_text(path).split("\n")]
    kept = [line for line in lines if line and not line.startswith("#")]
    for line in kept:
        if any(space in line.partition("=")[0] for space in " \t"):
            raise InvalidArgument(f"{path}: the variable name in {line!r} contains a space")
    return kept


def read_text(path: str) -> str:
    """A small text file of the user's; bytes that are no UTF-8 are kept."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT or "\0" in text:
        raise InvalidArgument(f"{path}: this is not a text file of at most {MAX_TEXT >> 20} MiB")
    return text


def ulimit(text: str) -> Json:
    """`nofile=1024:2048`."""
    name, equals, limits = text.partition("=")
    soft, _colon, hard = limits.partition(":")
    try:
        if not equals or not name:
            raise ValueError
        soft_value = int(soft)
        hard_value = int(hard) if hard else soft_value
    except ValueError as error:
        raise InvalidArgument(f"invalid --ulimit {text!r}: write NAME=SOFT[:HARD]") from error
    if hard_value != -1 and (soft_value > hard_value or soft_value == -1):
        raise InvalidArgument(f"invalid --ulimit {text!r}: the soft limit is above the hard limit")
    return {"Name": name, "Soft": soft_value, "Hard": hard_value}


def device(text: str) -> Json:
    """`/dev/x[:/dev/y[:rwm]]`."""
    parts = text.split(":")
    inside, access = parts[0], "rwm"
    if len(parts) == 2:
        if parts[1] and not set(parts[1]) - set("rwm"):
            access = parts[1]
        else:
            inside = parts[1]
    elif len(parts) == 3:
        inside, access = parts[1], parts[2]
    if len(parts) > 3 or not parts[0] or not inside or not access or set(access) - set("rwm"):
        raise InvalidArgument(f"invalid --device {text!r}: write PATH[:PATH-INSIDE[:rwm]]")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": access}


def throttle(text: str, flag: str) -> Json:
    """`/dev/sda:1mb` or `/dev/sda:500`."""
    path, colon, rate = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise InvalidArgument(f"invalid --{flag} {text!r}: write /dev/NAME:NUMBER")
    if flag == "blkio-weight-device":
        if not rate.isdigit():
            raise InvalidArgument(f"invalid --{flag} {text!r}: write /dev/NAME:NUMBER")
        return {"Path": path, "Weight": int(rate)}
    return {"Path": path, "Rate": parse_size(rate, f"--{flag}")}


def restart_policy(text: str) -> Json:
    """`on-failure:3`."""
    name, colon, count = text.partition(":")
    if colon and (not count.isdigit() or name != "on-failure"):
        raise InvalidArgument(
            f"invalid --restart {text!r}: write no, always, unless-stopped or on-failure[:N]"
        )
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def ports(published: list[str], exposed: list[str]) -> tuple[Json, Json]:
    """(ExposedPorts, PortBindings) of -p and --expose."""
    open_ports: Json = {}
    bindings: Json = {}
    for item in exposed:
        for port in _port_range(item, item):
            open_ports[port] = {}
    for item in published:
        address, outside, inside = _publish_parts(item)
        inside_ports = _port_range(inside, item)
        outside_ports = [port.partition("/")[0] for port in _port_range(outside, item)] if outside else []
        if len(inside_ports) == 1 and len(outside_ports) > 1:
            outside_ports = [outside]  # any one of them, as the daemon finds it free
        if outside_ports and len(outside_ports) != len(inside_ports):
            raise InvalidArgument(f"invalid --publish {item!r}: the two ranges differ in length")
        for index, port in enumerate(inside_ports):
            open_ports[port] = {}
            host_port = outside_ports[index] if outside_ports else ""
            bindings.setdefault(port, []).append({"HostIp": address, "HostPort": host_port})
    return open_ports, bindings


def _publish_parts(item: str) -> tuple[str, str, str]:
    """Address, port of the machine and port inside with its protocol; also of `published=…,target=…`."""
    if "=" in item:
        fields = dict(field.partition("=")[::2] for field in item.split(","))
        if not fields.get("target") or fields.keys() - {"published", "target", "protocol", "mode"}:
            raise InvalidArgument(
                f"invalid --publish {item!r}: write published=PORT,target=PORT,protocol=udp"
            )
        return "", fields.get("published", ""), f"{fields['target']}/{fields.get('protocol') or 'tcp'}"
    text, slash, protocol = item.partition("/")
    left, _colon, inside = text.rpartition(":")
    address, _colon, outside = left.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), outside, inside + slash + protocol


def _port_range(text: str, whole: str) -> list[str]:
    span, _slash, protocol = text.partition("/")
    first, dash, last = span.partition("-")
    try:
        start, end = int(first), int(last) if dash else int(first)
    except ValueError:
        start, end = 0, 0
    if not 0 < start <= end < 65536 or (protocol or "tcp") not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid port {whole!r}: write [[ADDRESS:]PORT:]PORT-INSIDE[/udp]")
    return [f"{port}/{protocol or 'tcp'}" for port in range(start, end + 1)]


def bind(text: str) -> tuple[str, str]:
    """A -v value as (bind, "") or ("", anonymous volume's path); a relative source becomes absolute."""
    source, colon, rest = text.partition(":")
    if not colon:
        if not text.startswith("/"):
            raise InvalidArgument(f"invalid --volume {text!r}: the path inside must be absolute")
        return "", text
    if source in (".", "..", "~") or source.startswith(("./", "../", "~/")):
        source = os.path.abspath(os.path.expanduser(source))
    if not source or not rest.startswith("/"):
        raise InvalidArgument(f"invalid --volume {text!r}: write SOURCE:/PATH-INSIDE[:OPTIONS]")
    return f"{source}:{rest}", ""


def tmpfs(items: list[str]) -> dict[str, str]:
    """`/path:size=1m` as a mapping from path to options."""
    return {path: options for path, _colon, options in (item.partition(":") for item in items)}


_MOUNT_TYPES = ("bind", "volume", "tmpfs")


def mount(text: str) -> Json:
    """A --mount value; fields are separated by commas, quoted as in CSV when they hold one."""
    result: Json = {"Type": "volume"}
    for field in _csv(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
            value = "true"
        elif not equals:
            raise InvalidArgument(f"invalid --mount {text!r}: {field!r} must be KEY=VALUE")
        _mount_field(result, key, value, text)
    if not result.get("Target"):
        raise InvalidArgument(f"invalid --mount {text!r}: target is required")
    if result["Type"] == "bind" and not result.get("Source"):
        raise InvalidArgument(f"invalid --mount {text!r}: a bind mount needs a source")
    return result


def _mount_field(result: Json, key: str, value: str, text: str) -> None:
    if key == "type":
        if value not in _MOUNT_TYPES:
            raise InvalidArgument(f"invalid --mount {text!r}: type must be bind, volume or tmpfs")
        result["Type"] = value
    elif key in ("source", "src"):
        result["Source"] = os.path.abspath(value) if value.startswith((".", "~/")) else value
    elif key in ("target", "dst", "destination"):
        result["Target"] = value
    elif key in ("readonly", "ro"):
        result["ReadOnly"] = _true(value, text)
    elif key == "bind-propagation":
        result.setdefault("BindOptions", {})["Propagation"] = value
    elif key == "bind-nonrecursive":
        result.setdefault("BindOptions", {})["NonRecursive"] = _true(value, text)
    elif key == "volume-nocopy":
        result.setdefault("VolumeOptions", {})["NoCopy"] = _true(value, text)
    elif key == "volume-label":
        labels = result.setdefault("VolumeOptions", {}).setdefault("Labels", {})
        labels.update(pairs([value], "volume label"))
    elif key == "volume-driver":
        result.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value
    elif key == "tmpfs-size":
        result.setdefault("TmpfsOptions", {})["SizeBytes"] = parse_size(value, "tmpfs-size")
    elif key == "tmpfs-mode":
        try:
            result.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
        except ValueError as error:
            raise InvalidArgument(f"invalid --mount {text!r}: tmpfs-mode must be octal, as 1777") from error
    elif key != "consistency":
        raise InvalidArgument(f"invalid --mount {text!r}: unknown key {key!r}")


def _true(value: str, text: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise InvalidArgument(f"invalid --mount {text!r}: write true or false, not {value!r}")


def _csv(text: str) -> list[str]:
    fields, field, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += character
    return [*fields, field]
