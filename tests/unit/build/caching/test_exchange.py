"""The build cache handed on: in a directory, in an image's config; and what is hostile in it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.build.caching.exchange import INLINE_KEY, OfferedCache, decode, inline_document, open_inline
from carboy.build.caching.layout import LayoutCache, export_cache
from carboy.build.operation import Filesystem
from carboy.build.solver import Solved
from carboy.digest import Digest
from carboy.errors import InvalidArgument, Malformed, NotFound
from support.building import Workplace, chain

NAMES = ["version", "entries", "key", "layers", "above", "record", "parents", "created_at"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path / "here")
    yield place
    place.close()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path / "there")
    yield place
    place.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def export(place: Workplace, solved: Solved, path: Path) -> int:
    with opened(path) as descriptor:
        return export_cache(solved.keys, descriptor, place.cache, place.layers)


def solve_with(place: Workplace, source: OfferedCache, *commands: str) -> Solved:
    return place.solver.solve(chain(*commands), place.session(), sources=[source])


def test_a_directory(here: Workplace, there: Workplace, directory: Path) -> None:
    solved = here.solve(chain("a", "false", "b"))
    assert export(here, solved, directory) == 3
    with opened(directory) as descriptor:
        source = LayoutCache(descriptor, there.cache, there.layers)
        again = solve_with(there, source, "a", "false", "b", "c")
    assert there.runs == ["RUN c"]
    assert again.cached == {1, 2, 3}
    assert again.values[3] == solved.values[3]
    assert again.outcomes[1].record == {"ran": "RUN a"}
    for layer in (one for one in again.layers.values() if one):
        there.layers.verify(layer)


def test_only_what_is_asked_for_is_taken_in(here: Workplace, there: Workplace, directory: Path) -> None:
    export(here, here.solve(chain("a", "b")), directory)
    with opened(directory) as descriptor:
        solve_with(there, LayoutCache(descriptor, there.cache, there.layers), "a")
    assert len(there.layers.list()) == 1


def test_everything_can_be_taken_in(here: Workplace, there: Workplace, directory: Path) -> None:
    export(here, here.solve(chain("a", "b")), directory)
    with opened(directory) as descriptor:
        offered = LayoutCache(descriptor, there.cache, there.layers)
        assert len(offered) == 2
        assert all(offered.bring(entry.key) for entry in here.cache.records())
    assert len(there.cache.records()) == 2


def test_only_those_who_name_the_cache_believe_it(here: Workplace, there: Workplace, directory: Path) -> None:
    export(here, here.solve(chain("a")), directory)
    with opened(directory) as descriptor:
        source = LayoutCache(descriptor, there.cache, there.layers)
        assert solve_with(there, source, "a").cached == {1}
        assert there.solve(chain("a")).cached == frozenset()
        assert there.solve(chain("a")).cached == {1}


def test_the_same_is_written_the_same(here: Workplace, tmp_path: Path) -> None:
    solved = here.solve(chain("a", "b"))
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export(here, solved, tmp_path / name)
        found.append(
            {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        )
    assert found[0] == found[1]


def test_a_newer_export_replaces_the_older(here: Workplace, directory: Path) -> None:
    export(here, here.solve(chain("a", "b")), directory)
    (directory / "blobs/sha256/mine").write_text("not the cache's")
    export(here, here.solve(chain("b")), directory)
    names = {path.name for path in (directory / "blobs/sha256").iterdir()}
    assert here.layer("a").hex not in names
    assert here.layer("b").hex in names
    assert "mine" in names
    assert len(names) == 4


def test_another_layout_is_left_alone(here: Workplace, directory: Path) -> None:
    (directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    with pytest.raises(InvalidArgument, match="something else"):
        export(here, here.solve(chain("a")), directory)
    assert not (directory / "blobs").exists()


def test_an_old_result_of_an_import_is_old(here: Workplace, there: Workplace, directory: Path) -> None:
    export(here, here.solve(chain("a")), directory)
    there.now += 100
    with opened(directory) as descriptor:
        source = LayoutCache(descriptor, there.cache, there.layers)
        assert solve_with(there, source, "a").cached == {1}
    entry = there.cache.records()[0]
    assert entry.created_at == here.now


# Hostile directories


def edit_index(directory: Path, **changes: object) -> None:
    index = json.loads((directory / "index.json").read_text())
    index["manifests"][0].update(changes)
    (directory / "index.json").write_text(json.dumps(index))


def blob_of(directory: Path, role: str) -> Path:
    index = json.loads((directory / "index.json").read_text())
    digest: str = index["manifests"][0]["digest"]
    manifest = directory / "blobs/sha256" / digest.removeprefix("sha256:")
    if role == "manifest":
        return manifest
    config: str = json.loads(manifest.read_text())["config"]["digest"]
    return directory / "blobs/sha256" / config.removeprefix("sha256:")


def make_empty(directory: Path) -> None:
    (directory / "index.json").unlink()


def make_fifo(directory: Path) -> None:
    (directory / "index.json").unlink()
    os.mkfifo(directory / "index.json")


def make_link(directory: Path) -> None:
    (directory / "index.json").rename(directory / "real")
    (directory / "index.json").symlink_to("real")


def make_blobs_link(directory: Path) -> None:
    (directory / "blobs").rename(directory / "real")
    (directory / "blobs").symlink_to("real")


def make_nested(directory: Path) -> None:
    (directory / "index.json").write_text("[" * 100_000)


def make_large(directory: Path) -> None:
    with (directory / "index.json").open("ab") as file:
        file.truncate(5 << 20)


def make_escaping(directory: Path) -> None:
    edit_index(directory, digest="sha256:../../../etc/passwd")


def make_other_type(directory: Path) -> None:
    edit_index(directory, artifactType="application/x-other")


def make_changed_manifest(directory: Path) -> None:
    blob = blob_of(directory, "manifest")
    blob.write_bytes(blob.read_bytes() + b" ")


def make_changed_config(directory: Path) -> None:
    blob = blob_of(directory, "config")
    blob.write_bytes(blob.read_bytes().replace(b"RUN", b"RAN"))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (make_empty, NotFound),
        (make_fifo, Malformed),
        (make_link, Malformed),
        (make_blobs_link, Malformed),
        (make_nested, Malformed),
        (make_large, Malformed),
        (make_escaping, Malformed),
        (make_other_type, Malformed),
        (make_changed_manifest, Malformed),
        (make_changed_config, Malformed),
    ],
)
def test_hostile_directories(
    here: Workplace, there: Workplace, directory: Path, damage: object, error: type[Exception]
) -> None:
    export(here, here.solve(chain("a")), directory)
    assert callable(damage)
    damage(directory)
    with opened(directory) as descriptor, pytest.raises(error):
        LayoutCache(descriptor, there.cache, there.layers)


@pytest.mark.parametrize("damage", ["changed", "missing", "link", "fifo", "short"])
def test_a_damaged_layer_is_told_and_not_taken(
    here: Workplace, there: Workplace, directory: Path, damage: str
) -> None:
    export(here, here.solve(chain("a")), directory)
    blob = directory / "blobs/sha256" / here.layer("a").hex
    data = blob.read_bytes()
    blob.unlink()
    if damage == "changed":
        blob.write_bytes(data.replace(b"a", b"b"))
    elif damage == "short":
        blob.write_bytes(data[:600])
    elif damage == "link":
        (directory / "real").write_bytes(data)
        blob.symlink_to("../../real")
    elif damage == "fifo":
        os.mkfifo(blob)
    told: list[str] = []
    with opened(directory) as descriptor:
        source = LayoutCache(descriptor, there.cache, there.layers, warn=told.append)
        assert solve_with(there, source, "a").cached == frozenset()
    assert len(told) == 1
    assert there.layers.exists(there.layer("a"))
    assert there.runs == ["RUN a"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b'{"version": 2, "entries": []}',
        b'{"version": 1, "entries": [{"key": "../x"}]}',
        b'{"version": 1, "entries": [{"key": "sha256:%s", "layers": ["x"]}]}' % (b"0" * 64),
        b'{"version": 1, "entries": [{"key": 1}]}',
        b'{"version": 1, "entries": ' + b"[" * 1000,
    ],
)
def test_hostile_documents(there: Workplace, document: bytes) -> None:
    with pytest.raises(Malformed):
        decode(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(JSON | st.fixed_dictionaries({"version": st.just(1), "entries": st.lists(JSON, max_size=4)}))
def test_any_document_is_read_or_refused(document: object) -> None:
    with contextlib.suppress(Malformed):
        decode(msgspec.json.encode(document))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode(data)


# Inline


def config_of(solved: Solved, extra: dict[str, object]) -> bytes:
    value = solved.values[max(solved.values)]
    assert isinstance(value, Filesystem)
    rootfs = {"type": "layers", "diff_ids": [str(layer) for layer in value.layers]}
    return msgspec.json.encode({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **extra})


def layers_of(solved: Solved) -> set[Digest]:
    return {layer for layer in solved.layers.values() if layer is not None}


def test_inline(here: Workplace, there: Workplace) -> None:
    solved = here.solve(chain("a", "false", "b"))
    document = inline_document(solved.keys, layers_of(solved), here.cache)
    assert "created_at" not in json.dumps(document)
    there.layer("a"), there.layer("b")  # the image has been pulled
    source = open_inline(config_of(solved, {INLINE_KEY: document}), there.cache, there.layers)
    assert source is not None
    assert solve_with(there, source, "a", "false", "b").cached == {1, 2, 3}


def test_inline_offers_only_layers_of_its_image(here: Workplace, there: Workplace) -> None:
    solved = here.solve(chain("a", "b"))
    document = inline_document(solved.keys, layers_of(solved), here.cache)
    there.layer("a"), there.layer("b")
    other = here.solve(chain("other"))
    assert open_inline(config_of(other, {INLINE_KEY: document}), there.cache, there.layers) is None
    one = here.layer("a")
    assert len(document_entries(inline_document(solved.keys, {one}, here.cache))) == 1


def document_entries(document: dict[str, object]) -> list[object]:
    entries = document["entries"]
    assert isinstance(entries, list)
    return entries


def test_an_image_without_an_inline_cache(here: Workplace) -> None:
    assert open_inline(config_of(here.solve(chain("a")), {}), here.cache, here.layers) is None


def test_an_inline_cache_that_makes_no_sense(here: Workplace) -> None:
    solved = here.solve(chain("a"))
    with pytest.raises(Malformed):
        open_inline(config_of(solved, {INLINE_KEY: {"version": 7, "entries": []}}), here.cache, here.layers)
    with pytest.raises(Malformed):
        open_inline(b"nonsense", here.cache, here.layers)


def test_an_inline_cache_whose_layers_are_not_here_is_a_miss(here: Workplace, there: Workplace) -> None:
    solved = here.solve(chain("a"))
    document = inline_document(solved.keys, layers_of(solved), here.cache)
    source = open_inline(config_of(solved, {INLINE_KEY: document}), there.cache, there.layers)
    assert source is not None
    assert solve_with(there, source, "a").cached == frozenset()
