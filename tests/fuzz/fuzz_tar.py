"""Feed damaged archives to tar reader, layer tree and index: our own errors, nothing else.

python tests/fuzz/fuzz_tar.py [seconds] [seed]        run by hand; also an entry point for atheris
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]

from carboy.errors import Corrupt, InvalidArgument, Unsupported  # noqa: E402
from carboy.formats.erofs import write_index  # noqa: E402
from carboy.formats.layertree import build_tree  # noqa: E402
from carboy.formats.tar import TarLimits, scan  # noqa: E402
from support import tars  # noqa: E402 - after the path is set


def seeds() -> list[bytes]:
    """Archives of every dialect."""
    members = (
        tars.directory("d"),
        tars.file("d/" + "f" * 120, b"x" * 700, pax={"SCHILY.xattr.user.k": "v", "mtime": "1.5"}),
        tars.hardlink("h", "d/" + "f" * 120),
        tars.symlink("l", "t" * 150),
        tars.file("s", b"12345678", pax={"GNU.sparse.map": "0,4,512,4", "GNU.sparse.size": "2000"}),
        tars.file("d/.wh.gone"),
        tars.file("d/.wh..wh..opq"),
    )
    return [tars.make(*members, dialect=dialect) for dialect in (1, 2)]


def one(data: bytes) -> None:
    """One input: any error but ours is a finding."""
    try:
        limits = TarLimits(entries=1000)
        root = build_tree(scan(lambda offset, size: data[offset : offset + size], limits=limits))
        write_index(root, tar_size=len(data), copy_sparse=lambda _node, _alignment: 0)
    except (Corrupt, Unsupported, InvalidArgument):
        pass


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Damage that gets past the checksum: fields are changed, sums made right."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        block = dice.randrange(len(changed) // 512) * 512
        place = block + dice.choice([dice.randrange(512), dice.randrange(100, 160), dice.randrange(386, 500)])
        changed[place] = dice.choice([0, 0xFF, 0x80, 0x2F, 0x2E, 0x30, 0x37, dice.randrange(256)])
        summed = sum(changed[block : block + 148]) + sum(changed[block + 156 : block + 512]) + 256
        changed[block + 148 : block + 156] = b"%06o\0 " % summed
    return bytes(changed[: dice.randrange(len(changed))] if dice.random() < 0.1 else changed)


def main(seconds: float, seed: int) -> int:
    """Run for a while; returns how many inputs were tried."""
    dice = random.Random(seed)
    archives, tried, end = seeds(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        one(mutate(dice.choice(archives), dice))
        tried += 1
    return tried


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 1))
