"""Carboy in Docker's place, below a prefix: made, used, taken away; what is somebody else's stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import Daemon, daemon

__all__ = ["daemon"]
pytestmark = pytest.mark.needs_root

CARBOY = str(Path(sys.executable).parent / "carboy")
MADE = ["etc/tmpfiles.d/carboy-as-docker.conf", "run/docker.sock", "usr/local/bin/docker"]


def as_docker(prefix: Path, *options: str, home: str = "/nonexistent") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CARBOY_ROOT": f"{home}/root", "CARBOY_RUN": f"{home}/run"}
    return subprocess.run(
        [CARBOY, "system", "as-docker", f"--prefix={prefix}", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def files(prefix: Path) -> list[str]:
    return sorted(str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir())


def test_made_and_taken_away(tmp_path: Path) -> None:
    assert as_docker(tmp_path).returncode == 0
    assert files(tmp_path) == MADE
    assert os.readlink(tmp_path / MADE[1]) == "/nonexistent/run/carboy.sock"
    assert "L+ /run/docker.sock - - - - /nonexistent/run/carboy.sock" in (tmp_path / MADE[0]).read_text()
    assert as_docker(tmp_path).returncode == 0  # again
    assert files(tmp_path) == MADE
    assert as_docker(tmp_path, "--undo").returncode == 0
    assert files(tmp_path) == []
    assert as_docker(tmp_path, "--undo").returncode == 0


@pytest.mark.parametrize(
    "there", ["usr/bin/dockerd", "usr/bin/docker", "run/docker.sock", "usr/local/bin/docker"]
)
def test_a_real_docker_stays(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("real")
    refused = as_docker(tmp_path)
    assert refused.returncode == 1
    assert there in refused.stderr
    assert files(tmp_path) == [there]
    forced = as_docker(tmp_path, "--force")
    assert forced.returncode == 0
    assert (tmp_path / there).read_text() == "real"
    assert os.path.islink(tmp_path / "usr/local/bin/docker") == (there != "usr/local/bin/docker")
    assert as_docker(tmp_path, "--undo").returncode == 0
    assert files(tmp_path) == [there]


def test_docker_is_carboy(tmp_path: Path, daemon: Daemon) -> None:
    assert as_docker(tmp_path, home=daemon.home).returncode == 0
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/run/docker.sock"}
    done = subprocess.run(
        [tmp_path / "usr/local/bin/docker", "version", "--format", "{{.Server.Platform.Name}}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Carboy\n", "")
