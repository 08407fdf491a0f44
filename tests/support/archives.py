"""Making tars and image archives for tests, and taking them apart; the images of a private store."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carboy.digest import Digest
from carboy.engine.images.service import ImageService
from carboy.formats.tar import DIRECTORY, END, REGULAR, SYMLINK, TarEntry, encode, padding
from carboy.store.layers import ErofsLayers
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

Members = dict[str, bytes | tuple[str, str] | None]
"""By path: contents; ("->", target) for a symlink; None for a directory."""


def make_tar(members: Members) -> bytes:
    """A tar with these members, in this order."""
    out = io.BytesIO()
    for path, contents in members.items():
        name = path.encode()
        if contents is None:
            out.write(encode(TarEntry(name, DIRECTORY, mode=0o755)))
        elif isinstance(contents, tuple):
            out.write(encode(TarEntry(name, SYMLINK, mode=0o777, link=contents[1].encode())))
        else:
            out.write(encode(TarEntry(name, REGULAR, size=len(contents))) + contents + padding(len(contents)))
    out.write(END)
    return out.getvalue()


def config_of(layers: list[bytes], **more: object) -> bytes:
    """An image's config with these layers."""
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **more}).encode()


def docker_archive(layers: list[bytes], tags: list[str], **more: object) -> Members:
    """The members of an archive as Docker 20.10 writes it."""
    config = config_of(layers, **more)
    members: Members = {}
    paths = []
    for number, layer in enumerate(layers):
        paths.append(f"{number:064x}/layer.tar")
        members[f"{number:064x}/"] = None
        members[paths[-1]] = layer
    name = f"{Digest.of(config).hex}.json"
    members[name] = config
    members["manifest.json"] = json.dumps([{"Config": name, "RepoTags": tags, "Layers": paths}]).encode()
    return members


def oci_archive(layers: list[bytes], blobs: list[bytes], name: str, **more: object) -> Members:
    """The members of an OCI layout; `blobs` are the layers as they are stored (compressed or not)."""
    config = config_of(layers, **more)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob) for blob in blobs],
        }
    ).encode()
    entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    entry["annotations"] = {"io.containerd.image.name": name}
    members: Members = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
    }
    for blob in [config, manifest, *blobs]:
        members[f"blobs/sha256/{Digest.of(blob).hex}"] = blob
    return members


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    """A descriptor of some bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def unpack(archive: bytes) -> dict[str, bytes | None]:
    """The files and directories of an archive, read by the standard library."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            member.name: file.read() if (file := tar.extractfile(member)) else None
            for member in tar.getmembers()
        }


class Stream:
    """A source without a descriptor, as from the network."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 5000))

    def fileno(self) -> int | None:
        return None


class LocalFile:
    """A source or sink that is a file of the client's own."""

    def __init__(self, descriptor_: int) -> None:
        self._descriptor = descriptor_

    def read(self, size: int, /) -> bytes:
        return os.read(self._descriptor, size)

    def write(self, data: bytes | memoryview, /) -> None:
        raise AssertionError("the descriptor is used alone")

    def fileno(self) -> int | None:
        return self._descriptor


class Memory:
    """A sink without a descriptor."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def write(self, data: bytes | memoryview, /) -> None:
        self._file.write(data)

    def fileno(self) -> int | None:
        return None

    def value(self) -> bytes:
        return self._file.getvalue()


class Store:
    """A private store with an image service."""

    def __init__(self, root: Path, *, clock: Clock | None = None) -> None:
        self.paths = Paths(str(root / "root"), str(root / "run"))
        self.paths.create()
        self.database = Database(self.paths.db)
        self.layers = ErofsLayers(self.paths)
        self.snapshots = Snapshots(self.paths, self.layers)
        self.events: list[tuple[str, str]] = []
        self.clock = clock or Clock()
        self.images = ImageService(
            self.paths,
            self.database,
            self.layers,
            self.snapshots,
            emit=lambda action, actor, _: self.events.append((action, actor)),
            clock=self.clock,
        )

    def load(self, data: bytes) -> list[str]:
        """Load an archive from a stream; the lines that it prints."""
        messages = list(self.images.load(Stream(data)))
        return [message.stream for message in messages if isinstance(message.stream, str)]

    def import_tar(self, data: bytes, repository: str = "", tag: str = "", **options: object) -> str:
        """Import a tar from a stream."""
        changes = options.get("changes", [])
        assert isinstance(changes, list)
        return self.images.import_(
            Stream(data),
            repository=repository,
            tag=tag,
            message=str(options.get("message", "")),
            changes=changes,
            platform="linux/amd64",
        )

    def is_empty(self) -> bool:
        """Nothing is left: no layer, blob, record, unfinished work."""
        blobs = [blob.digest for blob in self.images.content.walk()]
        unfinished = os.listdir(self.paths.ingest)
        return not (self.layers.list() or blobs or self.images.records.all() or unfinished)

    def close(self) -> None:
        self.layers.close()
        self.database.close()


class Clock:
    """A clock that ticks when it is read."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


@contextmanager
def store_at(root: Path) -> Iterator[Store]:
    """A store that is closed at the end of the block."""
    store = Store(root)
    try:
        yield store
    finally:
        store.close()
