"""The config of an image that was built: pure, and without a clock."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from carboy.build.graph import Target
from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats import oci


def result_document(
    target: Target, layers: Sequence[Digest], own: Mapping[int, Digest | None], *, epoch: int
) -> oci.ImageDocument:
    """The image's config.

    layers: its whole filesystem, bottom first; own: which layer a vertex added, None for none.
    """
    if len(layers) > oci.MOST_LAYERS:
        raise InvalidArgument(f"the image would have {len(layers)} layers, more than {oci.MOST_LAYERS}")
    base = target.base
    created = moment(epoch)
    history = list(base.history)
    for step in target.history:
        history.append(
            oci.History(
                created=created,
                created_by=step.created_by,
                empty_layer=step.vertex < 0 or own.get(step.vertex) is None,
            )
        )
    platform = _platform(target)
    return oci.ImageDocument(
        architecture=platform.architecture,
        variant=platform.variant,
        os=platform.os,
        os_version=base.os_version,
        author=target.author or base.author,
        created=created,
        config=target.config,
        rootfs=oci.RootFS(diff_ids=[str(layer) for layer in layers]),
        history=history,
    )


def moment(epoch: int) -> str:
    """RFC 3339, in UTC and whole seconds."""
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _platform(target: Target) -> oci.Platform:
    system, _, rest = target.platform.partition("/")
    architecture, _, variant = rest.partition("/")
    base = target.base
    if base.architecture in ("", architecture) and not variant:
        variant = base.variant
    return oci.Platform(os=base.os or system, architecture=base.architecture or architecture, variant=variant)
