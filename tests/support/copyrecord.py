"""Record what Docker makes of `copycases`: `python -m support.copyrecord DOCKER_HOST`, in tests/."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from support.copycases import CASES, Tree, make_base, make_context, tree_of_tar

GOLDEN = Path(__file__).parents[1] / "golden" / "copy" / "buildkit.json"


def _docker(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/docker", "-H", host, *arguments],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def record(host: str, scratch: Path) -> dict[str, dict[str, Tree | str]]:
    """Every case, built."""
    for name in ("context", "base"):
        (scratch / name).mkdir()
    make_context(str(scratch / "context"))
    make_base(str(scratch / "base" / "base.tar"))
    (scratch / "base" / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    _docker(host, "build", "-t", "base", str(scratch / "base")).check_returncode()
    dockerfile, out = scratch / "Dockerfile", scratch / "out.tar"
    results: dict[str, dict[str, Tree | str]] = {}
    for name, instructions in CASES.items():
        dockerfile.write_text("\n".join(["FROM base AS base", "FROM base", *instructions, ""]))
        output = f"type=tar,dest={out}"
        done = _docker(
            host, "build", "--no-cache", "-f", str(dockerfile), "-o", output, str(scratch / "context")
        )
        if done.returncode:
            results[name] = {"error": done.stderr.strip().rpartition("\n")[2].partition("/merged")[0]}
        else:
            results[name] = {"tree": tree_of_tar(str(out))}
    return results


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        results = record(sys.argv[1], Path(scratch))
    lines = (f"{json.dumps(name)}: {json.dumps(result, sort_keys=True)}" for name, result in results.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
