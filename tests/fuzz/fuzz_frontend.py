"""Feed damaged Dockerfiles and triggers of images to the frontend: sound graphs or our own errors, soon.

python tests/fuzz/fuzz_frontend.py [seconds] [seed]     run by hand; also an entry point for atheris
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import msgspec

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]

from carboy.build.frontend.drawing import draw  # noqa: E402 - after the path is set
from carboy.build.graph import Graph  # noqa: E402
from carboy.errors import CarboyError  # noqa: E402
from carboy.formats.dockerfile.stages import read_document  # noqa: E402
from fuzz.fuzz_dockerfile import mutate  # noqa: E402
from support.graphs import BaseOptions, CaseOptions, FakeBases, config_text, graph_text  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden" / "build"


def seeds() -> list[tuple[bytes, CaseOptions]]:
    """The corpus."""
    found = []
    for case in sorted(GOLDEN.iterdir()):
        given = case / "case.json"
        options = (
            msgspec.json.decode(given.read_bytes(), type=CaseOptions) if given.exists() else CaseOptions()
        )
        found.append(((case / "Dockerfile").read_bytes(), options))
    return found


def one(data: bytes, options: CaseOptions) -> None:
    """One input: any error but ours is a finding, and so are a slow one and an unsound graph."""
    began = time.monotonic()
    try:
        graph = draw(read_document(data), options.request(), FakeBases(options))
    except CarboyError as error:
        str(error).encode()
    else:
        check(graph)
        config_text(graph).encode()
        graph_text(graph)
    assert time.monotonic() - began < 5, "slow"


def check(graph: Graph) -> None:
    """What holds for every graph."""
    for number, vertex in enumerate(graph.vertices):
        assert vertex.index == number
        assert all(0 <= each < number for each in vertex.inputs)
    for target in graph.targets:
        assert 0 <= target.vertex < len(graph.vertices)
        assert all(step.vertex < len(graph.vertices) for step in target.history)


def with_trigger(data: bytes, options: CaseOptions) -> CaseOptions:
    """The same, with lines of a Dockerfile as triggers of the images that it names."""
    lines = [line for line in data.decode("utf-8", "replace").split("\n") if line][:3]
    bases = {name: BaseOptions(config={"OnBuild": lines}) for name in ("debian", "alpine", "app", "golang")}
    return msgspec.structs.replace(options, bases={**options.bases, **bases})


def main(seconds: float, seed: int) -> int:
    """Run for a while; returns how many inputs were tried."""
    dice = random.Random(seed)
    corpus, tried, end = seeds(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data, options = dice.choice(corpus)
        if dice.random() < 0.2:
            options = with_trigger(mutate(dice.choice(corpus)[0], dice), options)
        else:
            data = mutate(data, dice)
        try:
            one(data, options)
        except Exception:
            print(repr(data), msgspec.json.encode(options))
            raise
        tried += 1
    return tried


if __name__ == "__main__":
    print(main(float((sys.argv[1:] or ["60"])[0]), int((sys.argv[2:] or ["1"])[0])), "inputs")
