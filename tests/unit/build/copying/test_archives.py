"""Archives that are unpacked become items: what is replaced is gone, in bounded time."""

from __future__ import annotations

import os
import random
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from carboy.build.copying.archives import Tree, unpack
from carboy.build.copying.layerwriter import Item, directory
from carboy.errors import Cancelled
from support import tars


def unpacked(
    base: Path, *members: tars.Member, tree: Tree | None = None, check: Callable[[], None] = lambda: None
) -> dict[bytes, Item]:
    tree = Tree({}) if tree is None else tree
    root = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(tars.make(*members))
            file.flush()
            unpack(file.fileno(), 1, b"x", root, tree, epoch=10**9, check=check)
    finally:
        os.close(root)
    return tree.items


def test_a_directory_that_is_replaced_takes_with_it_what_was_below(tmp_path: Path) -> None:
    # The image has x/d/there: it is no item, and what is in it is one nevertheless.
    (tmp_path / "x" / "d" / "there").mkdir(parents=True)
    tree = Tree({path: Item(path, stat.S_IFREG) for path in (b"x/d/there/old", b"x/d.", b"x/d0")})
    items = unpacked(
        tmp_path, tars.directory("d"), tars.file("d/e/f"), tars.file("d"), tars.file("e/f"), tree=tree
    )
    assert sorted(items) == [b"x/d", b"x/d.", b"x/d0", b"x/e", b"x/e/f"]
    items = unpacked(tmp_path, tars.directory("d"), tars.file("d/new"), tree=tree)
    assert sorted(items) == [b"x/d", b"x/d.", b"x/d/new", b"x/d0", b"x/e", b"x/e/f"]


def test_trees_are_emptied_as_whole_looks_would() -> None:
    choice = random.Random(7)
    for _ in range(200):
        items: dict[bytes, Item] = {}
        tree = Tree({})
        for _ in range(40):
            path = b"/".join(choice.choice([b"a", b"a.", b"b"]) for _ in range(choice.randint(1, 4)))
            if choice.random() < 0.3:
                tree.empty(path)
                items = {known: item for known, item in items.items() if not known.startswith(path + b"/")}
            else:
                items[path] = directory(path, 0, 0)
                tree.put(items[path])
            assert tree.items == items


def test_replacing_takes_no_longer_for_what_is_elsewhere(tmp_path: Path) -> None:
    members = [tars.file(f"f{number}") for number in range(20_000)]
    members += [tars.directory("d"), tars.file("d")] * 10_000
    before = time.process_time()
    assert len(unpacked(tmp_path, *members)) == 20_001
    assert time.process_time() - before < 20


def test_cancelling_ends_unpacking(tmp_path: Path) -> None:
    looks = iter(range(3))

    def check() -> None:
        if next(looks, None) is None:
            raise Cancelled("enough")

    tree = Tree({})
    with pytest.raises(Cancelled):
        unpacked(tmp_path, *(tars.file(f"f{number}") for number in range(2_000)), tree=tree, check=check)
    assert 0 < len(tree.items) < 1_000
