"""Where does the time of a build go?  Prints JSON: medians of the phases of `carboy build`.

The project of the shared benchmark (3,000 files, one of 40 MB, 8 RUN): nothing cached, all cached, one
file edited; 8 independent stages; and with --large a context of 1 GB of which nothing changed.  Phases
come from the traces of `--progress rawjson`:

    plan          contexts, Dockerfile and bases, up to the graph
    files         the steps that write files, added up (they may run side by side)
    run           the RUN steps, added up
    after_steps   exporting, records
    client        the rest: process start, sending, what is shown

    bench_build.py [--rounds N] [--large] [--peer unix:///tmp/peer/docker.sock]

The peer builds with BuildKit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
CARBOY = [sys.executable, str(ROOT / "bin" / "carboy")]
IMAGE = "bench/build-base:1"
LAYERS = "".join(f"RUN echo step {number} > /app/s{number}\n" for number in range(8))


class Engine:
    """A command line that builds."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.environment = environment

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.command, *arguments], env=self.environment, check=True, capture_output=True, input=stdin
        )

    def build(self, context: Path, *more: str) -> dict[str, float]:
        """Wall-clock seconds, and phases where the engine tells them."""
        begin = time.perf_counter()
        done = self.run("build", "-t", "bench/build:1", *more, str(context))
        wall = time.perf_counter() - begin
        return {"wall": wall, **phases(done.stderr, wall)}


def phases(traces: bytes, wall: float) -> dict[str, float]:
    """What `--progress rawjson` says; nothing for another engine."""
    lines = [json.loads(line) for line in traces.splitlines() if line.startswith(b'{"Kind"')]
    if not lines:
        return {}
    names: dict[int, str] = {}
    found = {"plan": 0.0, "files": 0.0, "run": 0.0}
    seconds = 0.0
    last = 0.0
    for trace in lines:
        match trace["Kind"]:
            case "vertices":
                names = {vertex.get("Index", 0): vertex["Name"] for vertex in trace["Vertices"]}
                found["plan"] = trace.get("Time", 0.0)
            case "finished":
                name = names.get(trace.get("Vertex", 0), "")
                found["run" if "] RUN" in name else "files"] += trace.get("Seconds", 0.0)
                last = trace.get("Time", 0.0)
            case "result":
                seconds = trace.get("Seconds", 0.0)
            case _:
                pass
    return {**found, "after_steps": max(seconds - last, 0.0), "client": wall - seconds}


def make_project(folder: Path) -> Path:
    """The project of the shared benchmark."""
    numbers = random.Random(7)
    for number in range(3000):
        path = folder / "src" / f"pkg{number % 40}" / f"mod{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(numbers.randint(200, 4000)))
    (folder / "data.bin").write_bytes(numbers.randbytes(40 << 20))
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGE}\nWORKDIR /app\nCOPY data.bin /data/\nCOPY src src\n{LAYERS}ENV A=1\n"
    )
    return folder


def make_large(folder: Path) -> Path:
    """1 GB in 1,000 files."""
    folder.mkdir()
    piece = random.Random(1).randbytes(1 << 20)
    for number in range(1000):
        (folder / f"f{number}").write_bytes(number.to_bytes(4, "big") + piece[4:])
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY . /data\n")
    return folder


def make_stages(folder: Path) -> Path:
    """Eight stages that do not need each other, each with work for the processor."""
    folder.mkdir()
    stages = [
        f"FROM {IMAGE} AS s{number}\nRUN dd if=/dev/zero bs=1M count=200 2>/dev/null | md5sum > /r{number}\n"
        for number in range(8)
    ]
    copies = [f"COPY --from=s{number} /r{number} /\n" for number in range(8)]
    (folder / "Dockerfile").write_text("".join((*stages, "FROM scratch\n", *copies)))
    return folder


def measure(engine: Engine, work: Path, rounds: int, more: tuple[str, ...]) -> dict[str, dict[str, float]]:
    project, stages = work / "project", work / "stages"

    def edited() -> dict[str, float]:
        (project / "src/pkg0/mod0.py").write_bytes(os.urandom(900))
        return engine.build(project, *more)

    scenarios: dict[str, Callable[[], dict[str, float]]] = {
        "cold": lambda: engine.build(project, "--no-cache", *more),
        "warm": lambda: engine.build(project, *more),
        "edit": edited,
        "stages8": lambda: engine.build(stages, "--no-cache", *more),
    }
    if (work / "large").exists():
        scenarios["large_unchanged"] = lambda: engine.build(work / "large", *more)
    result = {}
    for name, scenario in scenarios.items():
        scenario()  # warms up, and is not counted
        found = [scenario() for _ in range(rounds)]
        result[name] = {phase: round(statistics.median(one[phase] for one in found), 4) for phase in found[0]}
    return result


def main() -> None:
    from support.daemon import busybox_tar

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--peer", default="")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="bench-build-"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "CARBOY_ROOT": f"{work}/root",
        "CARBOY_RUN": f"{work}/run",
        "BUILDKIT_PROGRESS": "rawjson",
    }
    engines = {"carboy": Engine(CARBOY, environment)}
    if options.peer:
        buildkit = {**os.environ, "DOCKER_BUILDKIT": "1"}
        engines["buildkit"] = Engine(["/usr/bin/docker", "-H", options.peer], buildkit)
    make_project(work / "project")
    make_stages(work / "stages")
    if options.large:
        make_large(work / "large")
    result: dict[str, object] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "unit": "s",
    }
    try:
        for name, engine in engines.items():
            engine.run("import", "-", IMAGE, stdin=busybox_tar())
            more = ("--progress", "plain") if name == "buildkit" else ()
            result[name] = measure(engine, work, options.rounds, more)
        print(json.dumps(result, indent=1))
    finally:
        engines["carboy"].run("system", "reset", "--force")
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
