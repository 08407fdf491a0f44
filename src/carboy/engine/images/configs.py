"""The config documents that Carboy makes itself: of an import, of a commit.  Pure; no clock."""

from __future__ import annotations

import os

from carboy.digest import Digest
from carboy.engine.images.changes import apply_changes, merge_env
from carboy.errors import InvalidArgument
from carboy.formats import oci
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.formats.dockerapi.images import ImageConfig

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")

EMPTY_LAYER = Digest.of(bytes(1024))
"""The tar without members, as Carboy writes it."""


def architecture_of(machine: str) -> str:
    """A machine in the words of images, from those of `uname`."""
    return _ARCHITECTURES.get(machine, machine)


def host_architecture() -> str:
    """This machine, in the words of images."""
    return architecture_of(os.uname().machine)


def parse_platform(unsafe_platform: str | None) -> oci.Platform:
    """`os[/architecture[/variant]]`; what is not said is this machine's."""
    parts = (unsafe_platform or "linux").lower().split("/")
    if len(parts) > 3 or not all(part and _WORD.issuperset(part) and len(part) < 32 for part in parts):
        raise InvalidArgument(
            f"invalid platform {(unsafe_platform or '')[:80]!r}: use os/architecture[/variant]"
        )
    if parts[0] != "linux":
        raise InvalidArgument(f"the platform {parts[0]!r} is not supported: only linux is")
    architecture = parts[1] if len(parts) > 1 else host_architecture()
    variant = parts[2] if len(parts) > 2 else ""
    return oci.Platform(os=parts[0], architecture=architecture_of(architecture), variant=variant)


def imported(
    diff_id: Digest, platform: oci.Platform, *, message: str, config: ImageConfig
) -> oci.ImageDocument:
    """The config of an image of one layer that came as a tar."""
    comment = message or "Imported from -"
    return oci.ImageDocument(
        architecture=platform.architecture,
        variant=platform.variant,
        os=platform.os,
        comment=comment,
        config=config,
        rootfs=oci.RootFS(diff_ids=[str(diff_id)]),
        history=[oci.History(comment=comment)],
    )


def committed(
    parent: oci.ImageDocument,
    container: ContainerConfig,
    override: ContainerConfig | None,
    *,
    layer: Digest,
    author: str,
    comment: str,
    changes: list[str],
) -> oci.ImageDocument:
    """The config of a container's image: the parent's, what the container was run with, then the changes."""
    config = _merged(parent.config, container)
    if override is not None:
        config = _merged(config, override)
    apply_changes(config, changes)
    empty = layer == EMPTY_LAYER
    diff_ids = list(parent.rootfs.diff_ids) + ([] if empty else [str(layer)])
    if len(diff_ids) > oci.MOST_LAYERS:
        raise InvalidArgument(f"cannot commit: the image would have more than {oci.MOST_LAYERS} layers")
    step = oci.History(
        author=author, comment=comment, created_by=" ".join(container.cmd or []), empty_layer=empty
    )
    return oci.ImageDocument(
        architecture=parent.architecture,
        variant=parent.variant,
        os=parent.os,
        os_version=parent.os_version,
        author=author or parent.author,
        comment=comment,
        config=config,
        rootfs=oci.RootFS(diff_ids=diff_ids),
        history=[*parent.history, step],
    )


def _merged(base: ImageConfig, over: ContainerConfig) -> ImageConfig:
    """`base` with everything that `over` says; a new entry point makes the old command meaningless."""
    return ImageConfig(
        user=over.user or base.user,
        exposed_ports={**base.exposed_ports, **over.exposed_ports},
        env=merge_env(base.env, over.env),
        cmd=over.cmd if over.cmd or over.entrypoint else base.cmd,
        healthcheck=over.healthcheck if over.healthcheck is not None else base.healthcheck,
        volumes={**base.volumes, **over.volumes},
        working_dir=over.working_dir or base.working_dir,
        entrypoint=over.entrypoint if over.entrypoint is not None else base.entrypoint,
        on_build=over.on_build or list(base.on_build),
        labels={**base.labels, **over.labels},
        stop_signal=over.stop_signal or base.stop_signal,
        shell=over.shell if over.shell is not None else base.shell,
    )
