"""COPY, ADD and WORKDIR give the files that Docker's builder gives: recorded cases, both layer stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.build.operation import Filesystem
from carboy.errors import CarboyError
from support.copycases import CASES, Tree, make_base, make_context
from support.copying import DRIVERS, Yard, yard

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]

RECORDED: dict[str, dict[str, Tree | str]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "copy" / "buildkit.json").read_text()
)

OTHERWISE = {
    "all": "named pipes and the write bits of others",
    "all to root": "the same",
    "modes": "the write bits of group and others are removed: umask must not count",
    "chown unknown": "an unknown user is an error, not root",
    "wildcard two levels": "BuildKit of 20.10 fails on files beside the directories",
    "add dotdot tar": "an archive that climbs is refused, where Docker keeps it below the destination",
    "add wildcard tars": "the same",
}
"""Where we differ on purpose."""


@pytest.fixture(scope="module", params=sorted(DRIVERS))
def ground(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Yard, Filesystem]]:
    top = tmp_path_factory.mktemp("copy")
    (top / "context").mkdir()
    make_context(str(top / "context"))
    make_base(str(top / "base.tar"))
    with yard(top, top / "context", driver=request.param) as made:
        yield made, made.take(top / "base.tar")


def test_every_case_is_recorded() -> None:
    assert set(RECORDED) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_as_docker(ground: tuple[Yard, Filesystem], name: str) -> None:
    made, base = ground
    recorded = RECORDED[name]
    tree: Tree | None
    try:
        tree = made.tree(made.instructions(CASES[name], base))
    except CarboyError:
        tree = None
    expected = recorded.get("tree")
    if name in OTHERWISE:
        assert tree != expected
    else:
        assert tree == expected
