"""Feed damaged Dockerfiles to all stages of the language: our own errors, soon, and nothing else.

python tests/fuzz/fuzz_dockerfile.py [seconds] [seed]     run by hand; also an entry point for atheris
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]

from carboy.formats.dockerfile.source import DockerfileError  # noqa: E402 - after the path is set
from support.dockerfiles import CaseOptions, described  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden" / "dockerfile"
PIECES = (
    b"\\\n", b"\n", b" ", b"\t", b"<<E", b"<<-'E'", b"E\n", b"$", b"${", b"}", b":-", b"#", b"%%", b"//",
    b'"', b"'", b"[", b"]", b"--", b"--mount=type=", b"=", b",", b"`", b"\\", b"# ", b"FROM ",
    b"ARG ", b"ONBUILD ", b"AS ",
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"*", b"?",
)  # fmt: skip


def seeds() -> list[bytes]:
    """The corpus."""
    return [(case / "Dockerfile").read_bytes() for case in sorted(GOLDEN.iterdir())]


def one(data: bytes) -> None:
    """One input: any error but ours is a finding, and so is a slow one."""
    began = time.monotonic()
    try:
        described(data, CaseOptions(environment=["PATH=/bin:/usr/bin"], arguments={"A": "given"}))
    except DockerfileError as error:
        error.pointed(data.decode("utf-8", "surrogateescape")).encode()
    assert time.monotonic() - began < 5, "slow"


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Pieces put in, taken away, doubled."""
    for _ in range(dice.randint(1, 8)):
        place = dice.randint(0, len(data))
        if dice.random() < 0.6:
            data = data[:place] + dice.choice(PIECES) * dice.choice((1, 1, 1, 2, 40)) + data[place:]
        elif dice.random() < 0.7:
            data = data[:place] + data[place + dice.randint(1, 6) :]
        else:
            other = dice.randint(0, len(data))
            data = data[:place] + data[other : other + 60] + data[place:]
    return data


def main(seconds: float, seed: int) -> int:
    """Run for a while; returns how many inputs were tried."""
    dice = random.Random(seed)
    corpus, tried, end = seeds(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutate(dice.choice(corpus), dice)
        try:
            one(data)
        except BaseException:
            print(repr(data))
            raise
        tried += 1
    return tried


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 1))
