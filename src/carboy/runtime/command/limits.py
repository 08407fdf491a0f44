"""pause, resume, update, events: the control group of a running container."""

from __future__ import annotations

import json
import sys

from carboy.errors import Conflict, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups import Cgroup
    from carboy.runtime.command.call import Call
    from carboy.runtime.state import Container

FLAGS: tuple[tuple[str, str, str], ...] = (
    ("memory", "memory", "limit"),
    ("memory-swap", "memory", "swap"),
    ("memory-reservation", "memory", "reservation"),
    ("cpu-shares", "cpu", "shares"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-period", "cpu", "period"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-idle", "cpu", "idle"),
    ("cpuset-cpus", "cpu", "cpus"),
    ("cpuset-mems", "cpu", "mems"),
    ("pids-limit", "pids", "limit"),
    ("blkio-weight", "blockIO", "weight"),
)
"""(flag, section, key) of `update`."""

TOGETHER = {"memory": ("limit", "swap"), "cpu": ("quota", "period")}
"""By section, the keys of which v2 needs both: quota and period are one value, swap is counted from the
limit."""


def _group(container: Container) -> Cgroup:
    group = container.group()
    if group is None:
        raise Conflict(f"container {container.container_id} has no control group")
    return group


def pause(call: Call) -> int:
    """`pause ID`."""
    container = call.container()
    container.require("pause")
    _group(container).freeze()
    return 0


def resume(call: Call) -> int:
    """`resume ID`."""
    container = call.container()
    container.require("resume")
    _group(container).thaw()
    return 0


def update(call: Call) -> int:
    """`update ID`."""
    container = call.container()
    container.require("update")
    kept = container.config.setdefault("linux", {}).setdefault("resources", {})
    resources = _completed(_resources(call), kept)
    _group(container).apply(resources)
    for section, values in resources.items():
        if isinstance(values, dict):
            kept.setdefault(section, {}).update(values)
        else:
            kept[section] = values
    container.cgroup_paths = _group(container).paths()
    container.save()
    return 0


def _completed(resources: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """With those of the limits so far that belong to what is given."""
    found = dict(resources)
    for section, keys in TOGETHER.items():
        given, old = resources.get(section), kept.get(section) or {}
        if isinstance(given, dict) and any(given.get(key) for key in keys):
            given = {key: value for key, value in given.items() if value is not None}
            found[section] = {**{key: old[key] for key in keys if key in old}, **given}
            if section == "memory" and given.get("limit") == -1 and "swap" not in given:
                found[section]["swap"] = -1  # it counts memory too
    return found


def _resources(call: Call) -> dict[str, Any]:
    path = call.flags.text("resources")
    if path:
        text = sys.stdin.read() if path == "-" else _read(path)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise InvalidArgument(f"resources: {path} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InvalidArgument(f"resources: {path} is not an object")
        return document
    resources: dict[str, Any] = {}
    for flag, section, key in FLAGS:
        if call.flags.given(flag):
            text = call.flags.text(flag)
            resources.setdefault(section, {})[key] = text if key in ("cpus", "mems") else int(text)
    return resources


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def events(call: Call) -> int:
    """`events ID`: figures at each interval, and a line when the kernel killed for lack of memory."""
    container = call.container()
    container.require("events")
    group = _group(container)
    if call.flags.flag("stats"):
        _print(container, "stats", group.stats())
        return 0
    import select

    interval = _seconds(call.flags.text("interval", "5s"))
    pidfd = container.pidfd()
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    kills = group.oom_kills()
    while not poll.poll(interval * 1000):
        _print(container, "stats", group.stats())
        if group.oom_kills() > kills:
            kills = group.oom_kills()
            _print(container, "oom", None)
    return 0


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = text.removesuffix(unit)
        if text.endswith(unit) and number.replace(".", "", 1).isdigit() and float(number) > 0:
            return float(number) * factor
    raise InvalidArgument(f"--interval wants a time such as 5s, not {text!r}")


def _print(container: Container, kind: str, data: dict[str, Any] | None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container.container_id}
    if data is not None:
        event["data"] = data
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


COMMANDS: dict[str, Callable[[Call], int]] = {
    "pause": pause,
    "resume": resume,
    "update": update,
    "events": events,
}
