"""Why a step is taken from the cache, or is not: the sentences."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.build.caching.differences import short, tell_differences
from carboy.build.graph import Graph
from carboy.build.operation import Ingredients
from carboy.build.request import BuildRequest, RemoteContext
from support.building import Told, Workplace, chain, image, run, target

EXPLAIN = BuildRequest(context=None, explain=True, tags=("x:latest",))
SHA = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def explained(place: Workplace, graph: Graph, request: BuildRequest = EXPLAIN) -> dict[str, tuple[str, ...]]:
    told = Told()
    place.solve(graph, request, told=told)
    return told.reasons


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def test_nothing_is_explained_unasked(place: Workplace) -> None:
    assert explained(place, chain("a"), BuildRequest(context=None)) == {}


def test_the_first_time_and_the_second(place: Workplace) -> None:
    assert explained(place, chain("a")) == {"RUN a": ("not cached: never built here",)}
    built = moment(place.now)
    place.now += 3600
    assert explained(place, chain("a")) == {
        "RUN a": (f"cached: nothing it depends on changed (built {built})",)
    }


def test_explanations_outlive_the_daemon(place: Workplace) -> None:
    place.files = {"file a": f"0644 0:0 {SHA}"}
    explained(place, chain("a"))
    place.reopen()
    place.files = {"file a": f"0755 0:0 {SHA}"}
    assert explained(place, chain("a")) == {"RUN a": ("a mode 0644→0755",)}


def test_files(place: Workplace) -> None:
    place.files = {
        "file notebooks/x.ipynb": f"0644 0:0 {SHA}",
        "file src/a.py": f"0644 0:0 {SHA}",
        "file old": f"0644 0:0 {SHA}",
        "file both": f"0644 0:0 {SHA}",
    }
    explained(place, chain("copy"))
    place.files = {
        "file notebooks/x.ipynb": f"0755 0:0 {SHA}",
        "file src/a.py": f"0644 0:0 {OTHER}",
        "file src/b.py": f"0644 0:0 {SHA}",
        "file both": f"0600 1:0 {SHA}",
    }
    assert explained(place, chain("copy"))["RUN copy"] == (
        "both mode 0644→0600, owner 0:0→1:0",
        "notebooks/x.ipynb mode 0644→0755",
        "old removed",
        "src/a.py changed",
        "src/b.py added",
    )


def test_many_files_are_counted(place: Workplace) -> None:
    place.files = {f"file {number:03}": f"0644 0:0 {SHA}" for number in range(17)}
    explained(place, chain("copy"))
    place.files = {f"file {number:03}": f"0644 0:0 {OTHER}" for number in range(17)}
    reasons = explained(place, chain("copy"))["RUN copy"]
    assert reasons[:2] == ("000 changed", "001 changed")
    assert len(reasons) == 6
    assert reasons[5] == "and 12 more"


def of_variables(*env: str) -> Graph:
    return Graph(vertices=(chain().vertices[0], run(1, "a", 0, env=env)), targets=(target(1),))


def test_variables(place: Workplace) -> None:
    explained(place, of_variables("VERSION=1", "API_TOKEN=hush", "GONE=x"))
    reasons = explained(place, of_variables("VERSION=2", "API_TOKEN=hush2", "NEW="))["RUN a"]
    assert reasons == (
        "variable API_TOKEN changed",
        "variable GONE: x → (none)",
        'variable NEW: (none) → ""',
        "variable VERSION: 1 → 2",
    )


def test_a_changed_command_is_known_by_its_number(place: Workplace) -> None:
    explained(place, chain("a", "make one"))
    assert explained(place, chain("a", "make two"))["RUN make two"] == (
        "command changed: make one → make two",
    )


def test_an_inserted_instruction_is_new_and_those_behind_it_are_not(place: Workplace) -> None:
    explained(place, chain("a", "b"))
    reasons = explained(place, chain("a", "new", "b"))
    assert reasons["RUN new"] == ("not cached: never built here",)
    assert reasons["RUN b"] == ("base changed: RUN new above it gave another layer",)


def test_a_layer_that_is_no_more(place: Workplace) -> None:
    explained(place, chain("a", "b"))
    assert explained(place, chain("false", "b"))["RUN b"] == (
        "base changed: a step above it adds no layer any more",
    )


def test_another_base(place: Workplace) -> None:
    explained(place, chain("a", "b"))
    reasons = explained(place, chain("a", "b", base=image("b" * 64, "python:3.11")))
    assert reasons["RUN a"] == ("base changed: python:3.11 has other layers",)
    assert reasons["RUN b"] == ("base changed: python:3.11 has other layers",)


def test_a_step_above_gave_another_layer(place: Workplace) -> None:
    explained(place, chain("a one", "b"))
    reasons = explained(place, chain("a two", "b"))
    assert reasons["RUN b"] == ("base changed: RUN a two above it gave another layer",)


def test_no_cache(place: Workplace) -> None:
    explained(place, chain("a"))
    request = BuildRequest(context=None, tags=("x:latest",), explain=True, no_cache=True)
    assert explained(place, chain("a", ignore_cache=True), request)["RUN a"] == ("not cached: --no-cache",)
    request = BuildRequest(context=None, tags=("x:latest",), explain=True, no_cache_filter=("stage",))
    assert explained(place, chain("a", ignore_cache=True), request)["RUN a"] == (
        "not cached: --no-cache-filter",
    )


def test_too_old(place: Workplace) -> None:
    explained(place, chain("a"))
    built = moment(place.now)
    place.now += 100
    request = BuildRequest(context=None, tags=("x:latest",), explain=True, cache_ttl=10)
    assert explained(place, chain("a"), request)["RUN a"] == (
        f"not cached: older than --cache-ttl (built {built})",
    )


def test_pruned(place: Workplace) -> None:
    explained(place, chain("a", "b"))
    place.cache.remove([entry.key for entry in place.cache.records()])
    assert explained(place, chain("a"))["RUN a"] == (
        f"not cached: its cached layer was pruned on {moment(place.now)}",
    )


def test_a_layer_that_has_gone(place: Workplace) -> None:
    explained(place, chain("a"))
    place.layers.remove(place.layer("a"))
    assert explained(place, chain("a"))["RUN a"] == (
        "not cached: nothing changed, but its cached layer is gone",
    )


def test_back_to_what_was_before(place: Workplace) -> None:
    explained(place, chain("make one"))
    built = moment(place.now)
    explained(place, chain("make two"))
    place.now += 3600
    assert explained(place, of_changed_text()) == {
        "RUN make one": (f"cached: the same was built before ({built})",)
    }


def of_changed_text() -> Graph:
    return chain("make one", stage="another")


def test_never_cached(place: Workplace) -> None:
    assert explained(place, chain("uncacheable"))["RUN uncacheable"] == (
        "not cached: this step is run each time",
    )


def test_of_no_context_in_particular_only_the_same_text_counts(place: Workplace) -> None:
    nowhere = BuildRequest(context=None, explain=True)
    explained(place, chain("make one", "b"), nowhere)
    reasons = explained(place, chain("make two", "b"), nowhere)
    assert reasons["RUN make two"] == ("not cached: never built here",)
    assert reasons["RUN b"] == ("base changed: RUN make two above it gave another layer",)


def test_another_context_is_another_past(place: Workplace) -> None:
    one = BuildRequest(context=RemoteContext(url="https://one"), explain=True)
    two = BuildRequest(context=RemoteContext(url="https://two"), explain=True)
    explained(place, chain("make one"), one)
    assert explained(place, chain("make two"), two)["RUN make two"] == ("not cached: never built here",)


def test_long_commands_are_shown_where_they_part() -> None:
    same = "x" * 300
    (told,) = tell_differences(
        Ingredients("run", {"command": same + " one"}), Ingredients("run", {"command": same + " two"})
    )
    assert told == f"command changed: …{'x' * 23} one → …{'x' * 23} two"


def test_what_cannot_be_shown_is_spelled_out() -> None:
    assert short("a\x1b[31mb\n\udcff") == "a\\x1b[31mb\\n\\udcff"
    assert short(SHA) == "sha256:111111111111"
    assert len(short("x" * 1000)) == 80


def test_digests_alone_are_content() -> None:
    told = tell_differences(
        Ingredients("run", {"mount /src": f"bind {SHA}+{SHA}"}),
        Ingredients("run", {"mount /src": f"bind {OTHER}"}),
    )
    assert told == ("mount /src has other content",)


def test_another_format_version() -> None:
    same = Ingredients("run", {"command": "a"})
    assert tell_differences(same, same) == ("its results are made in another way by this version of Carboy",)


def test_heredocs_are_told_as_files_are() -> None:
    told = tell_differences(
        Ingredients("files", {"heredoc EOF": f"0644 0:0 {SHA}"}),
        Ingredients("files", {"heredoc EOF": f"0755 0:0 {SHA}", "heredoc b": f"0644 0:0 {SHA}"}),
    )
    assert told == ("heredoc EOF mode 0644→0755", "heredoc b added")
