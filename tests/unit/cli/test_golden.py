"""Whole commands against recorded replies: tests/golden/cli/<case>/.

    command     the arguments, one a line
    replies     JSON: {"GET /containers/json": ..., ...}
    expected    standard output
    code, error optional: the exit code, the standard error

CARBOY_GOLDEN=write rewrites `expected`; review the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carboy.cli import main
from support.fakeserver import FakeServer, server

__all__ = ["server"]
CASES = Path(__file__).parents[2] / "golden" / "cli"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(case: str, server: FakeServer, capfd: pytest.CaptureFixture[str]) -> None:
    folder = CASES / case
    for route, reply in json.loads((folder / "replies").read_text()).items():
        server.json(route, reply)
    arguments = (folder / "command").read_text().splitlines()
    code = main.run(["-H", "unix://" + server.path, *arguments])
    out, err = capfd.readouterr()
    expected = folder / "expected"
    if os.environ.get("CARBOY_GOLDEN") == "write":
        expected.write_text(out)
    assert out == expected.read_text()
    assert err == ((folder / "error").read_text() if (folder / "error").exists() else "")
    assert code == (int((folder / "code").read_text()) if (folder / "code").exists() else 0)
