"""How fast do files go into a container and out of it?  Prints JSON.

3,000 small files in 40 directories and one of 40 MB (the `cp-in` of the shared benchmark), by the
command line with a directory handed over, as a tar on standard input, and out again; then the
same through Docker's command line.  Peer: `dockerd` where --peer names the socket of one.

    bench_cp.py [--rounds N] [--peer unix:///tmp/peer/docker.sock]
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
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
CARBOY = [sys.executable, str(ROOT / "bin" / "carboy")]
IMAGE = "bench/cp:1"


def make_tree(folder: Path) -> Path:
    tree = folder / "tree"
    numbers = random.Random(7)
    for number in range(3000):
        path = tree / "src" / f"pkg{number % 40}" / f"mod{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(numbers.randint(200, 4000)))
    (tree / "data.bin").write_bytes(numbers.randbytes(40 << 20))
    return tree


class Engine:
    """A command line and its container."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.environment = environment

    def run(self, *arguments: str, **more: object) -> None:
        subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            check=True,
            stdout=more.pop("stdout", subprocess.DEVNULL),
            **more,  # type: ignore[call-overload]  # stdin
        )

    def begin(self) -> None:
        from support.daemon import busybox_tar

        subprocess.run(
            [*self.command, "import", "-", IMAGE],
            env=self.environment,
            input=busybox_tar(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self.run("run", "-d", "--name", "bench-cp", "--network", "none", IMAGE, "sleep", "100000")

    def end(self) -> None:
        self.run("rm", "-f", "bench-cp")


def timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(engine: Engine, tree: Path, rounds: int) -> dict[str, float]:
    figures: dict[str, list[float]] = {"in": [], "in_tar": [], "out": [], "one_file": []}
    tar = tree.parent / "tree.tar"
    subprocess.run(["tar", "-c", "-f", tar, "-C", tree.parent, "tree"], check=True)
    for number in range(rounds):
        place = f"/root/round{number}"
        engine.run("exec", "bench-cp", "mkdir", "-p", place, f"{place}t")
        figures["in"].append(timed(partial(engine.run, "cp", str(tree), f"bench-cp:{place}")))

        def from_tar(place: str = place) -> None:
            with subprocess.Popen(["cat", tar], stdout=subprocess.PIPE) as cat:
                engine.run("cp", "-", f"bench-cp:{place}t", stdin=cat.stdout)

        figures["in_tar"].append(timed(from_tar))
        out = tree.parent / f"out{number}"
        figures["out"].append(timed(partial(engine.run, "cp", f"bench-cp:{place}/tree", str(out))))
        figures["one_file"].append(timed(partial(engine.run, "cp", "/etc/passwd", f"bench-cp:{place}")))
        shutil.rmtree(out)
    return {name: round(statistics.median(found), 4) for name, found in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-cp-"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "CARBOY_ROOT": f"{folder}/root",
        "CARBOY_RUN": f"{folder}/run",
    }
    engines = {"carboy": Engine(CARBOY, environment)}
    if options.peer:
        engines["docker"] = Engine(["/usr/bin/docker", "-H", options.peer], dict(os.environ))
    result: dict[str, object] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "unit": "s",
    }
    try:
        tree = make_tree(folder)
        for name, engine in engines.items():
            engine.begin()
            result[name] = measure(engine, tree, options.rounds)
            engine.end()
        print(json.dumps(result, indent=1))
    finally:
        engines["carboy"].run("system", "reset", "--force")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
