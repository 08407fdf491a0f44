"""The how-tos' blocks, run in order: what the documentation shows is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import Home, home, kill_and_wait
from support.reach import free_ports

__all__ = ["home"]
pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network, pytest.mark.timeout(60)]

PROJECT = Path(__file__).parents[2]


def blocks(page: str, *, at_least: int) -> list[str]:
    """What a page says to type."""
    text = (PROJECT / "docs" / page).read_text()
    found = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(found) >= at_least
    return found


def follow(home: Home, directory: Path, script: str) -> str:
    """Type it, in one shell; `carboy` is the one beside this Python, and its daemon is the test's."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**home.environment, "PATH": path}
    done = subprocess.run(
        ["sh", "-exc", script], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_container(home: Home, tmp_path: Path) -> None:
    follow(home, tmp_path, "".join(blocks("howto-first-container.md", at_least=5)))


def test_coming_from_docker(home: Home, tmp_path: Path) -> None:
    said = follow(home, tmp_path, "".join(blocks("howto-from-docker.md", at_least=6)))
    assert said.count("hello\n") >= 2


def test_building_an_image(home: Home, tmp_path: Path) -> None:
    said = follow(home, tmp_path, "".join(blocks("howto-build.md", at_least=7)))
    assert "Total reclaimed space" in said


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_a_daemon_on_another_machine(home: Home, tmp_path: Path) -> None:
    [port] = free_ports(1)
    script = "".join(blocks("howto-remote.md", at_least=5)).replace("2376", str(port))
    kill_and_wait(home.daemon, home.spawner)
    try:
        said = follow(home, tmp_path, script)
    finally:
        if home.daemon:
            kill_and_wait(home.daemon)
    assert f"tcp://127.0.0.1:{port}" in said
