"""Random graphs: the solver gives what doing one step after the other gives, whatever is cached."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carboy.build.graph import Graph, Image
from carboy.build.operation import Filesystem
from carboy.digest import Digest
from support.building import Told, Workplace, chain, run, target


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    vertices = [chain().vertices[0]]
    for index in range(1, draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.integers(0, index - 1), min_size=1, max_size=3))
        command = draw(st.sampled_from(["a", "b", "c", "false d", "uncacheable e"]))
        vertices.append(run(index, command, *inputs, ignore_cache=draw(st.integers(0, 9)) == 0))
    wanted = draw(st.lists(st.integers(0, len(vertices) - 1), min_size=1, max_size=3))
    return Graph(vertices=tuple(vertices), targets=tuple(target(index) for index in wanted))


def one_after_the_other(place: Workplace, graph: Graph) -> list[Filesystem]:
    values: list[Filesystem] = []
    for vertex in graph.vertices:
        if isinstance(vertex.operation, Image):
            values.append(Filesystem(tuple(Digest.parse(layer) for layer in vertex.operation.layers)))
            continue
        text = vertex.name.removeprefix("RUN ")
        base = values[vertex.inputs[0]]
        values.append(base if "false" in text else base.above(place.layer(text)))
    return values


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(graphs(), min_size=1, max_size=3))
def test_the_same_as_one_after_the_other(several: list[Graph]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Workplace(Path(directory))
        try:
            for graph in several:
                expected = one_after_the_other(place, graph)
                told = Told()
                solved = place.solve(graph, told=told)
                for index, value in solved.values.items():
                    assert value == expected[index]
                assert {one.vertex for one in graph.targets} <= set(solved.values)
                assert sorted(told.of("started")) == sorted(told.of("finished"))
        finally:
            place.close()
