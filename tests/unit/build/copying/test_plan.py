"""Plans of COPY: members that are made one at a time are those that are made at once."""

from __future__ import annotations

import random
import stat

import msgspec
import pytest

from carboy.build.caching.history import Packed, packed
from carboy.build.copying.layerwriter import Item, directory
from carboy.build.copying.plan import Attributes, Placement, Plan, by_path
from carboy.build.copying.scan import Row
from carboy.build.copying.select import Match
from carboy.build.operation import Ingredients

FILE, DIRECTORY = stat.S_IFREG | 0o664, stat.S_IFDIR | 0o775


def rows(seed: int) -> list[Row]:
    """A tree with names that sort around the slash, and hard links."""
    found = [Row(b"d", DIRECTORY), Row(b"d/a", FILE, 1, bytes(64)), Row(b"d.", FILE, 2, bytes(64))]
    found += [Row(b"d0", FILE, 3, bytes(64), uid=7), Row(b"d-", FILE, 4, bytes(64), twin=b"d/a")]
    found += [Row(b"l", stat.S_IFLNK | 0o777, link=b"d/a"), Row(b"a/b/c", FILE, 9, bytes(64))]
    random.Random(seed).shuffle(found)
    return found


def plan(seed: int, *, above: list[Item | Placement], is_context: bool) -> Plan:
    match = Match(shown=b"src", place=b"place", is_dir=True, rows=rows(seed))
    return Plan(steps=[*above, Placement(b"x/y", match, 1, Attributes(None, None, is_context))])


@pytest.mark.parametrize("is_context", [True, False])
@pytest.mark.parametrize("above", [[], [directory(b"x", 0, 0), directory(b"x/y", 0, 0)]])
def test_members_that_are_made_one_at_a_time(above: list[Item | Placement], is_context: bool) -> None:
    for seed in range(5):
        whole, taken = (plan(seed, above=above, is_context=is_context) for _ in range(2))
        expected = by_path(whole.items())
        members = taken.take()
        assert not isinstance(members, list)
        assert list(members) == expected
        # Nothing is kept of what was given: there may be very many.
        last = taken.steps[-1]
        assert isinstance(last, Placement)
        assert not last.match.rows
        assert not taken.values


def test_several_sources_are_put_together() -> None:
    two = plan(1, above=plan(2, above=[], is_context=True).steps, is_context=True)
    file = plan(1, above=[Item(b"x/y", FILE)], is_context=True)
    elsewhere = plan(1, above=[directory(b"z", 0, 0)], is_context=True)
    for one in (two, file, elsewhere):
        expected = by_path(one.items())
        assert list(one.take()) == expected
        assert [item.path for item in expected] == sorted(item.path for item in expected)


def test_very_many_ingredients_are_kept_small() -> None:
    many = Ingredients(
        "files", {f"file {number}": f"0644 0:0 sha256:{number:064x}" for number in range(20_000)}
    )
    small = packed(many)
    assert isinstance(small, Packed)
    assert len(small.data) < 1 << 20
    few = Ingredients("files", {"file a": "b"})
    assert packed(few) is few


def test_pieces_of_many_ingredients_are_one_document() -> None:
    for count in (0, 1, 9_999, 10_000, 10_001, 20_000):
        values = {f"file {number}": f"é{number}" for number in range(count)}
        whole = msgspec.json.encode(["v", "files", values], order="sorted")
        assert b"".join(Ingredients("files", values).encoded("v")) == whole
