"""What does COPY of a build context cost: its key, new and unchanged, and its layer?

Prints JSON.  No daemon: the step itself, above an empty base.  Contexts: 3,000 small files with 40 MB
beside them (as `bench/sidebyside.py` builds), and 1 GB in 20,000 files.
Budgets: an unchanged 3,000 files 30 ms, an unchanged 1 GB 0.5 s, layers 300 MB/s.  Peer: none.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("src", "tests")]

from carboy.build.graph import Files, FileSource  # noqa: E402 - the path comes first
from carboy.build.operation import Filesystem, Value  # noqa: E402
from support.copying import Yard, yard  # noqa: E402

ROUNDS = 7


def make_context(top: Path, files: int, sizes: tuple[int, int], large: int, directories: int) -> Path:
    """`files` files of sizes between two bounds, and one large one."""
    rng = random.Random(7)
    for number in range(files):
        path = top / "src" / f"package{number % directories}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randint(*sizes)))
    if large:
        (top / "data.bin").write_bytes(rng.randbytes(large))
    return top


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(made: Yard, context: Path) -> dict[str, float]:
    """Of one context."""
    operation = Files(sources=(FileSource(input=1, patterns=(".",)),), destination="/app/")
    inputs: list[Value] = [Filesystem(), made.context]
    size = sum(path.stat().st_size for path in context.rglob("*") if path.is_file())

    def key() -> None:
        made.files(operation, inputs).ingredients(inputs).key()

    time.sleep(0.2)
    first = timed(key)
    again = [timed(key) for _ in range(ROUNDS)]
    writing = []
    for _ in range(3):
        step = made.files(operation, inputs)
        step.ingredients(inputs)
        began = time.perf_counter()
        layer = step.run(inputs, made.console()).layer
        writing.append(time.perf_counter() - began)
        assert layer is not None
        made.layers.remove(layer)
    return {
        "megabytes": round(size / 1e6, 1),
        "key_first_s": round(first, 4),
        "key_unchanged_p50_s": round(statistics.median(again), 4),
        "key_unchanged_best_s": round(min(again), 4),
        "layer_p50_s": round(statistics.median(writing), 4),
        "layer_best_mb_per_s": round(size / 1e6 / min(writing)),
    }


def main() -> None:
    results: dict[str, dict[str, float]] = {}
    for name, arguments in {
        "3000 files": (3000, (200, 4000), 40 << 20, 40),
        "1 GB": (20_000, (20_000, 80_000), 0, 400),
    }.items():
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as scratch:
            context = make_context(Path(scratch) / "context", *arguments)
            with yard(Path(scratch), context) as made:
                results[name] = measure(made, context)
    results["process"] = {"peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}
    about = {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count()}
    print(json.dumps({"bench": "context", **about, "results": results}, indent=1))


if __name__ == "__main__":
    main()
