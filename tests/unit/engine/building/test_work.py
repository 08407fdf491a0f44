"""What a build begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from carboy.build.progress import Cancellation
from carboy.build.request import BuildRequest, RemoteContext
from carboy.build.session import EPOCH, Workshop
from carboy.engine.building.work import Tools, Work
from support.building import NoExecutor, Workplace
from support.gitserver import TIME, GitServer, Repository

NONE = cast("Any", None)
YEAR_9999 = 253_402_300_799


@pytest.mark.parametrize(
    ("time", "epoch"), [(TIME, TIME), (YEAR_9999, YEAR_9999), (YEAR_9999 + 1, EPOCH), (10**12 - 1, EPOCH)]
)
def test_a_time_of_a_commit_that_no_image_can_have_is_not_the_builds(
    tmp_path: Path, time: int, epoch: int
) -> None:
    place, repository = Workplace(tmp_path), Repository()
    repository.commit({"Dockerfile": b"FROM scratch\n"}, time=time)
    tools = Tools(
        workshop=Workshop(place.paths, place.database, place.layers, place.content, NoExecutor()),
        solver=NONE,
        finisher=NONE,
        bases=lambda _request, _warn: NONE,
        host_platform="linux/amd64",
        records=NONE,
        locations=NONE,
    )
    with GitServer({"p.git": repository}) as server:
        request = BuildRequest(context=RemoteContext(url=f"{server.url}/p.git"))
        work = Work(tools, request, {}, NONE, Cancellation())
        work.prepare()
    place.close()
    assert work.epoch == epoch
