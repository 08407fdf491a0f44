"""Mounts asked for with -v, --mount, --tmpfs, VOLUME and --volumes-from, as one list of values.

    request + image VOLUMEs ──plan_mounts──▶ [PlannedMount]   stored with the container
    PlannedMounts           ──oci_mount────▶ OCI mounts       at each start

Pure: volumes and images are only named here.  One entry of `Mounts` is read by `mountrequests.py`.
"""

from __future__ import annotations

import posixpath

from carboy.engine.spec.mountrequests import parse_mount
from carboy.engine.spec.plannedmount import (
    CONSISTENCIES,
    PROPAGATIONS,
    PlannedMount,
    anonymous_volume,
    check_destination,
    check_volume_name,
    plan_tmpfs,
    random_volume_name,
)
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig

__all__ = ["PlannedMount", "check_volume_name", "oci_mount", "plan_mounts", "random_volume_name"]

_READ_ONLY = ("ro", "rro", "ro-non-recursive", "ro-force-recursive")
_MODES = (
    frozenset({"rw", *_READ_ONLY}),
    frozenset({"z", "Z"}),
    PROPAGATIONS,
    frozenset({"nocopy", "volume-nocopy"}),
    CONSISTENCIES,
)
"""The words after the second colon of `-v`; at most one of each kind."""


def plan_mounts(
    config: ContainerConfig, host: HostConfig, inherited: list[PlannedMount]
) -> tuple[list[PlannedMount], list[str]]:
    """Every mount of a container and the warnings; raises InvalidArgument for what makes no sense.

    A later kind wins over an earlier one at the same place: VOLUME < volumes-from < -v and --mount.
    """
    warnings: list[str] = []
    asked: dict[str, PlannedMount] = {}
    for text in host.binds:
        _add(asked, parse_bind(text, warnings), host.volume_driver)
    for mount in host.mounts:
        _add(asked, parse_mount(mount), host.volume_driver)
    for path, text in host.tmpfs.items():
        _add(asked, plan_tmpfs(check_destination(path, ""), text), "")
    planned = {mount.destination: mount for mount in inherited}
    planned.update(asked)
    for path in config.volumes:
        bind = parse_bind(path, warnings) if ":" in path else None
        found = bind or anonymous_volume(check_destination(path, path), host.volume_driver)
        planned.setdefault(found.destination, found)
    return sorted(
        planned.values(), key=lambda mount: (mount.destination.count("/"), mount.destination)
    ), warnings


def _add(asked: dict[str, PlannedMount], mount: PlannedMount, driver: str) -> None:
    if mount.destination in asked:
        raise InvalidArgument(f"Duplicate mount point: {mount.destination}")
    if mount.type == "volume":
        mount.driver = mount.driver or driver
        if mount.driver not in ("", "local"):
            raise NotFound(
                f"create {mount.source[:80]}: error looking up volume plugin {mount.driver[:80]}: "
                f'plugin "{mount.driver[:80]}" not found'
            )
    asked[mount.destination] = mount


def parse_bind(text: str, warnings: list[str]) -> PlannedMount:
    """Read `-v`: `destination`, `source:destination` or `source:destination:options`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts[:2]) or "\0" in text:
        raise InvalidArgument(f"invalid volume specification: '{text[:200]}'")
    if len(parts) == 1:
        return anonymous_volume(check_destination(parts[0], text), "")
    source, destination = parts[0], check_destination(parts[1], text)
    mode = parts[2] if len(parts) == 3 else ""
    words = mode.split(",") if mode else []
    _check_mode(words, mode)
    if "z" in words or "Z" in words:
        warnings.append(
            f"option {mode!r} of the mount at {destination}: this host has no SELinux labels to set"
        )
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    read_only = any(word in _READ_ONLY for word in words)
    if source.startswith("/"):
        return PlannedMount(
            type="bind",
            source=posixpath.normpath(source),
            destination=destination,
            mode=mode,
            read_only=read_only,
            read_only_non_recursive="ro-non-recursive" in words,
            read_only_forced="rro" in words or "ro-force-recursive" in words,
            propagation=propagation or "rprivate",
            create_source=True,
        )
    if propagation:
        raise InvalidArgument(
            f"invalid volume specification: '{text[:200]}': invalid mount config for type \"volume\":"
            " field BindOptions must not be specified"
        )
    if read_only and "ro" not in words:
        raise InvalidArgument(
            f"mount mode \"{mode[:80]}\" requires a bind mount: invalid volume specification: '{text[:200]}'"
        )
    return PlannedMount(
        type="volume",
        source=check_volume_name(source),
        destination=destination,
        mode=mode or "z",
        read_only=read_only,
        no_copy="nocopy" in words or "volume-nocopy" in words,
    )


def _check_mode(words: list[str], mode: str) -> None:
    for kind in _MODES:
        if sum(word in kind for word in words) > 1:
            raise InvalidArgument(f"invalid mode: {mode[:80]}")
    if not all(any(word in kind for kind in _MODES) for word in words):
        raise InvalidArgument(f"invalid mode: {mode[:80]}")


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """The container and whether read-only, in `--volumes-from NAME[:MODE]`."""
    reference, _, mode = text.partition(":")
    words = mode.split(",") if mode else []
    if not reference:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    _check_mode(words, mode)
    for word in words:
        if word not in ("ro", "rw", "z", "Z"):
            raise InvalidArgument(f"invalid mode: {mode[:80]}")
    return reference, "ro" in words


def oci_mount(mount: PlannedMount, source: str, *, descriptor: int = -1) -> dict[str, object]:
    """The OCI form of one mount; `source` is the path on the host, `descriptor` that of an image's mount."""
    if mount.type == "tmpfs":
        return {
            "destination": mount.destination,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": mount.options,
        }
    options = ["bind" if mount.non_recursive else "rbind"]
    if mount.read_only:
        options.append("ro" if mount.read_only_non_recursive or mount.non_recursive else "rro")
    options.append(mount.propagation or "rprivate")
    if mount.subpath:
        options.append(f"carboy.subpath={mount.subpath}")
    if descriptor >= 0:
        options.append(f"carboy.descriptor={descriptor}")
    return {"destination": mount.destination, "type": "bind", "source": source, "options": options}
