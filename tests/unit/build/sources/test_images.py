"""Base images of the local store, in Docker's words when they are not there; emulation is said loudly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carboy.build.sources.images import StoredBases, StoredImage, absent, emulation, same_platform
from carboy.digest import Digest
from carboy.errors import NotFound
from carboy.formats.oci import ImageDocument

ID = Digest("a" * 64)
LAYER = Digest("b" * 64)


@dataclass(frozen=True)
class Stored:
    """An image in the store."""

    id: Digest
    config: ImageDocument
    diff_ids: tuple[Digest, ...]


@dataclass
class Store:
    """Fulfils Images."""

    images: dict[str, ImageDocument] = field(default_factory=dict)

    def image_for_container(self, unsafe_ref: str) -> StoredImage:
        if unsafe_ref not in self.images:
            raise NotFound(f"No such image: {unsafe_ref}")
        return Stored(ID, self.images[unsafe_ref], (LAYER,))


def bases(said: list[str], *, pull: bool = False) -> StoredBases:
    store = Store(
        {
            "here": ImageDocument(os="linux", architecture="amd64"),
            "other": ImageDocument(os="linux", architecture="arm64", variant="v8"),
        }
    )
    return StoredBases(images=store, host_platform="linux/amd64", pull=pull, warn=said.append)


def test_an_image_of_the_store_is_found() -> None:
    said: list[str] = []
    found = bases(said).resolve("here", "linux/amd64")
    assert (found.image_id, found.layers, found.platform) == (str(ID), (str(LAYER),), "linux/amd64")
    assert bases(said).resolve("here", "") == found
    assert said == []


def test_an_image_for_another_machine_is_taken_when_nobody_asked() -> None:
    said: list[str] = []
    assert bases(said).resolve("other", "").platform == "linux/arm64/v8"
    assert "building for linux/arm64/v8 (this machine is linux/amd64)" in said[0]
    assert bases(said).resolve("other", "linux/arm64").platform == "linux/arm64/v8"


def test_an_image_for_another_machine_than_asked_for_is_not_there() -> None:
    with pytest.raises(NotFound) as caught:
        bases([]).resolve("other", "linux/amd64")
    assert "image with reference other was found but its platform (linux/arm64/v8) does not match" in str(
        caught.value
    )


def test_pulling_is_said_to_come_later() -> None:
    said: list[str] = []
    bases(said, pull=True).resolve("here", "")
    assert said == ["--pull: images cannot be pulled yet; here is the one in the local store"]


def test_an_image_that_is_not_there_is_told_as_by_docker() -> None:
    with pytest.raises(NotFound) as caught:
        bases([]).resolve("python:3.12", "")
    assert str(caught.value).startswith(
        "pull access denied for python, repository does not exist or may require 'docker login'"
    )
    assert "carboy load" in str(caught.value)
    assert absent("debain:12", ("busybox:1", "debian:12")).endswith(" (did you mean debian:12?)")
    assert "did you mean" not in absent("python:3.12", ("busybox:1", "debian:12"))
    assert absent("reg.test:5000/a/b@sha256:" + "c" * 64).startswith(
        "pull access denied for reg.test:5000/a/b,"
    )
    assert absent("sha256:" + "c" * 64) == "No such image: sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64/v3", "linux/amd64", False),
    ],
)
def test_platforms_are_compared_with_their_usual_variants(one: str, other: str, same: bool) -> None:
    assert same_platform(one, other) is same


def test_emulation_is_said_loudly(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert emulation("linux/amd64", "linux/amd64", directory=directory) == ""
    assert emulation("linux/386", "linux/amd64", directory=directory) == ""
    missing = emulation("linux/arm64", "linux/amd64", directory=directory)
    assert "exec format error" in missing
    assert "qemu-aarch64" in missing
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\n")
    assert "emulated by /usr/bin/qemu-aarch64-static" in emulation(
        "linux/arm64", "linux/amd64", directory=directory
    )
    (tmp_path / "qemu-aarch64").write_text("disabled\ninterpreter /usr/bin/qemu-aarch64-static\n")
    assert emulation("linux/arm64", "linux/amd64", directory=directory) == missing
