"""The documents of OCI images: descriptor, manifest, index, layout, and the image's config.

Read strictly where a digest or a choice hangs on it, tolerantly (null, case: as Docker does)
in the config that describes containers.  Documents that have a digest are kept and passed on
as bytes; what is re-encoded here is what Carboy itself makes, in one canonical form: sorted
keys, nothing that says nothing, no clock.

A manifest and an index are told apart by what they hold, and must say the same of themselves:
one document that could be read as both is refused (CVE-2021-41190).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType, field

from carboy.digest import Descriptor, Digest
from carboy.errors import CarboyError, Corrupt, InvalidArgument
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.wire import decode as decode_tolerantly
from carboy.formats.dockerapi.wire import nesting

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES: Final = frozenset({MANIFEST_TYPE, DOCKER_MANIFEST_TYPE})
INDEX_TYPES: Final = frozenset({INDEX_TYPE, DOCKER_INDEX_TYPE})

DOCUMENT_LIMIT: Final = 4 << 20
DEPTH_LIMIT: Final = 64
MOST_LAYERS: Final = 127
"""What overlay and every other engine can still mount."""


class Platform(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where an image runs."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class ContentDescriptor(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """A descriptor as it stands in a document; `checked()` makes the value that is trusted."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    platform: Platform | None = None

    def checked(self) -> Descriptor:
        """The descriptor with its digest and size validated."""
        return Descriptor(self.media_type, Digest.parse(self.digest), self.size)


class Manifest(msgspec.Struct, kw_only=True, rename="camel"):
    """One image: a config and layers."""

    schema_version: int
    media_type: str | UnsetType = UNSET
    config: ContentDescriptor
    layers: list[ContentDescriptor]


class Index(msgspec.Struct, kw_only=True, rename="camel"):
    """Several manifests or indexes."""

    schema_version: int
    media_type: str | UnsetType = UNSET
    manifests: list[ContentDescriptor]


class _Either(msgspec.Struct, kw_only=True):
    layers: msgspec.Raw | UnsetType = UNSET
    manifests: msgspec.Raw | UnsetType = UNSET


class _Layout(msgspec.Struct, kw_only=True):
    version: str = field(name="imageLayoutVersion")


class RootFS(msgspec.Struct, kw_only=True):
    """The layers of an image, bottom first."""

    type: str = "layers"
    diff_ids: list[str] = field(default_factory=list)


class History(msgspec.Struct, kw_only=True):
    """How one layer, or one change of the config, came to be."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageDocument(msgspec.Struct, kw_only=True):
    """An image's config document; its digest is the image's ID."""

    architecture: str = ""
    variant: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    author: str = ""
    comment: str = ""
    created: str = ""
    docker_version: str = ""
    config: ImageConfig = field(default_factory=ImageConfig)
    rootfs: RootFS = field(default_factory=RootFS)
    history: list[History] = field(default_factory=list)

    def diff_ids(self) -> list[Digest]:
        """The layers' DiffIDs, validated."""
        return [Digest.parse(text) for text in self.rootfs.diff_ids]


def check_document(data: bytes, what: str, *, limit: int = DOCUMENT_LIMIT) -> None:
    """Refuse JSON that is larger or deeper than any honest document."""
    if len(data) > limit:
        raise InvalidArgument(f"{what} has {len(data)} bytes, more than {limit}")
    if nesting(data) > DEPTH_LIMIT:
        raise InvalidArgument(f"{what} is nested deeper than {DEPTH_LIMIT} levels")


def verified(data: bytes, digest: Digest, what: str) -> bytes:
    """`data` itself, when it has that digest."""
    actual = Digest.of(data)
    if actual != digest:
        raise Corrupt(f"{what} has the digest {actual}, not {digest} as announced")
    return data


