"""Garbage collection: the plan as a function, leases, and races between taking in and removing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.digest import Digest
from carboy.errors import NotFound
from carboy.store.gc import ANY, LAYER, Key, plan
from carboy.store.leases import Leases
from carboy.store.metadata import Database
from support.archives import Store, make_tar, store_at

KEYS = st.tuples(st.sampled_from(["layer", "blob", "image"]), st.sampled_from("abcdefgh"))


@given(
    present=st.sets(KEYS),
    roots=st.lists(KEYS, max_size=4),
    references=st.dictionaries(KEYS, st.lists(KEYS, max_size=4)),
)
def test_exactly_what_no_root_reaches_goes(
    present: set[Key], roots: list[Key], references: dict[Key, list[Key]]
) -> None:
    garbage = set(plan(present, roots, references))
    # The slow and obvious way: grow until nothing changes.
    reached = set(roots)
    while more := {target for key in reached for target in references.get(key, [])} - reached:
        reached |= more
    assert garbage == present - reached


@given(present=st.sets(KEYS), roots=st.lists(KEYS, max_size=3))
def test_a_lease_on_any_keeps_the_whole_kind(present: set[Key], roots: list[Key]) -> None:
    garbage = plan(present, [*roots, (LAYER, ANY)], {})
    assert not any(kind == LAYER for kind, _ in garbage)


def test_cycles_end() -> None:
    assert plan([("a", "1")], [("a", "2")], {("a", "2"): [("a", "3")], ("a", "3"): [("a", "2")]}) == [
        ("a", "1")
    ]


def test_leases_end(tmp_path: Path) -> None:
    now = [1000.0]
    database = Database(str(tmp_path / "db.sqlite"))
    leases = Leases(database, clock=lambda: now[0])
    with leases.hold() as lease:
        lease.add(LAYER, "x")
        assert leases.items() == [(LAYER, "x")]
    assert leases.items() == []
    lasting, passing = leases.create(seconds=60), leases.create()
    leases.add(lasting, "blob", "y")
    leases.add(passing, "blob", "z")
    leases.sweep()
    assert leases.items() == [("blob", "y")]
    now[0] += 61
    assert leases.items() == []
    leases.sweep()
    database.close()


def test_unreferenced_things_are_swept_at_start(tmp_path: Path) -> None:
    with store_at(tmp_path) as store:
        kept = store.import_tar(make_tar({"kept": b""}), "kept")
        store.images.content.put(b"stray")
        with store.layers.begin() as intake:
            intake.write(make_tar({"stray": b""}))
            store.layers.commit(intake)
        assert len(store.images.collect()) == 2
        assert store.images.inspect("kept").id == kept


def test_what_an_import_delayed_is_deleted_after_it(tmp_path: Path) -> None:
    with store_at(tmp_path) as store:
        store.import_tar(make_tar({"a": b""}), "a")
        with store.images.leases.hold() as lease:
            lease.add(LAYER)
            store.images.remove("a", force=False, prune_parents=True)
            assert len(store.layers.list()) == 1
        store.images.collect([])
        assert store.is_empty()


def test_imports_and_removals_at_once(tmp_path: Path) -> None:
    """Four threads make and remove the same two images: whoever has an image has its layers."""
    tars = [make_tar({"same": b"x" * 3000}), make_tar({"other": b"y" * 3000})]
    failures: list[BaseException] = []
    with store_at(tmp_path) as store:

        def work(number: int) -> None:
            name = f"image{number}"
            try:
                for turn in range(12):
                    tar = tars[turn % 2]
                    store.import_tar(tar, name)
                    with store.images.pinned(name) as image:
                        assert image.diff_ids == (Digest.of(tar),)
                        assert store.layers.get(image.diff_ids[0]).size == len(tar)
                    store.images.remove(name, force=False, prune_parents=True)
            except BaseException as error:
                failures.append(error)

        run_threads(work, 4)
        assert failures == []
        assert_consistent(store)
        store.images.collect([])
        assert store.is_empty()


def test_pinning_and_removing_at_once(tmp_path: Path) -> None:
    tar = make_tar({"a": b"x" * 3000})
    failures: list[BaseException] = []
    with store_at(tmp_path) as store:
        done = threading.Event()

        def work(number: int) -> None:
            try:
                if number == 0:
                    for _ in range(25):
                        store.import_tar(tar, "a")
                        store.images.remove("a", force=False, prune_parents=True)
                    done.set()
                while not done.is_set():
                    try:
                        with store.images.pinned("a") as image:
                            assert store.layers.exists(image.diff_ids[0])
                    except NotFound:
                        pass
            except BaseException as error:
                done.set()
                failures.append(error)

        run_threads(work, 3)
        assert failures == []
        store.images.collect()
        assert store.is_empty()


def run_threads(work: object, count: int) -> None:
    assert callable(work)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_consistent(store: Store) -> None:
    for record in store.images.records.all():
        for diff_id in record.diff_ids:
            assert store.layers.exists(diff_id)
        assert store.images.content.exists(record.id)


@pytest.mark.parametrize("name", ["a", "nothing"])
def test_a_pin_on_nothing_is_not_found(tmp_path: Path, name: str) -> None:
    with store_at(tmp_path) as store, pytest.raises(NotFound), store.images.pinned(name):
        pass
