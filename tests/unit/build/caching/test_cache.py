"""The build cache: entries, what they hold, what goes and what stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.build.caching.cache import BuildCache, Made
from carboy.build.caching.history import packed
from carboy.build.caching.mounts import CacheMounts
from carboy.build.caching.pruning import Item, PruneOptions, choose, keep_within, list_items, prune
from carboy.build.operation import Filesystem, Ingredients
from carboy.build.progress import Cancellation
from carboy.digest import Digest
from carboy.engine.images.service import ImageService
from carboy.store.gc import LAYER, Key
from carboy.store.snapshots import Snapshots
from support.building import Workplace

BASE = Filesystem((Digest("a" * 64),))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def put(
    place: Workplace, key: str, text: str = "", *, origin: str = "", base: Filesystem | None = BASE
) -> Digest:
    layer = place.layer(text or key)
    value = (base or Filesystem()).above(layer)
    place.cache.put(
        Made(key=key, value=value, base=base, operation="Run", description=f"RUN {key}", origin=origin)
    )
    place.cache.release([key])
    return layer


def collector(place: Workplace) -> ImageService:
    snapshots = Snapshots(place.paths, place.layers)
    images = ImageService(place.paths, place.database, place.layers, snapshots)
    images.add_roots(place.cache.roots)
    return images


def test_a_layer_above_whatever_it_stands_on(place: Workplace) -> None:
    layer = put(place, "a")
    entry = place.cache.find("a")
    assert entry is not None
    other = Filesystem((Digest("b" * 64),))
    assert entry.value(other) == other.above(layer)
    assert entry.layer == layer


def test_a_whole_filesystem(place: Workplace) -> None:
    layer = put(place, "git", base=None)
    entry = place.cache.find("git")
    assert entry is not None
    assert entry.value(None) == Filesystem((layer,))


def test_nothing_added(place: Workplace) -> None:
    place.cache.put(Made(key="a", value=BASE, base=BASE, operation="Run", description=""))
    place.reopen()
    entry = place.cache.find("a")
    assert entry is not None
    assert entry.layer is None
    assert entry.value(BASE) == BASE


def test_everything_is_there_after_reopening(place: Workplace) -> None:
    put(place, "a")
    place.cache.find("a")
    place.cache.release(["a"])
    place.cache.flush()
    before = place.cache.records()
    place.reopen()
    assert place.cache.records() == before
    assert before[0].uses == 1


def test_rows_that_make_no_sense_are_misses(place: Workplace) -> None:
    put(place, "a")
    put(place, "b")
    with place.database.write() as connection:
        connection.execute("UPDATE build_cache SET layers='sha256:../../x' WHERE key='a'")
        connection.execute("UPDATE build_cache SET record='{' WHERE key='b'")
    place.reopen()
    assert place.cache.find("a") is None
    assert place.cache.find("b") is None


def test_the_collector_leaves_cached_layers_until_they_are_pruned(place: Workplace) -> None:
    layer = put(place, "a")
    stray = place.layer("stray")
    images = collector(place)
    assert images.collect() == [(LAYER, str(stray))]
    mounts = CacheMounts(place.paths, place.database)
    size = place.layers.get(layer).size
    pruned = prune(place.cache, mounts, PruneOptions(), collect=images.collect)
    assert (len(pruned.ids), pruned.freed) == (1, size)
    assert not place.layers.exists(layer)
    assert place.cache.find("a") is None


def test_a_layer_of_two_entries_stays_with_the_second(place: Workplace) -> None:
    layer = put(place, "a", "same")
    put(place, "b", "same")
    images = collector(place)
    mounts = CacheMounts(place.paths, place.database)
    pruned = prune(place.cache, mounts, PruneOptions(filters={"id": ["a"]}), collect=images.collect)
    assert pruned.ids == ("a",)
    assert pruned.freed == 0
    assert place.layers.exists(layer)


def test_what_is_in_use_stays(place: Workplace) -> None:
    put(place, "a")
    put(place, "b")
    place.cache.find("a")
    mounts = CacheMounts(place.paths, place.database)
    (held,) = mounts.acquire_all([("pip", "shared")], Cancellation())
    pruned = prune(place.cache, mounts, PruneOptions(everything=True), collect=nothing)
    assert pruned.ids == ("b",)
    place.cache.release(["a"])
    held.release()
    assert len(prune(place.cache, mounts, PruneOptions(), collect=nothing).ids) == 2


def nothing(_keys: list[Key]) -> list[Key]:
    return []


def test_what_images_share_goes_only_with_everything(place: Workplace) -> None:
    layer = put(place, "a")
    mounts = CacheMounts(place.paths, place.database)
    shared = {str(layer)}
    (item,) = list_items(place.cache, mounts, shared=shared)
    assert item.shared
    assert prune(place.cache, mounts, PruneOptions(), collect=nothing, shared=shared).ids == ()
    everything = PruneOptions(everything=True)
    assert prune(place.cache, mounts, everything, collect=nothing, shared=shared).ids == ("a",)


def test_a_bound_takes_the_longest_unused_first(place: Workplace) -> None:
    for key in "abcd":
        put(place, key)
        place.now += 10
    size = place.cache.records()[0].size
    place.cache.find("a")
    place.cache.release(["a"])
    mounts = CacheMounts(place.paths, place.database)
    assert keep_within(2 * size, place.cache, mounts, collect=nothing).ids == ("b", "c")
    assert keep_within(2 * size, place.cache, mounts, collect=nothing).ids == ()
    assert {entry.key for entry in place.cache.records()} == {"a", "d"}


def test_an_imported_entry_is_believed_only_by_those_who_name_its_cache(place: Workplace) -> None:
    put(place, "a", origin="there")
    assert place.cache.find("a") is None
    assert place.cache.find("a", origins=["elsewhere"]) is None
    assert place.cache.find("a", origins=["there"]) is not None
    layer = put(place, "a", "made here")
    entry = place.cache.find("a")
    assert entry is not None
    put(place, "a", "poison", origin="there")
    entry = place.cache.find("a")
    assert entry is not None
    assert entry.layer == layer


def test_ingredients_go_when_nothing_names_them(place: Workplace) -> None:
    history = place.cache.history
    put(place, "a")
    history.remember("a", Ingredients("run", {"command": "a"}))
    history.remember("b", Ingredients("run", {"command": "b"}))
    history.remember("c", Ingredients("run", {"command": "c"}))
    history.stand("place", "b", "RUN b")
    place.cache.flush()
    history.sweep()
    assert [history.knows(key) for key in "abc"] == [True, True, False]
    assert history.recall("b") == Ingredients("run", {"command": "b"})


def test_packed_ingredients_are_the_same(place: Workplace) -> None:
    many = Ingredients("files", {f"file {number}": "0644" for number in range(10_000)})
    history = place.cache.history
    history.remember("a", packed(many))
    assert history.recall("a") == many
    place.cache.flush()
    assert history.recall("a") == many


def test_damaged_ingredients_are_not_known(place: Workplace) -> None:
    place.cache.history.remember("a", Ingredients("run", {}))
    place.cache.flush()
    with place.database.write() as connection:
        connection.execute("UPDATE build_ingredients SET document=x'00'")
    assert place.cache.history.recall("a") is None


def test_a_fresh_cache_of_the_same_database(place: Workplace) -> None:
    put(place, "a")
    assert BuildCache(place.database, place.layers).find("a") is not None


def item(
    name: str, *, size: int = 10, last_used: float = 0, layers: tuple[str, ...] = (), **more: bool
) -> Item:
    return Item(
        name=name,
        id=name,
        parents=("p" + name,),
        description=f"RUN {name}",
        in_use=more.get("in_use", False),
        shared=more.get("shared", False),
        size=size,
        created_at=0,
        last_used=last_used,
        uses=0,
        layers=layers or (name,),
    )


ITEMS = [
    item("a", last_used=1),
    item("b", last_used=2, in_use=True),
    item("c", last_used=3, shared=True),
    item("d", last_used=4),
    item("e", last_used=5),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PruneOptions(), "ade"),
        (PruneOptions(everything=True), "acde"),
        (PruneOptions(unused_since=4), "ad"),
        (PruneOptions(filters={"id": ["d"]}), "d"),
        (PruneOptions(filters={"parent": ["pe"]}), "e"),
        (PruneOptions(filters={"type": ["exec.cachemount"]}), ""),
        (PruneOptions(filters={"description": ["RUN a", "RUN e"]}), "ae"),
        (PruneOptions(filters={"inuse": ["true"]}), ""),
        (PruneOptions(filters={"shared": ["true"]}, everything=True), "c"),
        (PruneOptions(filters={"private": ["true"]}, everything=True), "ade"),
        (PruneOptions(max_used_space=40), ""),
        (PruneOptions(max_used_space=25), "ad"),
        (PruneOptions(max_used_space=1), "ade"),
        (PruneOptions(max_used_space=1, reserved_space=30), "a"),
        (PruneOptions(reserved_space=20), "ad"),
        (PruneOptions(min_free_space=100), "a"),
        (PruneOptions(min_free_space=50), ""),
    ],
)
def test_choosing(options: PruneOptions, expected: str) -> None:
    assert "".join(one.name for one in choose(ITEMS, options, free=95)) == expected


def test_a_layer_that_two_items_have_is_freed_by_the_last() -> None:
    items = [item("a", layers=("x",)), item("b", last_used=1, layers=("x",)), item("c", last_used=2)]
    assert [one.name for one in choose(items, PruneOptions(max_used_space=10))] == ["a", "b"]
