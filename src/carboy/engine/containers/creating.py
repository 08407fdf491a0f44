"""Steps of a container's creation that need no lock: the platform, inherited mounts, images, volumes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from carboy.engine.containers.document import Container
from carboy.engine.containers.parts import Parts
from carboy.engine.images.configs import architecture_of, parse_platform
from carboy.engine.images.service import ImageService
from carboy.engine.images.users import ContainerImage
from carboy.engine.spec.mode import joined, network_mode
from carboy.engine.spec.mounts import PlannedMount, parse_volumes_from
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig

MAX_IMAGE_MOUNTS = 32
_LEVELS = (
    ("v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
    ("v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
    ("v4", "avx512f avx512bw avx512cd avx512dq avx512vl"),
)
"""Levels of x86-64 by the flags of /proc/cpuinfo that they need beside the level below."""


def check_platform(
    unsafe_platform: str | None, unsafe_ref: str, image: ContainerImage, machine: str
) -> list[str]:
    """What was asked for must be what is here; an image for another machine is warned about.

    An image that does not say is taken at its word.
    """
    actual = image.config.architecture
    if not actual:
        return []
    if unsafe_platform:
        wanted = parse_platform(unsafe_platform)
        if "/" in unsafe_platform and actual != wanted.architecture:
            raise NotFound(
                f"image with reference {unsafe_ref} was found but its platform (linux/{actual}) does not"
                f" match the specified platform (linux/{wanted.architecture})"
            )
        return []
    ours = architecture_of(machine)
    if actual == ours or (ours, actual) in (("amd64", "386"), ("arm64", "arm")):
        return []
    theirs = "/".join(filter(None, ("linux", actual, image.config.variant)))
    ours += _variant(ours)
    warning = (
        f"The requested image's platform ({theirs}) does not match the detected host platform"
        f" (linux/{ours}) and no specific platform was requested"
    )
    return [warning]


def _variant(architecture: str) -> str:
    if architecture == "arm64":
        return "/v8"
    if architecture != "amd64":
        return ""
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""
    flags, level = set(line.split()), ""
    for name, needed in _LEVELS:
        if not flags.issuperset(needed.split()):
            break
        level = f"/{name}"
    return level


def joined_containers(host: HostConfig) -> list[str]:
    """The containers whose namespaces, or names, this one needs."""
    modes = (network_mode(host), host.pid_mode, host.ipc_mode)
    return [reference for reference in map(joined, modes) if reference is not None]


def inherited_mounts(host: HostConfig, find: Callable[[str], Container]) -> list[PlannedMount]:
    """What `--volumes-from` brings, the later container winning."""
    found: dict[str, PlannedMount] = {}
    for text in host.volumes_from:
        reference, read_only = parse_volumes_from(text)
        for mount in find(reference).document.mounts:
            if mount.type != "tmpfs":
                copy = msgspec.structs.replace(mount, anonymous=False)
                copy.read_only = copy.read_only or read_only
                found[mount.destination] = copy
    return list(found.values())


def pin_images(mounts: list[PlannedMount], images: ImageService, stack: ExitStack) -> None:
    """Note the images that are mounted; they stay until `stack` ends."""
    count = 0
    for mount in mounts:
        if mount.type != "image":
            continue
        count += 1
        if count > MAX_IMAGE_MOUNTS:
            raise InvalidArgument(f"at most {MAX_IMAGE_MOUNTS} images can be mounted")
        image = stack.enter_context(images.pinned(mount.image_id or mount.source))
        mount.image_id = str(image.id)
        mount.diff_ids = [str(diff_id) for diff_id in image.diff_ids]


def make_volumes(container: Container, parts: Parts) -> None:
    """Make the volumes that are missing, and fill the empty ones with what the image has at their place."""
    empty = []
    for mount in container.document.mounts:
        if mount.type == "volume":
            fresh = parts.volumes.ensure(
                mount.source, mount.labels, options=mount.driver_options, anonymous=mount.anonymous
            )
            if fresh and not mount.no_copy and not mount.subpath:
                empty.append(mount)
    if not empty:
        return
    rootfs = parts.snapshots.mount(container.id, container.diff_ids, read_only=True)
    try:
        for mount in empty:
            parts.volumes.populate(mount.source, rootfs, mount.destination)
    finally:
        os.close(rootfs)


def fill_defaults(config: ContainerConfig, host: HostConfig, container_id: str) -> None:
    """What inspect shows filled in."""
    if not config.hostname and network_mode(host) != "host" and host.uts_mode != "host":
        config.hostname = container_id[:12]
    host.network_mode = host.network_mode or "default"
    host.log_config.type = host.log_config.type or "json-file"
    host.ipc_mode = host.ipc_mode or "private"
    host.cgroupns_mode = host.cgroupns_mode or "private"
    host.restart_policy.name = host.restart_policy.name or "no"
    host.shm_size = host.shm_size or 64 << 20
    host.runtime = "carboy"
    if host.memory and not host.memory_swap:
        host.memory_swap = host.memory * 2
    if any(option == "systempaths=unconfined" for option in host.security_opt):
        host.security_opt = [one for one in host.security_opt if one != "systempaths=unconfined"]
        host.masked_paths, host.readonly_paths = [], []