def parse_image(unsafe_data: bytes) -> ImageDocument:
    """Read an image's config; its DiffIDs are valid digests, and not too many."""
    check_document(unsafe_data, "the image's config")
    try:
        document, _ = decode_tolerantly(unsafe_data, ImageDocument, max_depth=DEPTH_LIMIT)
        if document.rootfs.type not in ("layers", ""):
            raise InvalidArgument(f"its rootfs has the unknown type {document.rootfs.type[:40]!r}")
        if len(document.diff_ids()) > MOST_LAYERS:
            raise InvalidArgument(f"it has {len(document.rootfs.diff_ids)} layers, more than {MOST_LAYERS}")
    except CarboyError as error:
        raise InvalidArgument(f"invalid image config: {error}") from error
    return document


def encode_image(document: ImageDocument) -> bytes:
    """The canonical bytes of a config: equal documents have equal bytes, and so equal IDs."""
    plain = _without_empty(msgspec.to_builtins(document))
    config = _without_empty(msgspec.to_builtins(document.config))
    if document.config.healthcheck is not UNSET:
        config["Healthcheck"] = _without_empty(msgspec.to_builtins(document.config.healthcheck))
    plain["config"] = config
    plain["rootfs"] = msgspec.to_builtins(document.rootfs)
    plain["history"] = [_without_empty(msgspec.to_builtins(item)) for item in document.history]
    return msgspec.json.encode(plain, order="sorted")


def _without_empty(plain: dict[str, object]) -> dict[str, object]:
    return {
        key: value
        for key, value in plain.items()
        if value is not None and value not in ("", [], {}, False, 0)
    }


def parse_manifest_or_index(unsafe_data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a document that must be exactly one of the two, and what `media_type` says if given."""
    check_document(unsafe_data, "the manifest")
    try:
        either = msgspec.json.decode(unsafe_data, type=_Either)
        has_layers, has_manifests = either.layers is not UNSET, either.manifests is not UNSET
        if has_layers and has_manifests:
            raise InvalidArgument(
                "invalid manifest: it has both `layers` and `manifests`, so it is ambiguous"
            )
        document: Manifest | Index
        if has_manifests:
            document = msgspec.json.decode(unsafe_data, type=Index)
        else:
            document = msgspec.json.decode(unsafe_data, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid manifest: {error}") from error
    if document.schema_version != 2:
        raise InvalidArgument(f"invalid manifest: schemaVersion {document.schema_version} is not supported")
    allowed = INDEX_TYPES if isinstance(document, Index) else MANIFEST_TYPES
    own = "" if document.media_type is UNSET else document.media_type
    for claimed in (own, media_type):
        if claimed and claimed not in allowed:
            raise InvalidArgument(f"invalid manifest: it is not what its media type says: {claimed[:100]!r}")
    if own and media_type and own != media_type:
        raise InvalidArgument(f"invalid manifest: media types differ: {own!r} and {media_type!r}")
    return document


def check_layout(unsafe_data: bytes) -> None:
    """Refuse an OCI layout of a version that is not understood."""
    check_document(unsafe_data, "oci-layout", limit=1 << 16)
    try:
        version = msgspec.json.decode(unsafe_data, type=_Layout).version
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid oci-layout: {error}") from error
    if version.split(".")[0] != "1":
        raise InvalidArgument(f"the OCI layout has version {version[:40]!r}; 1.0.0 is supported")


def encode_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """The canonical bytes of an OCI manifest."""
    return msgspec.json.encode(
        Manifest(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            config=described(config),
            layers=[described(layer) for layer in layers],
        ),
        order="sorted",
    )


def encode_index(manifests: list[ContentDescriptor]) -> bytes:
    """The canonical bytes of an OCI index."""
    return msgspec.json.encode(
        Index(schema_version=2, media_type=INDEX_TYPE, manifests=manifests), order="sorted"
    )


def described(descriptor: Descriptor) -> ContentDescriptor:
    """A descriptor as it is written into a document."""
    return ContentDescriptor(
        media_type=descriptor.media_type, digest=str(descriptor.digest), size=descriptor.size
    )
