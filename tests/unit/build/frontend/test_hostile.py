"""Dockerfiles and images that mean harm: bounded time and memory, our own errors, no secrets shown."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from carboy.build.frontend.drawing import FrontendRequest, draw
from carboy.build.graph import Files, Graph
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.dockerfile.source import DockerfileError
from carboy.formats.dockerfile.stages import read_document
from fuzz import fuzz_frontend
from support.graphs import BaseOptions, CaseOptions, FakeBases, config_text, graph_text
from unit.build.frontend.test_golden import CASES, NAMES, read_case


def drawn(text: str, options: CaseOptions | None = None) -> Graph:
    options = options or CaseOptions()
    return draw(read_document(text), options.request(), FakeBases(options))


@pytest.mark.parametrize(
    "text",
    [
        "FROM debian\n" + "EXPOSE 1-65535\n" * 2000,
        "FROM debian AS s0\n" + "".join(f"ENV A{n}=1\n" for n in range(9000))
        + "".join(f"FROM s{n} AS s{n + 1}\nRUN x\n" for n in range(4000)),
        "FROM debian\nENV A=" + "x" * 600_000 + "\n" + "RUN x\n" * 126,
        "FROM debian\nENV A=" + "x" * 1000 + "\n" + "LABEL a=$A$A$A$A$A$A$A$A b=$A$A$A$A\n" * 9000,
        "FROM debian\nARG A=" + "x" * 100_000 + "\n" + "RUN x\n" * 126 * 5,
        "FROM debian AS s0\nEXPOSE 1-65535\n" + "".join(f"FROM s0 AS t{n}\n" for n in range(1, 4000))
        + "FROM scratch\n" + "".join(f"COPY --from=t{n} a /\n" for n in range(1, 120)),
        "FROM debian\n" + "WORKDIR a\n" * 20_000,
        "FROM debian\nENV A=" + "x" * 4000 + "\n" + "WORKDIR /$A\nWORKDIR /a\n" * 20_000,
    ],
    ids=[
        "ports", "many variables", "large variable", "labels", "arguments in history", "copied ports",
        "growing directories", "large directories",
    ],
)  # fmt: skip
def test_a_file_that_asks_for_gigabytes_is_refused_soon(text: str) -> None:
    document = read_document(text)
    began = time.monotonic()
    with pytest.raises(
        DockerfileError, match=r"larger than 64 MiB|127 layers|grow too large|path is too long"
    ):
        draw(document, FrontendRequest(), FakeBases(CaseOptions()))
    assert time.monotonic() - began < 5


def test_a_large_honest_file_is_drawn_quickly() -> None:
    text = "FROM debian AS s0\n" + "".join(f"ENV V{n}={n}\n" for n in range(100))
    text += "".join(f"FROM s0 AS b{n}\nCOPY a{n} /\nRUN make {n}\n" for n in range(100))
    text += "FROM s0\n" + "".join(f"COPY --from=b{n} /{n} /\n" for n in range(100))
    document = read_document(text)
    began = time.monotonic()
    graph = draw(document, FrontendRequest(), FakeBases(CaseOptions()))
    assert time.monotonic() - began < 1
    assert len(graph.vertices) == 302


def test_chains_of_thousands_of_stages_need_no_recursion() -> None:
    text = "FROM scratch AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(3000))
    assert len(drawn(text).vertices) == 1


@pytest.mark.parametrize(
    "triggers",
    [
        ["RUN x"] * 1001,
        ["RUN " + "x" * (2 << 20)],
        ["# only a comment"],
        [""],
        ["COPY --from=99 a /"],
        ["MAINTAINER me"],
        ["ONBUILD RUN x"],
        ["RUN <<A <<B\nA\n"],
        ["ENV A=${A:?no}"],
        ["RUN --mount=from=later,target=/x true"],
        ["COPY \x00\x1b /"],
    ],
)
def test_triggers_of_hostile_images_are_blamed_on_from(triggers: list[str]) -> None:
    options = CaseOptions(bases={"evil": BaseOptions(config={"OnBuild": triggers})})
    with pytest.raises(DockerfileError) as caught:
        drawn("FROM debian\nFROM evil AS first\nRUN x\nFROM debian AS later\nFROM first\n", options)
    assert caught.value.line == 2


def test_a_config_of_a_hostile_image_is_read_as_text() -> None:
    options = CaseOptions(
        bases={
            "evil": BaseOptions(
                config={
                    "Env": ["=x", "", "A", "B=1", "B=2", "\n=\x1b[2J"],
                    "WorkingDir": "../../../etc/./x/..",
                    "User": "root\nevil:x:0:0",
                    "Labels": {"": "x"},
                }
            )
        }
    )
    graph = drawn("FROM evil\nRUN x\nWORKDIR ../..\n", options)
    assert graph.targets[0].config.working_dir == "/"
    assert [vertex.operation.cwd for vertex in graph.vertices if hasattr(vertex.operation, "cwd")] == ["/etc"]


SECRET = "hunter2"


@pytest.mark.parametrize("case", NAMES)
def test_given_proxies_are_in_no_vertex_and_no_image(case: str) -> None:
    text, options = read_case(CASES / case)
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        options.arguments[name] = f"http://user:{SECRET}@proxy:3128"
    declared = b"\nARG HTTP_PROXY https_proxy\nRUN final $https_proxy\n"
    try:
        graph = draw(read_document(text + declared), options.request(), FakeBases(options))
        shown = graph_text(graph) + config_text(graph)
    except CarboyError as error:
        shown = str(error)
    assert SECRET not in shown


def test_credentials_of_addresses_are_only_where_they_are_needed() -> None:
    graph = drawn(
        f"FROM debian\nADD https://me:{SECRET}@e.org/a https://{SECRET}@e.org/b.git /x/\n"
        f"ADD ssh://git:{SECRET}@e.org/c.git /y/\n"
    )
    for vertex in graph.vertices:
        assert SECRET not in vertex.name + vertex.instruction
    assert SECRET not in config_text(graph)
    urls = [vertex.operation.url for vertex in graph.vertices if hasattr(vertex.operation, "url")]
    assert [SECRET in url for url in urls] == [True] * 3


def test_damaged_files_and_triggers_give_our_errors_only() -> None:
    assert fuzz_frontend.main(3, 4) > 100


@pytest.mark.parametrize("case", [name for name in NAMES if (CASES / name / "graph.txt").exists()])
def test_every_graph_is_sound(case: str) -> None:
    text, options = read_case(CASES / case)
    graph = draw(read_document(text), options.request(), FakeBases(options))
    fuzz_frontend.check(graph)
    needed = {target.vertex for target in graph.targets}
    for vertex in reversed(graph.vertices):
        if vertex.index in needed:
            needed.update(vertex.inputs)
    assert needed == {vertex.index for vertex in graph.vertices}
    keys = [(vertex.operation, vertex.inputs, vertex.ignore_cache) for vertex in graph.vertices]
    assert len(set(keys)) == len(keys)


def test_what_the_limit_lets_in_is_small() -> None:
    text = "FROM debian AS s0\n" + "".join(f"ENV A{n}=1\n" for n in range(3000))
    text += "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(60))
    document = read_document(text)
    tracemalloc.start()
    try:
        draw(document, FrontendRequest(), FakeBases(CaseOptions()))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        b"RUN caf\xe9\n",
        b"ENV A=\xff\n",
        b"COPY a\xff /\n",
        b"COPY a\0b /\n",
        b"RUN <<E\n\xff\nE\n",
        b"RUN a\0\n",
    ],
)
def test_what_is_no_text_is_refused_where_it_stands(text: bytes) -> None:
    with pytest.raises(DockerfileError, match="no text") as caught:
        draw(read_document(b"FROM debian\n" + text), FrontendRequest(), FakeBases(CaseOptions()))
    assert caught.value.line == 2


def test_a_file_of_a_heredoc_may_hold_any_bytes() -> None:
    text = b"# caf\xe9\nFROM debian\nCOPY <<E /x\n\xff\0\nE\n"
    graph = draw(read_document(text), FrontendRequest(), FakeBases(CaseOptions()))
    files = graph.vertices[-1].operation
    assert isinstance(files, Files)
    assert files.sources[0].data.encode("utf-8", "surrogateescape") == b"\xff\0\n"


def test_arguments_and_labels_are_text() -> None:
    for request in (FrontendRequest(arguments={"A": "\udcff"}), FrontendRequest(labels={"a": "x\0"})):
        with pytest.raises(InvalidArgument, match="no text"):
            draw(read_document("FROM scratch"), request, FakeBases(CaseOptions()))
