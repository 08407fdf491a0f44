"""Layers that are compressed while later steps run."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from carboy.build.exporters.compressing import Compressed
from carboy.build.exporters.encoders import Encoder
from carboy.build.graph import Graph, Scratch, Target, Vertex, in_images
from carboy.build.operation import Filesystem
from carboy.digest import Digest
from carboy.errors import Cancelled, NotFound
from carboy.formats import oci
from carboy.formats.dockerapi.images import ImageConfig
from support.archives import make_tar
from support.building import Workplace, chain
from support.exporting import LayerShop

GZIP, ZSTD = Encoder("gzip", 1), Encoder("zstd", 3)


class Shop(LayerShop):
    def layer(self, size: int = 5000) -> tuple[Digest, bytes]:
        tar = make_tar({"file": os.urandom(size)})
        return self.add(tar).diff_id, tar


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


def content(taken: Compressed) -> bytes:
    with open(taken.descriptor, "rb") as file:
        data = os.pread(file.fileno(), taken.size + 1, 0)
    assert Digest.of(data) == taken.digest
    assert len(data) == taken.size
    return data


def waiting(event: threading.Event) -> None:
    assert event.wait(40)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_begun_is_done_before_anybody_takes_it(shop: Shop) -> None:
    first, tar = shop.layer()
    checked = threading.Event()
    with closing(shop.compressing(GZIP, check=checked.set)) as compressing:
        compressing.begin([first])
        assert checked.wait(40)  # by a thread of the crew
        assert gzip.decompress(content(compressing.take(first, GZIP))) == tar


def test_a_layer_is_compressed_once_for_all_outputs(shop: Shop) -> None:
    first, tar = shop.layer()
    checks: list[int] = []
    with closing(shop.compressing(GZIP, GZIP, check=lambda: checks.append(1))) as compressing:
        for _ in range(3):
            compressing.begin([first])
        taken = [compressing.take(first, GZIP) for _ in range(2)]
    assert [gzip.decompress(content(one)) for one in taken] == [tar, tar]
    assert len(checks) == 3  # before it, its one piece, its end


def test_each_encoder_has_its_own(shop: Shop) -> None:
    first, _ = shop.layer()
    with closing(shop.compressing(GZIP, ZSTD, Encoder())) as compressing:
        compressing.begin([first])
        kinds = [content(compressing.take(first, encoder))[:2] for encoder in (GZIP, ZSTD)]
    assert kinds == [b"\x1f\x8b", b"\x28\xb5"]


def test_nothing_is_compressed_for_those_who_want_it_as_it_is(shop: Shop) -> None:
    first, _ = shop.layer()

    def check() -> None:
        raise AssertionError

    with closing(shop.compressing(Encoder(), check=check)) as compressing:
        compressing.begin([first])


def test_one_who_cannot_wait_for_the_crew_does_it(shop: Shop) -> None:
    first, tar = shop.layer()
    busy = threading.Event()
    for _ in range(2):
        shop.crew.submit(lambda: waiting(busy))
    try:
        with closing(shop.compressing(GZIP)) as compressing:
            compressing.begin([first])
            assert gzip.decompress(content(compressing.take(first, GZIP))) == tar
    finally:
        busy.set()


def test_cancelled_builds_leave_nothing_open(shop: Shop) -> None:
    layers = [shop.layer(3_000_000)[0] for _ in range(3)]
    before = open_files()
    reached, cancelled = threading.Event(), threading.Event()

    def check() -> None:
        reached.set()
        if cancelled.wait(40):
            raise Cancelled("enough")

    compressing = shop.compressing(GZIP, check=check)
    compressing.begin(layers)
    assert reached.wait(40)
    cancelled.set()
    with pytest.raises(Cancelled):
        compressing.take(layers[0], GZIP)
    compressing.close()
    assert open_files() == before


def test_what_nobody_took_is_let_go(shop: Shop) -> None:
    layers = [shop.layer()[0] for _ in range(5)]
    before = open_files()
    compressing = shop.compressing(GZIP)
    compressing.begin(layers)
    compressing.close()
    assert open_files() == before


def test_layers_that_are_gone_are_told_to_the_one_who_takes(shop: Shop) -> None:
    with closing(shop.compressing(GZIP)) as compressing:
        compressing.begin([Digest.of(b"nowhere")])
        with pytest.raises(NotFound):
            compressing.take(Digest.of(b"nowhere"), GZIP)


def test_steps_are_told_as_they_end(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    try:
        graph = chain("a", "b")
        told: list[tuple[int, int]] = []

        def made(index: int, value: object) -> None:
            assert isinstance(value, Filesystem)
            told.append((index, len(value.layers)))

        for _ in range(2):  # made, then taken from the cache
            told.clear()
            place.solver.solve(graph, replace(place.session(), made=made))
            assert told == [(0, 1), (1, 2), (2, 3)]
    finally:
        place.close()


def test_stages_that_files_are_copied_from_are_in_no_image() -> None:
    def vertex(index: int, *inputs: int) -> Vertex:
        return Vertex(index=index, name=f"step {index}", operation=Scratch(), inputs=inputs)

    graph = Graph(
        vertices=(vertex(0), vertex(1, 0), vertex(2), vertex(3, 2, 1), vertex(4, 3)),
        targets=(
            Target(
                stage="last",
                platform="linux/amd64",
                vertex=4,
                base=oci.ImageDocument(),
                config=ImageConfig(),
            ),
        ),
    )
    assert in_images(graph) == {2, 3, 4}
