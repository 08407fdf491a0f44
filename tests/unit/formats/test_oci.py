"""OCI documents: what is read, what is refused, what is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.digest import Descriptor, Digest
from carboy.errors import CarboyError, Corrupt, InvalidArgument
from carboy.formats import imagearchive, oci
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.wire import Empty

ZERO = "sha256:" + "0" * 64
DESCRIPTOR = {"mediaType": oci.LAYER_TYPE, "digest": ZERO, "size": 1}
MANIFEST = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
INDEX = {"schemaVersion": 2, "manifests": [DESCRIPTOR]}


def parse(document: object, media_type: str = "") -> oci.Manifest | oci.Index:
    return oci.parse_manifest_or_index(json.dumps(document).encode(), media_type)


def test_manifests_and_indexes_are_told_apart() -> None:
    assert isinstance(parse(MANIFEST), oci.Manifest)
    assert isinstance(parse(INDEX), oci.Index)
    assert isinstance(parse({**INDEX, "mediaType": oci.DOCKER_INDEX_TYPE}, oci.DOCKER_INDEX_TYPE), oci.Index)


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        ({**MANIFEST, **INDEX}, "", "both `layers` and `manifests`"),
        ({**MANIFEST, "mediaType": oci.INDEX_TYPE}, "", "not what its media type says"),
        (MANIFEST, oci.INDEX_TYPE, "not what its media type says"),
        ({**MANIFEST, "mediaType": oci.MANIFEST_TYPE}, oci.DOCKER_MANIFEST_TYPE, "media types differ"),
        ({**MANIFEST, "schemaVersion": 1}, "", "schemaVersion 1"),
        ({"schemaVersion": 2}, "", "invalid manifest"),
        ({**MANIFEST, "layers": "x"}, "", "invalid manifest"),
        ([], "", "invalid manifest"),
    ],
)
def test_confusing_manifests_are_refused(document: object, media_type: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(document, media_type)


def test_descriptors_are_checked() -> None:
    good = parse(MANIFEST)
    assert isinstance(good, oci.Manifest)
    assert good.config.checked() == Descriptor(oci.LAYER_TYPE, Digest("0" * 64), 1)
    for wrong in ({"digest": "sha256:../x"}, {"digest": "md5:00"}, {"size": -1}):
        bad = parse({**MANIFEST, "config": {**DESCRIPTOR, **wrong}})
        assert isinstance(bad, oci.Manifest)
        with pytest.raises(InvalidArgument):
            bad.config.checked()


def test_limits() -> None:
    with pytest.raises(InvalidArgument, match="more than"):
        oci.parse_manifest_or_index(b" " * (oci.DOCUMENT_LIMIT + 1))
    with pytest.raises(InvalidArgument, match="deeper"):
        oci.parse_manifest_or_index(b'{"x":' * 1000 + b"1" + b"}" * 1000)
    with pytest.raises(InvalidArgument, match="deeper"):
        oci.parse_image(b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}")
    with pytest.raises(InvalidArgument, match="more than 127"):
        oci.parse_image(json.dumps({"rootfs": {"diff_ids": [ZERO] * 128}}).encode())


def test_wrong_bytes_are_corrupt() -> None:
    assert oci.verified(b"x", Digest.of(b"x"), "it") == b"x"
    with pytest.raises(Corrupt, match="it has the digest"):
        oci.verified(b"y", Digest.of(b"x"), "it")


def test_configs_are_read_as_docker_does() -> None:
    document = oci.parse_image(
        b'{"Architecture":"arm64","config":{"Cmd":null,"Entrypoint":"sh","env":["A=1"],"Labels":null},'
        b'"rootfs":{"type":"layers","diff_ids":null},"history":[{"empty_layer":true},null],"unknown":{"a":[1]}}'
    )
    assert document.architecture == "arm64"
    assert document.config.cmd is None
    assert document.config.entrypoint == ["sh"]
    assert document.config.env == ["A=1"]
    assert [step.empty_layer for step in document.history] == [True, False]


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"1", b'{"rootfs":{"diff_ids":["x"]}}', b'{"config":[]}', b"\xff"]
)
def test_configs_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="invalid image config"):
        oci.parse_image(text)


def test_written_configs_say_nothing_twice() -> None:
    document = oci.ImageDocument(
        architecture="amd64",
        os="linux",
        config=ImageConfig(cmd=["sh"], exposed_ports={"80/tcp": Empty()}, env=["B=1", "A=2"]),
        rootfs=oci.RootFS(diff_ids=[ZERO]),
        history=[oci.History(created_by="x"), oci.History(empty_layer=True)],
    )
    data = oci.encode_image(document)
    assert oci.parse_image(data) == document
    assert data == oci.encode_image(oci.parse_image(data))
    assert json.loads(data) == {
        "architecture": "amd64",
        "config": {"Cmd": ["sh"], "Env": ["B=1", "A=2"], "ExposedPorts": {"80/tcp": {}}},
        "history": [{"created_by": "x"}, {"empty_layer": True}],
        "os": "linux",
        "rootfs": {"diff_ids": [ZERO], "type": "layers"},
    }


def test_written_manifests_can_be_read() -> None:
    descriptor = Descriptor(oci.LAYER_TYPE, Digest("1" * 64), 5)
    data = oci.encode_manifest(descriptor, [descriptor])
    manifest = oci.parse_manifest_or_index(data, oci.MANIFEST_TYPE)
    assert isinstance(manifest, oci.Manifest)
    assert manifest.layers[0].checked() == descriptor
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


def test_links_stay_inside_the_archive() -> None:
    assert imagearchive.link_target("a/b/layer.tar", b"../c/layer.tar") == "a/c/layer.tar"
    assert imagearchive.link_target("a/layer.tar", b"../../x") == ""
    assert imagearchive.link_target("a/layer.tar", b"/etc/passwd") == ""
    assert imagearchive.member_name("./a//b/") == "a/b"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (
        oci.parse_image,
        oci.parse_manifest_or_index,
        oci.check_layout,
        imagearchive.parse_archive_manifest,
        imagearchive.parse_repositories,
        imagearchive.parse_legacy,
    ):
        try:
            read(data)
        except CarboyError:
            pass
