"""Devices: the filter's default rules, `--device`, and what `--privileged` sees."""

from __future__ import annotations

import os
import stat

from carboy.engine.spec.limits import Value
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import DeviceMapping, HostConfig

_ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
_SKIPPED = frozenset(
    {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "stdin", "stdout", "stderr"}
)


def device_rules(host: HostConfig) -> list[Value]:
    """The device filter of a container, in order: deny all, then what is allowed."""
    if host.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Value] = [
        {"allow": False, "access": "rwm"},
        # Making a node is harmless: opening it is what the filter forbids.
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    rules += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _ALLOWED
    ]
    rules.append({"allow": True, "type": "c", "major": 136, "access": "rwm"})
    rules.append({"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"})
    rules += [_parse_rule(text) for text in host.device_cgroup_rules]
    return rules


def _parse_rule(text: str) -> Value:
    words = text.split()
    numbers = words[1].split(":") if len(words) == 3 else []
    valid = len(numbers) == 2 and words[0] in ("a", "b", "c") and words[2] and not words[2].strip("rwm")
    if not valid or not all(number == "*" or (number.isascii() and number.isdigit()) for number in numbers):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text[:80]}'")
    rule: Value = {"allow": True, "type": words[0], "access": words[2]}
    for name, number in zip(("major", "minor"), numbers, strict=True):
        if number != "*":
            rule[name] = int(number)
    return rule


def linux_devices(host: HostConfig) -> tuple[list[Value], list[Value]]:
    """The nodes to make and the rules to add for `--device` and `--privileged`; looks at /dev."""
    if host.privileged:
        return _host_devices("/dev", "/dev"), []
    nodes: list[Value] = []
    rules: list[Value] = []
    for mapping in host.devices:
        for node in _mapped(mapping):
            nodes.append(node)
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": mapping.cgroup_permissions or "rwm",
                }
            )
    return nodes, rules


def _mapped(mapping: DeviceMapping) -> list[Value]:
    source, target = mapping.path_on_host, mapping.path_in_container or mapping.path_on_host
    if mapping.cgroup_permissions.strip("rwm"):
        raise InvalidArgument(f"invalid device mode: {mapping.cgroup_permissions[:20]}")
    try:
        status = os.stat(source)
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source[:200]}": {error}'
        ) from error
    if stat.S_ISDIR(status.st_mode):
        return _host_devices(source, target)
    node = _node(status, target)
    if node is None:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source[:200]}":'
            " not a device node"
        )
    return [node]


def _host_devices(directory: str, target: str) -> list[Value]:
    nodes: list[Value] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in _SKIPPED or entry.is_symlink():
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    nodes += _host_devices(entry.path, f"{target}/{entry.name}")
                    continue
                node = _node(entry.stat(follow_symlinks=False), f"{target}/{entry.name}")
            except OSError:
                continue
            if node is not None:
                nodes.append(node)
    return nodes


def _node(status: os.stat_result, path: str) -> Value | None:
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return {
        "type": kind,
        "path": path,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
