"""Images as archives: what they hold, what their layers are compressed with."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from carboy.build.exporters.encoders import Encoder, parse_encoder
from carboy.build.exporters.flat import directory_names
from carboy.build.exporters.layouts import BuiltImage, Layout, plan_layout
from carboy.digest import Digest
from carboy.errors import Cancelled, InvalidArgument
from carboy.formats.reference import parse
from support.archives import make_tar
from support.exporting import LayerShop

NAMES = [parse("example.org/a:1"), parse("b:2")]


class Shop(LayerShop):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.tars = [make_tar({f"file{number}": bytes([number]) * 5000}) for number in range(2)]
        made = [self.add(tar) for tar in self.tars]
        self.images = [
            BuiltImage(
                "t",
                f"linux/{name}",
                json.dumps({"architecture": name}).encode(),
                tuple((layer.diff_id, layer.size) for layer in made[:count]),
            )
            for name, count in (("amd64", 2), ("arm64", 1))
        ]

    def plan(self, kind: str, images: list[BuiltImage], encoder: Encoder, **more: Any) -> Layout:
        given: dict[str, Any] = {"oci_types": True, "names": NAMES, **more}
        check = given.pop("check", lambda: None)
        with closing(self.compressing(encoder, check=check)) as compressing:
            return plan_layout(kind, images, encoder=encoder, compressing=compressing, **given)

    def files(self, layout: Layout) -> dict[str, bytes]:
        sink = Kept()
        layout.write(self.layers, sink)
        again = Kept()
        layout.write(self.layers, again)
        assert again.data == sink.data
        layout.close()
        with tarfile.open(fileobj=io.BytesIO(sink.data)) as tar:
            found = {}
            for member in tar:
                file = tar.extractfile(member)
                assert member.mtime == 0
                found[member.name] = file.read() if file is not None else b""
        assert list(found) == sorted(found)
        return found


class Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes | memoryview, /) -> None:
        self.data += data

    def fileno(self) -> int | None:
        return None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


def blob(files: dict[str, bytes], digest: str) -> bytes:
    data = files["blobs/sha256/" + digest.removeprefix("sha256:")]
    assert str(Digest.of(data)) == digest
    return data


def inflated(form: str, data: bytes) -> bytes:
    if form == "gzip":
        assert data[4:8] == bytes(4)  # no time in its header
        return gzip.decompress(data)
    if form == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


@pytest.mark.parametrize("form", ["uncompressed", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_every_blob_is_what_it_is_called(shop: Shop, kind: str, form: str) -> None:
    encoder = parse_encoder({"compression": form})
    layout = shop.plan(kind, shop.images[:1], encoder)
    assert layout.encoder.startswith({"uncompressed": "uncompressed", "gzip": "isal ", "zstd": "zstd "}[form])
    files = shop.files(layout)
    index = json.loads(files["index.json"])
    assert [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]] == [
        "example.org/a:1",
        "docker.io/library/b:2",
    ]
    manifest = json.loads(blob(files, index["manifests"][0]["digest"]))
    assert blob(files, manifest["config"]["digest"]) == shop.images[0].config
    found = [inflated(form, blob(files, one["digest"])) for one in manifest["layers"]]
    assert found == shop.tars
    suffix = {"uncompressed": "tar", "gzip": "tar+gzip", "zstd": "tar+zstd"}[form]
    assert {one["mediaType"] for one in manifest["layers"]} == {
        f"application/vnd.oci.image.layer.v1.{suffix}"
    }
    assert ("manifest.json" in files) == (kind == "docker")
    if kind == "docker":
        assert json.loads(files["manifest.json"])[0]["RepoTags"] == ["example.org/a:1", "b:2"]


def test_docker_media_types_on_demand(shop: Shop) -> None:
    files = shop.files(shop.plan("oci", shop.images[:1], Encoder(), oci_types=False))
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    manifest = json.loads(blob(files, digest))
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"


def test_several_platforms_are_an_index(shop: Shop) -> None:
    layout = shop.plan("oci", shop.images, Encoder())
    files = shop.files(layout)
    top = json.loads(files["index.json"])["manifests"][0]
    assert top["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert top["digest"] == str(layout.digest)
    inner = json.loads(blob(files, top["digest"]))["manifests"]
    assert [one["platform"] for one in inner] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    with pytest.raises(InvalidArgument, match="type=oci"):
        shop.plan("docker", shop.images, Encoder())


def test_a_cancelled_export_leaves_nothing_open(shop: Shop) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        shop.plan("oci", shop.images[:1], Encoder("gzip", 1), check=check)


@pytest.mark.parametrize(
    "attributes",
    [
        {"compression": "lzma"},
        {"compression": "gzip", "compression-level": "10"},
        {"compression": "zstd", "compression-level": "0"},
        {"compression": "zstd", "compression-level": "-1"},
        {"compression": "gzip", "compression-level": "x"},
    ],
)
def test_odd_compressions_are_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        parse_encoder(attributes)


def test_encoders_are_named_with_versions() -> None:
    assert parse_encoder({}) == Encoder()
    assert parse_encoder({"compression": "zstd", "compression-level": "19"}).name.endswith(" level 19")
    assert parse_encoder({"compression": "gzip"}).name.endswith(" level 2")


def test_directories_of_trees() -> None:
    assert directory_names([("a", "linux/amd64")]) == [""]
    assert directory_names([("a", "linux/amd64"), ("a", "linux/arm64/v8")]) == [
        "linux_amd64",
        "linux_arm64_v8",
    ]
    assert directory_names([("a", "linux/amd64"), ("b", "linux/amd64")]) == ["a", "b"]
