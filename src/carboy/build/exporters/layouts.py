"""Types oci and docker: images as one tar, planned first, written when it is asked for.

    oci      oci-layout, index.json, blobs/sha256/…
    docker   the same with manifest.json and repositories, for `docker load`

Several platforms of one image are an index of their manifests.  Equal images give equal bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from carboy.build.exporters.compressing import Compressing
from carboy.build.exporters.encoders import Encoder
from carboy.digest import Descriptor, Digest
from carboy.errors import InvalidArgument
from carboy.formats import imagearchive, oci
from carboy.formats.reference import Reference
from carboy.store.archiveout import ArchiveOut, OpenFile, Sink
from carboy.store.layers import LayerStore

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """One target on one platform."""

    target: str
    platform: str
    config: bytes
    layers: tuple[tuple[Digest, int], ...]
    """(DiffID, bytes of its tar)."""
    references: tuple[Reference, ...] = ()

    @property
    def id(self) -> Digest:
        """The digest of its config."""
        return Digest.of(self.config)


@dataclass(frozen=True, slots=True)
class Layout:
    """A tar that is ready to be written."""

    small: dict[str, bytes]
    stored: dict[str, tuple[Digest, int]]
    """Layers as they are in the store."""
    compressed: dict[str, tuple[int, int]]
    """(descriptor of a file without a name, bytes)."""
    manifests: tuple[Digest, ...]
    """Of each image, in order."""
    digest: Digest
    """What the index names: the manifest, or the index over several platforms."""
    encoder: str = "uncompressed"

    def write(self, layers: LayerStore, sink: Sink) -> None:
        """Write it all; may be done again."""
        large: dict[str, tuple[int, OpenFile]] = {
            path: (size, partial(layers.open_tar, diff_id)) for path, (diff_id, size) in self.stored.items()
        }
        for path, (descriptor, size) in self.compressed.items():
            large[path] = (size, partial(os.dup, descriptor))
        ArchiveOut(sink).tree(self.small, large)

    def close(self) -> None:
        """Let go of the compressed files."""
        for descriptor, _ in self.compressed.values():
            os.close(descriptor)
        self.compressed.clear()


@dataclass(slots=True)
class _Planning:
    encoder: Encoder
    docker: bool
    """Docker's media types instead of OCI's."""
    compressing: Compressing
    small: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, tuple[Digest, int]] = field(default_factory=dict)
    compressed: dict[str, tuple[int, int]] = field(default_factory=dict)
    done: dict[Digest, Descriptor] = field(default_factory=dict)

    def blob(self, media_type: str, data: bytes) -> Descriptor:
        digest = Digest.of(data)
        self.small[imagearchive.blob_path(digest)] = data
        return Descriptor(media_type, digest, len(data))

    def layer(self, diff_id: Digest, size: int) -> Descriptor:
        if diff_id in self.done:
            return self.done[diff_id]
        if self.encoder.form == "uncompressed":
            made = Descriptor(self.encoder.media_type(docker=self.docker), diff_id, size)
            self.stored[imagearchive.blob_path(diff_id)] = (diff_id, size)
        else:
            made = self._compress(diff_id)
        self.done[diff_id] = made
        return made

    def _compress(self, diff_id: Digest) -> Descriptor:
        taken = self.compressing.take(diff_id, self.encoder)
        path = imagearchive.blob_path(taken.digest)
        if path in self.compressed:
            os.close(taken.descriptor)
        else:
            self.compressed[path] = (taken.descriptor, taken.size)
        return Descriptor(self.encoder.media_type(docker=self.docker), taken.digest, taken.size)

    def abandon(self) -> None:
        for descriptor, _ in self.compressed.values():
            os.close(descriptor)


def plan_layout(
    kind: str,
    images: Sequence[BuiltImage],
    *,
    encoder: Encoder,
    oci_types: bool,
    names: Sequence[Reference],
    compressing: Compressing,
) -> Layout:
    """Plan an archive of `kind` oci or docker; layers are compressed by now, or will be here."""
    if kind == "docker" and len(images) > 1:
        raise InvalidArgument("the docker exporter holds one platform and target: use type=oci for several")
    planning = _Planning(encoder, not oci_types, compressing)
    try:
        described = [_manifest(planning, image) for image in images]
        top, manifests = _top(planning, images, described)
        planning.small[imagearchive.LAYOUT] = imagearchive.LAYOUT_DOCUMENT
        planning.small[imagearchive.INDEX] = oci.encode_index(_named(top, names))
        if kind == "docker":
            _add_docker(planning, images[0], names)
    except BaseException:
        planning.abandon()
        raise
    return Layout(
        planning.small,
        planning.stored,
        planning.compressed,
        manifests,
        Digest.parse(top.digest),
        encoder.name,
    )


def manifest_of(image: BuiltImage) -> bytes:
    """The manifest with its layers as they are stored: what `save` writes, too."""
    layers = [Descriptor(oci.LAYER_TYPE, diff_id, size) for diff_id, size in image.layers]
    return oci.encode_manifest(Descriptor(oci.CONFIG_TYPE, image.id, len(image.config)), layers)


def _manifest(planning: _Planning, image: BuiltImage) -> Descriptor:
    config = planning.blob(_DOCKER_CONFIG if planning.docker else oci.CONFIG_TYPE, image.config)
    layers = [planning.layer(diff_id, size) for diff_id, size in image.layers]
    data = oci.encode_manifest(config, layers)
    if not planning.docker:
        return planning.blob(oci.MANIFEST_TYPE, data)
    document = msgspec.json.decode(data, type=oci.Manifest)
    document.media_type = oci.DOCKER_MANIFEST_TYPE
    return planning.blob(oci.DOCKER_MANIFEST_TYPE, msgspec.json.encode(document, order="sorted"))


def _top(
    planning: _Planning, images: Sequence[BuiltImage], described: list[Descriptor]
) -> tuple[oci.ContentDescriptor, tuple[Digest, ...]]:
    digests = tuple(each.digest for each in described)
    if len(described) == 1:
        return oci.described(described[0]), digests
    entries = []
    for image, each in zip(images, described, strict=True):
        system, _, rest = image.platform.partition("/")
        architecture, _, variant = rest.partition("/")
        entries.append(
            msgspec.structs.replace(
                oci.described(each),
                platform=oci.Platform(os=system, architecture=architecture, variant=variant),
            )
        )
    return oci.described(planning.blob(oci.INDEX_TYPE, oci.encode_index(entries))), digests


def _named(top: oci.ContentDescriptor, names: Sequence[Reference]) -> list[oci.ContentDescriptor]:
    if not names:
        return [top]
    return [
        msgspec.structs.replace(
            top,
            annotations={imagearchive.IMAGE_NAME: str(name), imagearchive.REF_NAME: name.tag or ""},
        )
        for name in names
    ]


def _add_docker(planning: _Planning, image: BuiltImage, names: Sequence[Reference]) -> None:
    blobs = [imagearchive.blob_path(planning.done[diff_id].digest) for diff_id, _ in image.layers]
    entry = {
        "Config": imagearchive.blob_path(image.id),
        "Layers": blobs,
        "RepoTags": [name.familiar for name in names] or None,
    }
    planning.small[imagearchive.MANIFEST] = msgspec.json.encode([entry], order="sorted")
    repositories: dict[str, dict[str, str]] = {}
    for name in names:
        top = image.layers[-1][0].hex if image.layers else image.id.hex
        repositories.setdefault(name.familiar_repository, {})[name.tag or ""] = top
    if repositories:
        planning.small[imagearchive.REPOSITORIES] = msgspec.json.encode(repositories, order="sorted")
