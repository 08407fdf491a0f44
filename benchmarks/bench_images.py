"""How long do import, load, save, rmi and commit take inside the daemon?  Prints JSON.

The layer is that of the side-by-side benchmark: about 160 MB in 8,700 entries.  Peer: the
figures of `docker` 20.10 in benchmarks/sidebyside.py, which include the command line.
"""

from __future__ import annotations

import io
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from carboy.digest import Digest
from carboy.engine.images.service import ImageService
from carboy.engine.images.users import CommitSubject, ContainerUse
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.formats.tar import DIRECTORY, END, REGULAR, TarEntry, encode, padding
from carboy.store.layers import ErofsLayers
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

ROUNDS = 5
DIRECTORIES, FILES, FILE_SIZE = 700, 8000, 19000


class LocalFile:
    """A source or sink that is a regular file."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = open(path, mode, buffering=0)

    def read(self, size: int, /) -> bytes:
        data: bytes = self._file.read(size)
        return data

    def write(self, data: bytes | memoryview, /) -> None:
        self._file.write(data)

    def fileno(self) -> int | None:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Container:
    """The one container that is committed."""

    def __init__(self, image_id: str, diff_ids: tuple[Digest, ...]) -> None:
        self._subject = CommitSubject(
            "c" * 64, Digest.parse(image_id), diff_ids, ContainerConfig(), nullcontext
        )

    def image_uses(self) -> list[ContainerUse]:
        return []

    def for_commit(self, unsafe_ref: str) -> CommitSubject:  # noqa: ARG002 - there is only one
        return self._subject


def make_layer() -> bytes:
    """A tar of incompressible small files."""
    source, out = random.Random(1), io.BytesIO()
    for number in range(DIRECTORIES):
        out.write(encode(TarEntry(b"d%04d" % number, DIRECTORY, mode=0o755)))
    for number in range(FILES):
        path = b"d%04d/file%05d" % (number % DIRECTORIES, number)
        out.write(
            encode(TarEntry(path, REGULAR, size=FILE_SIZE)) + source.randbytes(FILE_SIZE) + padding(FILE_SIZE)
        )
    out.write(END)
    return out.getvalue()


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        print(json.dumps(measure(Path(directory)), indent=2))


def measure(root: Path) -> dict[str, object]:
    """All the questions, several times, in turn."""
    paths = Paths(str(root / "root"), str(root / "run"))
    paths.create()
    database = Database(paths.db)
    layers = ErofsLayers(paths)
    snapshots = Snapshots(paths, layers)
    images = ImageService(paths, database, layers, snapshots)
    (root / "layer.tar").write_bytes(make_layer())
    times: dict[str, list[float]] = {}

    def take(name: str, action: Callable[[], object]) -> None:
        times.setdefault(name, []).append(timed(action))

    for _ in range(ROUNDS):
        os.sync()
        source = LocalFile(root / "layer.tar", "rb")
        take("import", lambda: import_image(images, source))  # noqa: B023 - called at once
        source.close()
        os.sync()
        sink = LocalFile(root / "saved.tar", "wb")
        take("save", lambda: images.save(["base"], sink))  # noqa: B023 - called at once
        sink.close()
        take("rmi", lambda: images.remove("base", force=False, prune_parents=True))
        os.sync()
        source = LocalFile(root / "saved.tar", "rb")
        take("load", lambda: list(images.load(source)))  # noqa: B023 - called at once
        source.close()
        take_commit(images, snapshots, paths, take)
        images.remove("base", force=True, prune_parents=True)
    layers.close()
    database.close()
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "layer": {"entries": DIRECTORIES + FILES, "bytes": (root / "layer.tar").stat().st_size},
        "seconds": {
            name: {"median": round(statistics.median(some), 4), "all": [round(one, 4) for one in some]}
            for name, some in times.items()
        },
    }


def import_image(images: ImageService, source: LocalFile) -> None:
    """One import."""
    images.import_(source, repository="base", tag="", message="", changes=[], platform=None)


def take_commit(
    images: ImageService,
    snapshots: Snapshots,
    paths: Paths,
    take: Callable[[str, Callable[[], object]], None],
) -> None:
    """Commit 64 MB in one file."""
    image = images.image_for_container("base")
    images.set_containers(Container(str(image.id), image.diff_ids))
    snapshots.prepare("c" * 64, image.diff_ids)
    (Path(paths.upper("c" * 64)) / "big").write_bytes(os.urandom(64 << 20))
    os.sync()
    take(
        "commit",
        lambda: images.commit(
            "c", repository="done", tag="", author="", comment="", changes=[], pause=True, config=None
        ),
    )
    images.remove("done", force=False, prune_parents=False)
    snapshots.remove("c" * 64)


if __name__ == "__main__":
    main()
