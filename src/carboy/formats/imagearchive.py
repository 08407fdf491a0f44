"""Image archives: what `docker save` writes, and the OCI image layout; often both in one tar.

    manifest.json     [{"Config": "<path>", "RepoTags": ["a:b"], "Layers": ["<path>", ...]}]
    repositories      {"a": {"b": "<v1 id>"}}, before Docker 1.10 with a `<v1 id>/json` each
    oci-layout        {"imageLayoutVersion": "1.0.0"}
    index.json        an OCI index; names are annotations of its descriptors
    blobs/sha256/<hex>

Paths inside these documents are names of members, looked up in a table: never joined to
anything, so `../../etc/passwd` is a member that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from carboy.digest import Descriptor, Digest
from carboy.errors import InvalidArgument
from carboy.formats import oci
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.wire import decode
from carboy.formats.reference import Reference, parse

MANIFEST: Final = "manifest.json"
REPOSITORIES: Final = "repositories"
LAYOUT: Final = "oci-layout"
INDEX: Final = "index.json"
REF_NAME: Final = "org.opencontainers.image.ref.name"
IMAGE_NAME: Final = "io.containerd.image.name"
MOST_IMAGES: Final = 1024

LAYOUT_DOCUMENT: Final = b'{"imageLayoutVersion":"1.0.0"}'


class ArchivedImage(msgspec.Struct, kw_only=True, rename="pascal"):
    """An entry of manifest.json."""

    config: str
    repo_tags: list[str] = msgspec.field(default_factory=list)
    layers: list[str] = msgspec.field(default_factory=list)


class LegacyImage(msgspec.Struct, kw_only=True):
    """The `json` beside a layer in archives from before Docker 1.10."""

    id: str = ""
    parent: str = ""
    created: str = ""
    author: str = ""
    comment: str = ""
    architecture: str = ""
    os: str = ""
    config: ImageConfig = msgspec.field(default_factory=ImageConfig)


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image as it is written into an archive."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    references: tuple[Reference, ...]


def member_name(unsafe_path: bytes | str) -> str:
    """The name by which a member is looked up: without `./` in front and slashes at the end."""
    text = unsafe_path.decode("utf-8", "surrogateescape") if isinstance(unsafe_path, bytes) else unsafe_path
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return "/".join(parts)


def link_target(member: str, unsafe_target: bytes) -> str:
    """The member that a symlink at `member` names; one that would leave the archive names nothing."""
    parts = member.split("/")[:-1]
    if unsafe_target.startswith(b"/"):
        return ""
    for part in unsafe_target.decode("utf-8", "surrogateescape").split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def parse_archive_manifest(unsafe_data: bytes) -> list[ArchivedImage]:
    """Read manifest.json."""
    oci.check_document(unsafe_data, MANIFEST)
    try:
        images, _ = decode(unsafe_data, list[ArchivedImage], max_depth=oci.DEPTH_LIMIT)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid {MANIFEST}: {error}") from error
    if len(images) > MOST_IMAGES:
        raise InvalidArgument(f"invalid {MANIFEST}: {len(images)} images, more than {MOST_IMAGES}")
    return images


def parse_repositories(unsafe_data: bytes) -> dict[str, dict[str, str]]:
    """Read `repositories`: repository to tag to v1 id."""
    oci.check_document(unsafe_data, REPOSITORIES)
    try:
        return decode(unsafe_data, dict[str, dict[str, str]], max_depth=oci.DEPTH_LIMIT)[0]
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid {REPOSITORIES}: {error}") from error


def parse_legacy(unsafe_data: bytes) -> LegacyImage:
    """Read the `json` of a v1 image."""
    oci.check_document(unsafe_data, "json")
    return decode(unsafe_data, LegacyImage, max_depth=oci.DEPTH_LIMIT)[0]


def legacy_document(chain: list[LegacyImage], diff_ids: list[Digest]) -> oci.ImageDocument:
    """The config that a chain of v1 images (bottom first) stands for."""
    top = chain[-1]
    return oci.ImageDocument(
        architecture=top.architecture or "amd64",
        os=top.os or "linux",
        author=top.author,
        comment=top.comment,
        created=top.created,
        config=top.config,
        rootfs=oci.RootFS(diff_ids=[str(digest) for digest in diff_ids]),
        history=[
            oci.History(created=image.created, author=image.author, comment=image.comment) for image in chain
        ],
    )


def reference_of(annotations: dict[str, str] | None) -> Reference | None:
    """The name that an index gives to an image, when it gives a whole one."""
    for key in (IMAGE_NAME, REF_NAME):
        text = (annotations or {}).get(key)
        # `ref.name` is often a bare tag ("latest"): that names nothing here.
        if text and (key == IMAGE_NAME or ":" in text or "/" in text):
            return parse(text).tagged()
    return None


def blob_path(digest: Digest) -> str:
    """Where a layout has the blob."""
    return f"blobs/sha256/{digest.hex}"


def write_documents(images: list[SavedImage]) -> dict[str, bytes]:
    """Every document of an archive with these images, manifests included, by path."""
    documents: dict[str, bytes] = {LAYOUT: LAYOUT_DOCUMENT}
    index: list[oci.ContentDescriptor] = []
    entries: list[dict[str, object]] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        manifest = oci.encode_manifest(image.config, list(image.layers))
        digest = Digest.of(manifest)
        documents[blob_path(digest)] = manifest
        base = oci.described(Descriptor(oci.MANIFEST_TYPE, digest, len(manifest)))
        index.extend(_named(base, image.references))
        entries.append(
            {
                "Config": blob_path(image.config.digest),
                "Layers": [blob_path(layer.digest) for layer in image.layers],
                "RepoTags": [reference.familiar for reference in image.references] or None,
            }
        )
        for reference in image.references:
            top = image.layers[-1].digest.hex if image.layers else image.config.digest.hex
            repositories.setdefault(reference.familiar_repository, {})[reference.tag or ""] = top
    documents[INDEX] = oci.encode_index(index)
    documents[MANIFEST] = msgspec.json.encode(entries, order="sorted")
    if repositories:
        documents[REPOSITORIES] = msgspec.json.encode(repositories, order="sorted")
    return documents


def _named(base: oci.ContentDescriptor, references: tuple[Reference, ...]) -> list[oci.ContentDescriptor]:
    if not references:
        return [base]
    return [
        msgspec.structs.replace(base, annotations={IMAGE_NAME: str(reference), REF_NAME: reference.tag or ""})
        for reference in references
    ]
