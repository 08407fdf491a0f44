"""Reading image archives: `docker load`.

    members (headers only) ──▶ plan: configs, layers, names ──▶ ingest layers ──▶ one transaction

The plan is made, and everything small is verified, before the first layer is taken in.  All
images of an archive become visible together, or none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from carboy.digest import Digest
from carboy.engine.images.sources import compression_of, decompressed
from carboy.errors import Corrupt, InvalidArgument
from carboy.formats import imagearchive, oci
from carboy.formats.compression import Compression, Decompressor
from carboy.formats.imagearchive import ArchivedImage, LegacyImage, link_target, member_name
from carboy.formats.reference import Reference, parse
from carboy.formats.tar import HARDLINK, REGULAR, SYMLINK, TarEntry, TarLimits, scan
from carboy.store.intake import FileWindow, Reader

_MOST_MEMBERS = 100_000
_MOST_LINKS = 16
_DEEPEST_INDEX = 4
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer in an archive; `diff_id` is unknown in archives from before Docker 1.10."""

    diff_id: Digest | None
    window: FileWindow
    blob: Digest | None = None
    """The digest of the bytes as they are stored, when the archive says one."""

    def open(self) -> Reader:
        """The uncompressed tar; a plain one is a window, that is copied fast."""
        if compression_of(self.window) is Compression.NONE:
            if self.blob is not None and self.diff_id is not None and self.blob != self.diff_id:
                raise Corrupt(f"layer {self.blob} is not compressed, but its DiffID is {self.diff_id}")
            return self.window
        if self.blob is None:
            return decompressed(self.window)
        return _VerifyingReader(self.window, self.blob)


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image in an archive, verified as far as possible without reading its layers."""

    config: bytes
    layers: list[PlannedLayer]
    references: list[Reference] = field(default_factory=list)
    legacy: list[LegacyImage] = field(default_factory=list)
    """When there is no config: what to make one from as soon as the DiffIDs are known."""


class _VerifyingReader:
    """Decompresses a window, and at the end has seen that its bytes have the right digest."""

    def __init__(self, window: FileWindow, digest: Digest) -> None:
        self._window = window
        self._digest = digest
        self._hash = hashlib.sha256()
        self._reader = Decompressor(self._compressed)

    def _compressed(self, size: int) -> bytes:
        data = self._window.read(size)
        self._hash.update(data)
        return data

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        if not data:
            while self._compressed(1 << 20):
                pass
            actual = Digest(self._hash.hexdigest())
            if actual != self._digest:
                raise Corrupt(f"layer {self._digest}: its bytes in the archive have the digest {actual}")
        return data


class Archive:
    """The members of an archive, by name; nothing is extracted."""

    def __init__(self, window: FileWindow) -> None:
        self._window = window
        self._files: dict[str, TarEntry] = {}
        self._links: dict[str, str] = {}
        for entry in scan(self._read_at, limits=TarLimits(entries=_MOST_MEMBERS)):
            self._add(entry)

    def _read_at(self, offset: int, size: int) -> bytes:
        size = min(size, self._window.size - offset)
        return os.pread(self._window.fd, size, self._window.offset + offset) if size > 0 else b""

    def _add(self, entry: TarEntry) -> None:
        name = member_name(entry.unsafe_path)
        self._files.pop(name, None)
        self._links.pop(name, None)
        if entry.kind == REGULAR:
            if entry.data_offset + entry.stored_size > self._window.size:
                raise Corrupt(f"the archive is truncated: it ends inside {name[:200]!r}")
            if entry.segments is not None:
                raise InvalidArgument(
                    f"the archive's member {name[:200]!r} is sparse: write it without holes"
                )
            self._files[name] = entry
        elif entry.kind == SYMLINK:
            self._links[name] = link_target(name, entry.link)
        elif entry.kind == HARDLINK:
            self._links[name] = member_name(entry.link)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, unsafe_name: str) -> TarEntry | None:
        name = member_name(unsafe_name)
        for _ in range(_MOST_LINKS):
            if name not in self._links:
                return self._files.get(name)
            name = self._links[name]
        return None

    def window(self, unsafe_name: str) -> FileWindow:
        """The contents of a member; raises InvalidArgument when it is not there."""
        entry = self._find(unsafe_name)
        if entry is None:
            raise InvalidArgument(
                f"the archive has no member {unsafe_name[:200]!r}, which its manifest names"
            )
        return FileWindow(self._window.fd, self._window.offset + entry.data_offset, entry.size)

    def document(self, unsafe_name: str, *, limit: int = oci.DOCUMENT_LIMIT) -> bytes:
        """The bytes of a small member."""
        window = self.window(unsafe_name)
        if window.size > limit:
            raise InvalidArgument(f"{unsafe_name[:200]!r} has {window.size} bytes, more than {limit}")
        return window.read(limit)

    def blob(self, digest: Digest) -> bytes:
        """A small blob of an OCI layout, verified."""
        path = imagearchive.blob_path(digest)
        return oci.verified(self.document(path), digest, f"{path} in the archive")


def plan_archive(archive: Archive, *, architecture: str) -> list[PlannedImage]:
    """The images of an archive, by the newest of its tables of contents that is understood."""
    if imagearchive.MANIFEST in archive:
        entries = imagearchive.parse_archive_manifest(archive.document(imagearchive.MANIFEST))
        if not entries:
            raise InvalidArgument("the archive's manifest.json names no image")
        return [_from_manifest(archive, entry) for entry in entries]
    if imagearchive.INDEX in archive:
        oci.check_layout(archive.document(imagearchive.LAYOUT))
        return list(_from_index(archive, archive.document(imagearchive.INDEX), architecture, [], 0))
    if imagearchive.REPOSITORIES in archive:
        return _from_repositories(archive)
    raise InvalidArgument(
        "this is not an image archive: it has neither manifest.json nor index.json"
        " (a root filesystem is taken in by `import`)"
    )


def _from_manifest(archive: Archive, entry: ArchivedImage) -> PlannedImage:
    config = archive.document(entry.config)
    _check_name(entry.config, config)
    document = oci.parse_image(config)
    diff_ids = document.diff_ids()
    if len(diff_ids) != len(entry.layers):
        raise InvalidArgument(
            f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(entry.layers)}"
        )
    layers = [
        PlannedLayer(diff_id, archive.window(path))
        for diff_id, path in zip(diff_ids, entry.layers, strict=True)
    ]
    references = [parse(text).tagged() for text in entry.repo_tags]
    if any(reference.digest is not None for reference in references):
        raise InvalidArgument("invalid manifest.json: a tag must not hold a digest")
    return PlannedImage(config, layers, references)


def _check_name(unsafe_path: str, config: bytes) -> None:
    """A config that is named by a digest must have it."""
    name = unsafe_path.rsplit("/", 1)[-1].removesuffix(".json")
    if len(name) == 64:
        oci.verified(config, Digest(name), f"the config {unsafe_path[:200]!r}")


def _from_index(
    archive: Archive, unsafe_index: bytes, architecture: str, outer: list[Reference], depth: int
) -> Iterator[PlannedImage]:
    """Images of an index; of an index inside it, the image for this machine."""
    index = oci.parse_manifest_or_index(unsafe_index)
    if not isinstance(index, oci.Index):
        raise InvalidArgument("index.json is not an index")
    if depth > _DEEPEST_INDEX or len(index.manifests) > imagearchive.MOST_IMAGES:
        raise InvalidArgument("the archive's index is nested too deep, or too long")
    chosen = [one for one in index.manifests if _is_image(one)]
    if depth:
        chosen = _for_machine(archive, chosen, architecture)
    names: dict[str, list[Reference]] = {}
    for one in chosen:
        name = imagearchive.reference_of(one.annotations)
        names.setdefault(one.digest, list(outer)).extend([name] if name else [])
    for text, references in names.items():
        descriptor = next(one for one in chosen if one.digest == text).checked()
        data = archive.blob(descriptor.digest)
        document = oci.parse_manifest_or_index(data, descriptor.media_type)
        if isinstance(document, oci.Index):
            yield from _from_index(archive, data, architecture, references, depth + 1)
        else:
            yield _from_oci(archive, document, references)


def _is_image(descriptor: oci.ContentDescriptor) -> bool:
    return _ATTESTATION not in (descriptor.annotations or {})


def _for_machine(
    archive: Archive, manifests: list[oci.ContentDescriptor], architecture: str
) -> list[oci.ContentDescriptor]:
    present = [one for one in manifests if imagearchive.blob_path(one.checked().digest) in archive]
    fitting = [
        one
        for one in present
        if one.platform is None or (one.platform.os, one.platform.architecture) == ("linux", architecture)
    ]
    if not fitting:
        raise InvalidArgument(f"the archive has no image for linux/{architecture}")
    return fitting[:1]


def _from_oci(archive: Archive, manifest: oci.Manifest, references: list[Reference]) -> PlannedImage:
    config = archive.blob(manifest.config.checked().digest)
    diff_ids = oci.parse_image(config).diff_ids()
    if len(diff_ids) != len(manifest.layers):
        raise InvalidArgument(
            f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(manifest.layers)}"
        )
    layers = []
    for diff_id, unsafe_layer in zip(diff_ids, manifest.layers, strict=True):
        layer = unsafe_layer.checked()
        window = archive.window(imagearchive.blob_path(layer.digest))
        if window.size != layer.size:
            raise Corrupt(f"layer {layer.digest} has {window.size} bytes in the archive, not {layer.size}")
        layers.append(PlannedLayer(diff_id, window, layer.digest))
    return PlannedImage(config, layers, references)


def _from_repositories(archive: Archive) -> list[PlannedImage]:
    images: dict[str, PlannedImage] = {}
    for name, tags in imagearchive.parse_repositories(archive.document(imagearchive.REPOSITORIES)).items():
        for tag, v1_id in tags.items():
            if v1_id not in images:
                chain = _chain(archive, v1_id)
                layers = [PlannedLayer(None, archive.window(f"{one.id}/layer.tar")) for one in chain]
                images[v1_id] = PlannedImage(b"", layers, [], chain)
            images[v1_id].references.append(parse(f"{name}:{tag}"))
    return list(images.values())


def _chain(archive: Archive, v1_id: str) -> list[LegacyImage]:
    """The v1 images from the bottom up to `v1_id`."""
    chain: list[LegacyImage] = []
    while v1_id:
        Digest(v1_id)  # 64 digits, or InvalidArgument
        image = imagearchive.parse_legacy(archive.document(f"{v1_id}/json"))
        image.id = v1_id
        chain.append(image)
        if len(chain) > oci.MOST_LAYERS:
            raise InvalidArgument(
                f"the archive's image {v1_id} has more than {oci.MOST_LAYERS} layers, or is its own parent"
            )
        v1_id = image.parent
    return chain[::-1]
