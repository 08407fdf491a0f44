"""Configs of images that were built: no clock, a history that fits the layers."""

from __future__ import annotations

import pytest

from carboy.build.exporters.document import result_document
from carboy.build.graph import HistoryStep, Target
from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats import oci
from carboy.formats.dockerapi.images import ImageConfig

A, B, C = (Digest(letter * 64) for letter in "abc")


def made(**more: object) -> oci.ImageDocument:
    fields: dict[str, object] = {
        "stage": "s",
        "platform": "linux/amd64",
        "vertex": 3,
        "base": oci.ImageDocument(
            architecture="amd64",
            os="linux",
            author="them",
            created="2020-01-01T00:00:00Z",
            docker_version="19",
            rootfs=oci.RootFS(diff_ids=[str(A)]),
            history=[oci.History(created="2020-01-01T00:00:00Z", created_by="base")],
        ),
        "config": ImageConfig(env=["A=b"]),
        "history": (
            HistoryStep(created_by="ENV A=b"),
            HistoryStep(created_by="RUN x", vertex=2),
            HistoryStep(created_by="RUN true", vertex=3),
        ),
        **more,
    }
    return result_document(Target(**fields), (A, B), {2: B, 3: None}, epoch=0)  # type: ignore[arg-type]


def test_the_history_fits_the_layers() -> None:
    found = made()
    assert [(one.created_by, one.empty_layer) for one in found.history] == [
        ("base", False),
        ("ENV A=b", True),
        ("RUN x", False),
        ("RUN true", True),
    ]
    assert found.rootfs.diff_ids == [str(A), str(B)]


def test_times_are_the_epoch_and_those_of_the_base_stay() -> None:
    found = made()
    assert found.created == "1970-01-01T00:00:00Z"
    assert [one.created for one in found.history] == ["2020-01-01T00:00:00Z"] + ["1970-01-01T00:00:00Z"] * 3
    assert found.docker_version == ""


def test_authors_and_platforms() -> None:
    assert made().author == "them"
    assert made(author="me").author == "me"
    empty = made(base=oci.ImageDocument(), platform="linux/arm/v7")
    assert (empty.os, empty.architecture, empty.variant) == ("linux", "arm", "v7")
    based = made(
        base=oci.ImageDocument(architecture="arm64", os="linux", variant="v8"), platform="linux/arm64"
    )
    assert (based.architecture, based.variant) == ("arm64", "v8")


def test_equal_things_have_equal_bytes() -> None:
    assert oci.encode_image(made()) == oci.encode_image(made())


def test_too_many_layers_are_refused() -> None:
    target = Target(
        stage="", platform="linux/amd64", vertex=0, base=oci.ImageDocument(), config=ImageConfig()
    )
    with pytest.raises(InvalidArgument, match="128 layers"):
        result_document(target, [C] * 128, {}, epoch=0)
