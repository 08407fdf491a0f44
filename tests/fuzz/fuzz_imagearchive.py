"""Fuzz entry point: mutated image archives are loaded or refused, and leave nothing half-made.

python tests/fuzz/fuzz_imagearchive.py [seconds] [seed]
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from carboy.errors import CarboyError
from support.archives import docker_archive, make_tar, oci_archive, store_at

_LAYER = make_tar({"etc/": None, "etc/name": b"one\n", "etc/link": ("->", "name")})


def seeds() -> list[bytes]:
    """Good archives of each kind."""
    return [
        make_tar(docker_archive([_LAYER], ["a:1"])),
        make_tar(oci_archive([_LAYER], [gzip.compress(_LAYER, mtime=0)], "a:1")),
        gzip.compress(make_tar(docker_archive([_LAYER], ["a:1"])), mtime=0),
    ]


def mutate(data: bytes, source: random.Random) -> bytes:
    """A few bytes changed, a piece cut out, doubled, or moved."""
    changed = bytearray(data)
    for _ in range(source.randint(1, 8)):
        where = source.randrange(len(changed) or 1)
        length = source.choice([1, 2, 8, 100, 512, 1024])
        match source.randrange(4):
            case 0:
                changed[where : where + 1] = bytes([source.randrange(256)])
            case 1:
                del changed[where : where + length]
            case 2:
                changed[where:where] = changed[where : where + length]
            case _:
                changed[where : where + length] = (
                    source.choice([b"0", b"9", b"\xff", b"\0", b"/", b"{"]) * length
                )
    return bytes(changed)


def one(data: bytes, root: Path) -> bool:
    """Load `data` into a fresh store; whether it was accepted."""
    with store_at(root) as store:
        try:
            store.load(data)
        except CarboyError:
            assert store.is_empty()
            return False
        for record in store.images.records.all():
            for diff_id in record.diff_ids:
                store.layers.verify(diff_id)
        return True


def main(seconds: float, seed: int) -> None:
    source, end, count, accepted = random.Random(seed), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = mutate(source.choice(seeds()), source)
        with tempfile.TemporaryDirectory() as directory:
            try:
                accepted += one(data, Path(directory))
            except BaseException:
                Path(f"crash-{seed}-{count}.tar").write_bytes(data)
                raise
        count += 1
    print(f"{count} archives, {accepted} accepted, seed {seed}")


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 10.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32),
    )
