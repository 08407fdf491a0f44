"""--device, --gpus: nodes of the host, and devices by name through CDI."""

from __future__ import annotations

from carboy.cli.values import bad, csv
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.client.document import Json


def devices(items: list[str]) -> tuple[list[Json], list[Json]]:
    """(Devices, DeviceRequests) of --device: paths, and names as vendor.com/class=name."""
    named = [item for item in items if _is_named(item)]
    nodes = [_node(item) for item in items if item not in named]
    return nodes, [{"Driver": "cdi", "DeviceIDs": named}] if named else []


def _is_named(item: str) -> bool:
    kind, equals, name = item.partition("=")
    vendor, slash, kind_class = kind.partition("/")
    return bool(equals and slash and vendor and kind_class and name) and "/" not in kind_class


def _node(text: str) -> Json:
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
        if not access or set(access) - set("rwm"):
            raise InvalidArgument(f"bad mode specified: {access}")
    elif len(parts) > 3:
        raise InvalidArgument(f"invalid device specification: {text}")
    for path in (parts[0], inside):
        if not path.startswith("/"):
            raise InvalidArgument(f"{path or text} is not an absolute path")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": access}


def gpus(text: str) -> Json:
    """`all`, `2`, `device=0,1` (quoted), `driver=nvidia,count=1,"capabilities=compute,utility"`."""
    request: Json = {}
    seen = set()
    for field in csv(text):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", key
        if key in seen:
            raise bad("--gpus", text, f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        match key:
            case "driver":
                request["Driver"] = value
            case "count":
                request["Count"] = _count(value, text)
            case "device":
                request["DeviceIDs"] = value.split(",")
            case "capabilities":
                request["Capabilities"] = [[*value.split(","), "gpu"]]
            case "options":
                request["Options"] = dict(one.partition("=")[::2] for one in csv(value))
            case _:
                raise bad("--gpus", text, f"unexpected key '{key}' in '{field}'")
    if not {"count", "device"} & seen:
        request["Count"] = 1
    request.setdefault("Capabilities", [["gpu"]])
    return request


def _count(value: str, text: str) -> int:
    if value == "all":
        return -1
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise bad("--gpus", text, f'invalid count ({value}): value must be either "all" or an integer')
    return int(value)
