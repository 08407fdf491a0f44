"""What the hot commands may import: the command line's start-up budget, as a list.

A module missing here was added without measuring (docs/design/0005-command-line.md).
The commands run to their first request and fail there: nothing listens at their host.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ALWAYS = {
    "__future__",
    "_socket",
    "_json",
    "carboy",
    "carboy.errors",
    "carboy.cli",
    "carboy.cli.main",
    "carboy.cli.flags",
    "carboy.cli.commands",
    "carboy.cli.session",
    "carboy.client",
    "carboy.client.address",
    "carboy.client.config",
    "carboy.client.endpoint",
    "carboy.client.document",
    "carboy.client.transport",
    "carboy.formats",
    "carboy.formats.http",
}
ATTACHED = {"carboy.cli.attached", "carboy.cli.streams", "select", "_struct"}
BUDGET = {
    "exec": (["exec", "x", "true"], ATTACHED | {"carboy.cli.exec"}),
    "run": (
        ["run", "--rm", "x", "true"],
        ATTACHED
        | {
            "carboy.cli." + name
            for name in ("run", "containerflags", "launch", "containerconfig", "values", "units")
        }
        | {"carboy.cli.signals"},
    ),
    "ps": (
        ["ps", "-a"],
        {"carboy.cli.ports", "carboy.cli.ps", "carboy.cli.table", "carboy.formats.human", "time"},
    ),
    "start": (["start", "x"], ATTACHED | {"carboy.cli.start", "carboy.cli.launch", "carboy.cli.each"}),
    "stop": (["stop", "x"], {"carboy.cli.stop", "carboy.cli.each"}),
    "build": (
        ["build", "-q", "-t", "x", "-f", "Dockerfile", "."],
        {
            "carboy.cli." + name
            for name in ("build", "buildrun", "buildcontext", "buildoptions", "buildoutputs", "units")
        }
        | {"carboy.cli.values", "binascii"},
    ),
}
PROGRAM = """
import sys
before = set(sys.modules)
from carboy.cli.main import run
code = run(sys.argv[1:])
print(*sorted(set(sys.modules) - before))
sys.exit(0 if code else 9)
"""


@pytest.mark.parametrize("name", BUDGET)
def test_a_hot_command_imports_only_this(name: str, tmp_path: Path) -> None:
    arguments, extra = BUDGET[name]
    (tmp_path / "Dockerfile").touch()
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{PROGRAM}"]
    done = subprocess.run(
        [*command, "-H", f"unix://{tmp_path}/none.sock", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) - ALWAYS - extra == set()
    assert "cannot connect to the daemon" in done.stderr
