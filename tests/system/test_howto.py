"""The how-to's blocks, run in order: what the documentation shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import Daemon, daemon

__all__ = ["daemon"]
pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]

PROJECT = Path(__file__).parents[2]


@pytest.mark.timeout(60)
def test_the_first_container(daemon: Daemon, tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "howto-first-container.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    program = tmp_path / "bin" / "carboy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROJECT}/bin/carboy" "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT / "src"),
        "CARBOY_HOST": daemon.host,
    }
    for block in blocks:
        done = subprocess.run(
            ["sh", "-ec", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
