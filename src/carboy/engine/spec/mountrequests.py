"""One entry of `Mounts` (`--mount`), checked as Docker does and in its words."""

from __future__ import annotations

import posixpath

from carboy.engine.spec.plannedmount import (
    CONSISTENCIES,
    PROPAGATIONS,
    PlannedMount,
    check_destination,
    check_volume_name,
    plan_tmpfs,
    random_volume_name,
)
from carboy.errors import InvalidArgument, Unavailable, Unsupported
from carboy.formats.dockerapi.containers import Mount

_OPTIONS = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "tmpfs": "TmpfsOptions",
    "image": "ImageOptions",
}


def parse_mount(mount: Mount) -> PlannedMount:
    """The plan for one mount; raises InvalidArgument, with the field that is wrong."""
    if mount.type not in (*_OPTIONS, "npipe", "cluster"):
        raise _invalid(mount, "mount type unknown")
    _check_target(mount)
    if mount.consistency not in ("", "default", *CONSISTENCIES):
        raise _invalid(mount, f"invalid consistency: {mount.consistency[:40]}")
    _check_options(mount)
    match mount.type:
        case "bind":
            return _bind(mount)
        case "volume":
            return _volume(mount)
        case "tmpfs":
            return _tmpfs(mount)
        case "image":
            return _image(mount)
        case "cluster":
            raise Unavailable("This node is not a swarm manager: cluster volumes need one")
        case _:
            raise Unsupported(f"mounts of type {mount.type} exist on Windows only")


def _invalid(mount: Mount, text: str) -> InvalidArgument:
    return InvalidArgument(f'invalid mount config for type "{mount.type[:40]}": {text}')


def _check_target(mount: Mount) -> None:
    if not mount.target:
        raise _invalid(mount, "field Target must not be empty")
    try:
        check_destination(mount.target, "")
    except InvalidArgument as error:
        if "inside /proc" in str(error):
            raise
        raise _invalid(mount, str(error)) from error


def _check_options(mount: Mount) -> None:
    given = {
        "bind": mount.bind_options,
        "volume": mount.volume_options,
        "tmpfs": mount.tmpfs_options,
        "image": mount.image_options,
    }
    for kind, options in given.items():
        # docker-py sends all of them: an empty one says nothing.
        if kind != mount.type and options is not None and options != type(options)():
            raise _invalid(mount, f"field {_OPTIONS[kind]} must not be specified")
    if mount.type in ("bind", "image") and not mount.source:
        raise _invalid(mount, "field Source must not be empty")
    if mount.type == "tmpfs" and mount.source:
        raise _invalid(mount, "field Source must not be specified")


def _bind(mount: Mount) -> PlannedMount:
    options = mount.bind_options
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise _invalid(mount, f"invalid mount path: '{mount.source[:200]}' mount path must be absolute")
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise _invalid(mount, f"invalid propagation mode: {propagation[:40]}")
    planned = PlannedMount(
        type="bind",
        source=posixpath.normpath(mount.source),
        destination=check_destination(mount.target, ""),
        read_only=mount.read_only,
        propagation=propagation,
    )
    if options is not None:
        planned.create_source = options.create_mountpoint
        planned.non_recursive = options.non_recursive
        planned.read_only_non_recursive = options.read_only_non_recursive
        planned.read_only_forced = options.read_only_force_recursive
    if planned.read_only_forced:
        if not planned.read_only:
            raise _invalid(mount, "ReadOnlyForceRecursive needs a read-only mount")
        if planned.read_only_non_recursive or planned.non_recursive:
            raise _invalid(mount, "ReadOnlyForceRecursive conflicts with a mount that is not recursive")
        if propagation != "rprivate":
            raise _invalid(mount, "ReadOnlyForceRecursive needs the propagation rprivate")
    return planned


def _subpath(mount: Mount, path: str) -> str:
    parts = path.split("/")
    if path and (path.startswith("/") or ".." in parts or "\0" in path):
        raise _invalid(mount, "subpath must be a relative path within the volume")
    return posixpath.normpath(path) if path else ""


def _volume(mount: Mount) -> PlannedMount:
    options = mount.volume_options
    if not mount.source and mount.read_only:
        raise _invalid(mount, "must not set ReadOnly mode when using anonymous volumes")
    planned = PlannedMount(
        type="volume",
        source=check_volume_name(mount.source) if mount.source else random_volume_name(),
        anonymous=not mount.source,
        destination=check_destination(mount.target, ""),
        mode="z",
        read_only=mount.read_only,
    )
    if options is None:
        return planned
    planned.no_copy = options.no_copy
    planned.labels = dict(options.labels)
    planned.subpath = _subpath(mount, options.subpath)
    if planned.subpath and planned.anonymous:
        raise _invalid(mount, "must not set Subpath when using anonymous volumes")
    if options.driver_config is not None:
        planned.driver = options.driver_config.name
        planned.driver_options = dict(options.driver_config.options)
    return planned


def _image(mount: Mount) -> PlannedMount:
    return PlannedMount(
        type="image",
        source=mount.source,
        destination=check_destination(mount.target, ""),
        read_only=True,  # an image is what its digest says
        subpath=_subpath(mount, mount.image_options.subpath if mount.image_options else ""),
    )


def _tmpfs(mount: Mount) -> PlannedMount:
    words = ["ro"] if mount.read_only else []
    options = mount.tmpfs_options
    if options is not None:
        if options.size_bytes < 0:
            raise _invalid(mount, "size must not be negative")
        if options.size_bytes:
            words.append(f"size={options.size_bytes}")
        if options.mode:
            words.append(f"mode={options.mode & 0o7777:o}")
        for pair in options.options:
            if len(pair) not in (1, 2):
                raise _invalid(mount, f"invalid option array length: {len(pair)}")
            words.append("=".join(pair))
    if any("," in word for word in words):
        raise _invalid(mount, "a tmpfs option must not hold a comma")
    planned = plan_tmpfs(check_destination(mount.target, ""), ",".join(words))
    planned.listed = True
    return planned
