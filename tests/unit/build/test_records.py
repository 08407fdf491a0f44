"""Records of builds: what is kept of them, what never is, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from carboy.build.records import (
    SUCCEEDED,
    BuildRecord,
    BuildRecords,
    ImageRecord,
    bases_of,
    steps_of,
    summary_of,
)
from carboy.build.request import BuildRequest, ImageContext, RemoteContext, TarContext
from carboy.errors import NotFound
from support.building import Workplace, chain


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def record(build_id: str, started_at: float = 1, image: str = "") -> BuildRecord:
    images = (ImageRecord(id=image, target="", platform="linux/amd64", vertex=0),) if image else ()
    return BuildRecord(id=build_id, started_at=started_at, ended_at=2, status=SUCCEEDED, images=images)


def test_a_record_of_a_build(place: Workplace) -> None:
    graph = chain("a", "false")
    solved = place.solve(graph)
    records = BuildRecords(place.database)
    written = BuildRecord(
        id="one",
        started_at=1,
        ended_at=2,
        status=SUCCEEDED,
        request=summary_of(BuildRequest(context=None, tags=("x:latest",))),
        bases=bases_of(graph),
        steps=steps_of(graph, solved),
    )
    records.put(written)
    read = records.get("one")
    assert read == written
    assert read.bases[0].reference == "base"
    step = read.steps[1]
    assert (step.name, step.line, step.cached) == ("RUN a", 2, False)
    assert step.layer == str(place.layer("a"))
    assert step.record == {"ran": "RUN a"}
    ingredients = place.cache.history.recall(step.key)
    assert ingredients is not None
    assert ingredients.values["command"] == "a"


def test_ingredients_stay_for_as_long_as_a_record_names_them(place: Workplace) -> None:
    graph = chain("a")
    steps = steps_of(graph, place.solve(graph))
    place.reopen()  # what is written behind a build is written
    records = BuildRecords(place.database)
    records.put(BuildRecord(id="one", started_at=1, ended_at=2, status=SUCCEEDED, steps=steps))
    place.cache.remove([steps[1].key])
    with place.database.write() as connection:
        connection.execute("DELETE FROM build_history")
    place.cache.history.sweep()
    assert place.cache.history.knows(steps[1].key)
    records.trim(keep=0)
    place.cache.history.sweep()
    assert not place.cache.history.knows(steps[1].key)


def test_listing_and_replacing(place: Workplace) -> None:
    records = BuildRecords(place.database)
    for number in range(3):
        records.put(record(f"b{number}", number))
    records.put(record("b0", 10))
    assert [one.id for one in records.list()] == ["b0", "b2", "b1"]
    assert [one.id for one in records.list(limit=1)] == ["b0"]
    with pytest.raises(NotFound, match="No such build: b7"):
        records.get("b7")


def test_the_build_of_an_image(place: Workplace) -> None:
    records = BuildRecords(place.database)
    records.put(record("old", 1, image="sha256:1"))
    records.put(record("new", 2, image="sha256:1"))
    records.put(record("other", 3, image="sha256:2"))
    found = records.of_image("sha256:1")
    assert found is not None
    assert found.id == "new"
    assert records.of_image("sha256:3") is None


def test_old_records_go_but_not_those_of_images(place: Workplace) -> None:
    records = BuildRecords(place.database)
    for number in range(5):
        records.put(record(f"b{number}", number, image=f"sha256:{number}"))
    records.trim(keep=2, images={"sha256:0"})
    assert [one.id for one in records.list()] == ["b4", "b3", "b0"]


def test_no_secret_is_in_a_summary() -> None:
    request = BuildRequest(
        context=RemoteContext(url="https://user:hunter2@example.com/repo.git"),
        contexts={
            "data": RemoteContext(url="https://hunter2@example.com/x.tar"),
            "base": ImageContext(reference="busybox"),
            "tar": TarContext(descriptor=3),
        },
        arguments={"VERSION": "1", "NPM_TOKEN": "hunter2", "HTTP_PROXY": "http://a:hunter2@proxy"},
        secrets={"pip": b"hunter2"},
        agents={"default": "/run/agent"},
    )
    summary = summary_of(request)
    text = msgspec.json.encode(summary)
    assert b"hunter2" not in text
    assert b"HTTP_PROXY" not in text
    plain = msgspec.json.decode(text)
    assert plain["arguments"] == {"NPM_TOKEN": "(hidden)", "VERSION": "1"}
    assert plain["secrets"] == ["pip"]
    assert plain["contexts"]["base"] == "docker-image://busybox"


def test_texts_of_any_bytes(place: Workplace) -> None:
    request = BuildRequest(context=None, arguments={"A": "\udcff"})
    records = BuildRecords(place.database)
    records.put(
        BuildRecord(id="one", started_at=1, ended_at=2, status=SUCCEEDED, request=summary_of(request))
    )
    assert b"udcff" in bytes(records.get("one").request["arguments"])
