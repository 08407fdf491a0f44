"""Devices: the filter's default rules, `--device`, and what `--privileged` sees."""

from __future__ import annotations

import os
import stat

from carboy.engine.spec.cdi import ContainerEdits, DeviceNode, Registry, device_names
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.limits import Value
from carboy.engine.users import Identity
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


def requested_edits(host: HostConfig, facts: HostFacts) -> ContainerEdits:
    """What the devices of `--gpus` and `--device vendor.com/class=name` change; reads the specifications."""
    if not host.device_requests:
        return ContainerEdits()
    registry = Registry.load(facts.cdi_directories)
    return registry.edits(device_names(host.device_requests, registry))


def check_devices(host: HostConfig, facts: HostFacts) -> None:
    """Raise InvalidArgument for devices that this host has not."""
    requested_edits(host, facts)


def cdi_devices(edits: ContainerEdits, identity: Identity) -> tuple[list[Value], list[Value]]:
    """The nodes and rules of CDI devices; what a specification leaves out is the host's."""
    nodes: list[Value] = []
    rules: list[Value] = []
    for one in edits.device_nodes:
        node = _cdi_node(one, identity)
        nodes.append(node)
        if node["type"] in ("b", "c"):
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": one.permissions or "rwm",
                }
            )
    return nodes, rules


def _cdi_node(one: DeviceNode, identity: Identity) -> Value:
    if one.type == "p" or (one.type and (one.major or one.minor)):
        node: Value = {"type": one.type, "path": one.path, "major": one.major, "minor": one.minor}
        node |= {"fileMode": 0o666, "uid": 0, "gid": 0}
    else:
        source = one.host_path or one.path
        try:
            found = _node(os.stat(source), one.path)
        except OSError as error:
            raise InvalidArgument(
                f'CDI device injection failed: failed to stat CDI host device "{source}": {error.strerror}'
            ) from error
        if found is None or (one.type and found["type"] != one.type.replace("u", "c")):
            raise InvalidArgument(
                f'CDI device injection failed: "{source}" is no device of type "{one.type}"'
            )
        node = found
    if one.file_mode is not None:
        node["fileMode"] = one.file_mode & 0o7777
    owner = one.uid if one.uid is not None else identity.uid
    group = one.gid if one.gid is not None else identity.gid
    if owner:
        node["uid"] = owner
    if group:
        node["gid"] = group
    return node


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
