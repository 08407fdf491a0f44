"""Layer trees; what hostile layers come to is in tests/suites/layers.py."""

from __future__ import annotations

import pytest

from carboy.errors import Corrupt
from carboy.formats.layertree import build_tree, walk
from carboy.formats.tar import DIRECTORY, HARDLINK, REGULAR, SYMLINK, TarEntry


def names(*entries: TarEntry) -> list[bytes]:
    return [path for path, _ in walk(build_tree(entries)) if path]


def test_parents_are_implied_until_described() -> None:
    root = build_tree([TarEntry(b"a/b/c", REGULAR), TarEntry(b"a/", DIRECTORY, mode=0o700)])
    assert root.implied
    assert not root.children[b"a"].implied
    assert root.children[b"a"].mode == 0o700
    assert root.children[b"a"].children[b"b"].implied


def test_links_are_counted_after_the_last_member() -> None:
    root = build_tree(
        [
            TarEntry(b"f", REGULAR),
            TarEntry(b"g", HARDLINK, link=b"f"),
            TarEntry(b"h", HARDLINK, link=b"g"),
            TarEntry(b"g", REGULAR),
            TarEntry(b"d", DIRECTORY),
        ]
    )
    assert root.children[b"f"] is root.children[b"h"]
    assert (root.children[b"f"].nlink, root.children[b"g"].nlink, root.nlink) == (2, 1, 3)


def test_a_symlink_that_becomes_a_directory_is_followed_no_more() -> None:
    assert names(
        TarEntry(b"l", SYMLINK, link=b"/d"),
        TarEntry(b"l/a", REGULAR),
        TarEntry(b"l", DIRECTORY),
        TarEntry(b"l/b", REGULAR),
    ) == [b"d", b"d/a", b"l", b"l/b"]


def test_names_and_depth_are_bounded() -> None:
    for path in (b"n" * 256, b"/".join([b"d"] * 300), b"d/" + b".wh." + b"n" * 256):
        with pytest.raises(Corrupt):
            build_tree([TarEntry(path, REGULAR)])


def test_a_whiteout_may_be_as_long_as_a_name_and_its_mark() -> None:
    assert names(TarEntry(b".wh." + b"n" * 255, REGULAR)) == [b"n" * 255]
