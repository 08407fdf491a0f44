"""What clients are told: Docker's list in order, and traces as things happen."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from carboy.build.executor import StepFailed
from carboy.build.graph import Context, Files, FileSource, Graph, Scratch, Vertex
from carboy.build.solver import StepError
from carboy.engine.building.failures import excerpt, failure_of
from carboy.engine.building.messages import Classic, Outcome, Outlet
from carboy.engine.building.traces import Tracer
from carboy.errors import Cancelled, Internal
from carboy.formats.dockerapi.build import TRACE_ID, TraceImage, TraceMessage
from carboy.formats.dockerfile.source import DockerfileError, Span
from support.building import image, run, target

ID = "sha256:" + "12" * 32
INSTRUCTIONS = [(1, "FROM base"), (2, "ENV a=b"), (3, "RUN two"), (4, "RUN three"), (5, "CMD x")]


def graph(*warnings: str) -> Graph:
    vertices = (
        Vertex(index=0, operation=image(), name="FROM", line=1),
        run(1, "one", 0),
        run(2, "two", 0),
        Vertex(index=3, operation=Scratch(), name="scratch", line=1),
    )
    first, second = (
        Vertex(index=one.index, operation=one.operation, inputs=one.inputs, name=one.name, line=line)
        for one, line in zip(vertices[1:3], (3, 4), strict=True)
    )
    return Graph(vertices=(vertices[0], first, second, vertices[3]), targets=(target(2),), warnings=warnings)


class Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.data = b""
        self.gone: list[str] = []
        self.broken = False
        self.outlet = Outlet(self.write, self.gone.append)

    def write(self, data: bytes) -> None:
        if self.broken:
            raise Cancelled("the client went away")
        self.data += data

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]

    @property
    def text(self) -> str:
        return "".join(one.get("stream", "") for one in self.messages)


def test_steps_are_told_in_the_order_of_the_file() -> None:
    wire = Wire()
    classic = Classic(wire.outlet)
    plan = graph("something")
    first, second = plan.vertices[1:3]
    classic.planned(plan, INSTRUCTIONS)
    classic.output(second, 1, b"of three\n")
    classic.finished(second, "")
    assert "of three" not in wire.text
    classic.output(first, 1, b"of two\n")
    classic.cached(first)
    classic.finished(first, "")
    classic.succeeded(Outcome([TraceImage(id=ID, names=["a:1"])], [], 1.0))
    assert wire.text == (
        "[Warning] something\n"
        "Step 1/5 : FROM base\n ---> 000000000000\n"
        "Step 2/5 : ENV a=b\n"
        "Step 3/5 : RUN two\nof two\n ---> Using cache\n"
        "Step 4/5 : RUN three\nof three\n"
        "Step 5/5 : CMD x\n"
        "Successfully built 121212121212\nSuccessfully tagged a:1\n"
    )
    assert {"aux": {"ID": ID}} in wire.messages


@pytest.mark.parametrize("quiet", [False, True])
def test_what_a_failed_step_said_is_told_though_others_stand_before_it(quiet: bool) -> None:
    wire = Wire()
    classic = Classic(wire.outlet, quiet=quiet)
    plan = side_by_side()
    classic.planned(plan, [(1, "FROM base"), (2, "RUN one"), (3, "RUN two"), (4, "RUN three")])
    for vertex in plan.vertices[1:]:
        classic.output(vertex, 2, vertex.name.encode() + b" said\n")
    classic.finished(plan.vertices[2], "it broke")
    classic.finished(plan.vertices[1], "cancelled")
    classic.failed(failure_of(StepError(plan.vertices[2], StepFailed("it broke", 4)), "a\nb\nc\n"))
    assert wire.text.endswith("Step 2/4 : RUN one\none said\nStep 3/4 : RUN two\ntwo said\n")
    assert wire.messages[-1]["error"] == "it broke"


def side_by_side() -> Graph:
    """Three steps that need nothing of each other, on the lines 2, 3 and 4."""
    base = Vertex(index=0, operation=image(), name="FROM", line=1)
    steps = [
        Vertex(
            index=number, operation=run(number, name, 0).operation, inputs=(0,), name=name, line=number + 1
        )
        for number, name in enumerate(("one", "two", "three"), 1)
    ]
    return Graph(vertices=(base, *steps), targets=(target(2),))


def test_letters_that_come_in_pieces_stay_whole() -> None:
    wire = Wire()
    classic = Classic(wire.outlet)
    plan = graph()
    classic.planned(plan, INSTRUCTIONS)
    for piece in (b"\xc3", b"\xa4\xff\n"):
        classic.output(plan.vertices[1], 1, piece)
    assert "ä\ufffd\n" in wire.text


def test_what_is_held_back_is_bounded() -> None:
    wire = Wire()
    classic = Classic(wire.outlet)
    plan = graph()
    classic.planned(plan, INSTRUCTIONS)
    for _ in range(20):
        classic.output(plan.vertices[2], 1, b"x" * 100_000)
    assert wire.text.count("x") >= 1_000_000


def test_quiet_tells_the_id_or_all_when_it_fails() -> None:
    wire = Wire()
    quiet = Classic(wire.outlet, quiet=True)
    quiet.planned(graph(), INSTRUCTIONS)
    quiet.output(graph().vertices[1], 1, b"loud\n")
    quiet.succeeded(Outcome([TraceImage(id=ID)], [], 0.0))
    assert wire.text == f"{ID}\n"
    other = Wire()
    quiet = Classic(other.outlet, quiet=True)
    quiet.planned(graph(), INSTRUCTIONS)
    quiet.output(graph().vertices[1], 1, b"loud\n")
    quiet.failed(failure_of(StepError(graph().vertices[1], StepFailed("it broke", 4)), ""))
    assert "loud\n" in other.text
    assert other.messages[-1] == {"error": "it broke", "errorDetail": {"code": 4, "message": "it broke"}}


def test_a_client_that_is_gone_ends_the_build_once() -> None:
    wire = Wire()
    classic = Classic(wire.outlet)
    classic.planned(graph(), INSTRUCTIONS)
    wire.broken = True
    for _ in range(3):
        classic.output(graph().vertices[1], 1, b"x\n")
    assert wire.gone == ["the client went away"]


def test_traces_tell_everything() -> None:
    wire = Wire()
    tracer = Tracer(wire.outlet)
    plan = graph("odd")
    tracer.planned(plan, INSTRUCTIONS)
    vertex = plan.vertices[1]
    tracer.started(vertex)
    tracer.explained(vertex, ("never built here",))
    tracer.output(vertex, 2, b"\xff\n")
    tracer.progress(vertex, "downloading", 1, 2)
    tracer.warning(vertex, "careful")
    tracer.finished(vertex, "")
    tracer.cached(plan.vertices[2])
    tracer.succeeded(Outcome([TraceImage(id=ID)], [], 1.5, "record"))
    tracer.failed(failure_of(DockerfileError("no", (Span(2, 0, 3),)), "FROM a\nODD\n"))
    lines = [line for line in wire.data.splitlines() if json.loads(line).get("id") == TRACE_ID]
    traces = [msgspec.json.decode(line, type=TraceMessage).aux for line in lines]
    kinds = str.split(
        "vertices warning started explained output progress warning finished cached result failed"
    )
    assert [one.kind for one in traces] == kinds
    assert traces[4].data == b"\xff\n"
    assert traces[4].vertex == 1
    assert traces[-1].line == 2
    assert "   2 | >>> ODD" in traces[-1].excerpt


def test_failures_have_words_lines_and_codes() -> None:
    vertex = Vertex(index=0, operation=Context(), name="x", line=3)
    failed = failure_of(StepError(vertex, StepFailed("broken", 7)), "a\nb\nc\nd\n")
    assert (failed.text, failed.exit_code, failed.line) == ("broken", 7, 3)
    inner = failure_of(StepError(vertex, Internal("bug")), "")
    assert (inner.line, inner.excerpt, inner.exit_code) == (3, "", 0)
    assert "fault of the daemon" in failure_of(RuntimeError("x"), "").text
    assert excerpt("one\ntwo\nthree\nfour\n", 2, name="D") == (
        "D:2\n--------------------\n   1 |     one\n   2 | >>> two\n   3 |     three\n   4 |     four\n"
        "--------------------"
    )
    assert excerpt("a", 9) == ""
    assert "\x1b" not in excerpt("\x1b[2J\n", 1)


def test_copies_from_lines_that_are_nowhere_are_told_all_the_same() -> None:
    wire = Wire()
    classic = Classic(wire.outlet)
    vertex = Vertex(
        index=0,
        operation=Files(sources=(FileSource(name="a", data="b"),), destination="/"),
        name="COPY",
        line=99,
    )
    classic.planned(Graph(vertices=(vertex,), targets=(target(0),)), [(1, "FROM scratch")])
    classic.output(vertex, 1, b"seen\n")
    classic.finished(vertex, "")
    assert "seen\n" in wire.text
