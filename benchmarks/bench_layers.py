"""How fast is a layer taken in, verified, mounted, removed; how fast are changes made a layer?

    python benchmarks/bench_layers.py [directory]       needs root; peer: GNU tar's extraction of the same tar

160 MB in 8,700 entries, and 64 MB written by a container.  Prints JSON with the machine and versions.
"""

from __future__ import annotations

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from carboy.formats.erofs import write_index
from carboy.formats.layertree import build_tree
from carboy.formats.tar import scan
from carboy.store.intake import FileWindow
from carboy.store.layers import ErofsLayers
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

ROUNDS = 5


def make_tar(path: str) -> None:
    """8,700 entries, 160 MB."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(8700):
            info = tarfile.TarInfo(f"usr/lib/d{number // 100}/file{number}")
            info.size = 18_000
            archive.addfile(info, io.BytesIO(os.urandom(info.size)))


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def index_only(fd: int) -> None:
    """The Python part alone."""
    root = build_tree(scan(lambda offset, size: os.pread(fd, size, offset)))
    write_index(root, tar_size=os.fstat(fd).st_size)


def measure(home: str) -> dict[str, list[float]]:
    """Each question, ROUNDS times."""
    tar = f"{home}/layer.tar"
    make_tar(tar)
    paths = Paths(f"{home}/root", f"{home}/run")
    paths.create()
    store = ErofsLayers(paths)
    snapshots = Snapshots(paths, store)
    results: dict[str, list[float]] = {}
    with open(tar, "rb") as opened:
        fd = opened.fileno()
        for number in range(ROUNDS):
            name = f"c{number}"

            def note(question: str, action: Callable[[], object]) -> None:
                os.sync()  # nobody pays for what another has left in memory
                results.setdefault(question, []).append(timed(action))

            note("index", lambda: index_only(fd))
            note("ingest", lambda: store.ingest(FileWindow.whole(fd)))
            layer = store.list()[0].diff_id
            note("verify", lambda: store.verify(layer))  # noqa: B023 - called at once
            note("prepare", lambda: snapshots.prepare(name, [layer]))  # noqa: B023
            note("mount", lambda: os.close(snapshots.mount(name, [layer])))  # noqa: B023
            Path(f"{paths.upper(name)}/big").write_bytes(os.urandom(64 << 20))
            note("commit 64 MB", lambda: store.remove(snapshots.write_layer(name, [layer]).diff_id))  # noqa: B023
            note("remove", lambda: store.remove(layer))  # noqa: B023
            snapshots.remove(name)
            target = f"{home}/peer{number}"
            os.mkdir(target)
            note("peer: tar -x", lambda: subprocess.run(["tar", "-C", target, "-xf", tar], check=True))  # noqa: B023
    store.close()
    return results


def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as home:
        results = measure(home)
    peer = subprocess.run(
        ["tar", "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[0]
    document = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "arch": platform.machine()},
        "versions": {"python": platform.python_version(), "peer": peer},
        "seconds": {name: round(statistics.median(values), 4) for name, values in results.items()},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
