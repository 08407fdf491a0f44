"""Our matching beside Docker's own: what its client sends of a context, and what it leaves out.

The classic builder's client filters the context; here it sends the tar to a server that keeps it.  One
habit of that client is not ours, nor BuildKit's: below an excluded directory it only looks for exceptions
that begin with the directory's very name.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.errors import InvalidArgument
from carboy.formats.dockerignore import Ignore
from support.fakeserver import FakeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.needs_docker, pytest.mark.timeout(60)]

CASES = json.loads((Path(__file__).parents[1] / "golden/dockerignore/cases.json").read_text())
ATOMS = ["a", "b", "c", "/", "/", "*", "**", "**/", "?", "[ab]", "[^a]", "[a-c]", "\\*", "\\[", "^", ".", " ",
         "..", "!", "\\d", "[[a]", "-", "]", "[*]", "[?]"]  # fmt: skip

DOCKER = shutil.which("docker") or ""

Sent = set[str] | None
"""The paths that were sent; None when the client refused the patterns."""


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Callable[[str], Sent]]:
    """Send the context tmp_path/context with these patterns."""
    server = FakeServer(str(tmp_path / "s"))
    for route in ("HEAD /_ping", "GET /_ping"):
        server.replies[route] = (
            b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nBuilder-Version: 1\r\nContent-Length: 0\r\n\r\n"
        )
    for version in range(24, 60):
        server.json(f"POST /v1.{version}/build", {"stream": "ok"})

    def command(text: str) -> Sent:
        context = tmp_path / "context"
        (context / "Dockerfile.x").write_text("FROM scratch\n")
        (context / ".dockerignore").write_bytes(text.encode())
        server.requests.clear()
        subprocess.run(
            [DOCKER, "-H", f"unix://{tmp_path}/s", "build", "-f", f"{context}/Dockerfile.x", str(context)],
            env={**os.environ, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(tmp_path / "none")},
            capture_output=True,
            check=False,
            timeout=40,
        )
        bodies = [body for target, _, body in server.requests if target.startswith("POST")]
        if not bodies:
            return None
        with tarfile.open(fileobj=io.BytesIO(bodies[-1])) as archive:
            return {member.name.rstrip("/") for member in archive}

    yield command
    server.close()


def differs(text: str, sent: Sent, paths: set[str]) -> list[str]:
    """The paths about which we say something else."""
    try:
        ignore = Ignore.parse(text)
    except InvalidArgument:
        return [] if sent is None else ["refused here only"]
    if sent is None:
        return ["refused there only"]
    found = []
    for path in sorted(paths):
        outside = path not in sent
        parts = path.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if outside != ignore.excludes(path) and not (outside and any(map(ignore.excludes, above))):
            found.append(path)
    return found


def test_the_golden_cases(send: Callable[[str], Sent], tmp_path: Path) -> None:
    failures = []
    for case in CASES:
        context = tmp_path / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        paths = {
            path
            for path in (*case["inside"], *case["outside"])
            if path == os.path.normpath(path) and path[0] != "/" and path not in (".", ".dockerignore")
        }
        for path in sorted(paths, key=len, reverse=True):
            place = context / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.touch()
        failures += [(case["what"], path) for path in differs(case["ignore"], send(case["ignore"]), paths)]
    assert failures == []


@pytest.mark.parametrize("seed", range(3))
def test_random_patterns(send: Callable[[str], Sent], tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b", "ab", "ba", "a.b", "a-b", "[a]", "c d", "a*", "^a", "A", "9"]
    paths = set()
    for first in names:
        for second in chance.sample(names, 4):
            (tmp_path / "context" / first / second).mkdir(parents=True)
            for third in chance.sample(names, 3):
                (tmp_path / "context" / first / second / third).touch()
                paths |= {first, f"{first}/{second}", f"{first}/{second}/{third}"}
    failures = []
    for _ in range(40):
        text = "\n".join(
            chance.choice(["", "", "!"]) + "".join(chance.choices(ATOMS, k=chance.randint(1, 6)))
            for _ in range(chance.randint(1, 4))
        )
        failures += [(text, path) for path in differs(text, send(text), paths)]
    assert failures == []
