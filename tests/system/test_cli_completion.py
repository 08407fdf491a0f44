"""Completion in a real bash: what a user gets who presses tab."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.commands import Home, home
from support.daemon import IMAGE, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["home"]

pytestmark = [pytest.mark.needs_root, pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")]
SCRIPT = """
eval "$(carboy completion bash)"
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}
read -ra COMP_WORDS <<< "$COMP_LINE"; [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_carboy_complete
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def shell(home: Home, tmp_path: Path) -> dict[str, str]:
    """An environment in which `carboy` is ours."""
    program = tmp_path / "bin" / "carboy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/bin/carboy "$@"\n')
    program.chmod(0o755)
    return {
        **home.environment,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "DOCKER_CONFIG": str(tmp_path / "config"),
    }


def complete(shell: dict[str, str], line: str, folder: str = "/") -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT, "bash", line],
        capture_output=True,
        text=True,
        env=shell,
        cwd=folder,
        timeout=40,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_flags(shell: dict[str, str]) -> None:
    assert complete(shell, "carboy hist") == ["history"]
    assert {"run", "ps", "volume"} <= set(complete(shell, "carboy "))
    assert {"ls", "create", "rm", "inspect"} <= set(complete(shell, "carboy volume "))
    assert "--filter" in complete(shell, "carboy ps --fi")
    assert "--interactive" in complete(shell, "carboy exec --")
    assert complete(shell, "carboy container re") == ["remove", "rename", "restart"]
    assert complete(shell, "carboy --cont") == ["--context"]
    assert complete(shell, "carboy completion z") == ["zsh"]


def test_names(home: Home, shell: dict[str, str]) -> None:
    home.detached(IMAGE, "sleep", "1000", name="webserver")
    home.text("create", "--name", "waiting", "--network", "none", IMAGE, "true")
    home.text("volume", "create", "data")
    try:
        assert complete(shell, "carboy rm ") == ["waiting", "webserver"]
        assert complete(shell, "carboy rm -f waiting ") == ["webserver"]
        assert complete(shell, "carboy exec w") == ["webserver"]
        assert complete(shell, "carboy start ") == ["waiting"]
        assert complete(shell, "carboy volume rm d") == ["data"]
        assert "bridge" in complete(shell, "carboy run --network ")
        assert complete(shell, "carboy run --network=br") == ["bridge"]
        assert complete(shell, f"carboy run --rm {IMAGE[:3]}") == [IMAGE]
        assert complete(shell, f"carboy run --rm {IMAGE.partition(':')[0]}:") == [IMAGE.partition(":")[2]]
        assert complete(shell, "carboy ps --filter status=ex") == ["exited"]
        assert "status=" in complete(shell, "carboy ps --filter st")
        assert "webserver:" in complete(shell, "carboy cp w")
    finally:
        home.text("rm", "-f", "webserver", "waiting")
        home.text("volume", "rm", "data")


def test_contexts(home: Home, shell: dict[str, str]) -> None:
    for name in ("laboratory", "far"):
        subprocess.run(
            [*("carboy", "context", "create", name, "--docker", "host=tcp://h:1")],
            env=shell,
            capture_output=True,
            check=True,
        )
    assert complete(shell, "carboy context use ") == ["default", "far", "laboratory"]
    assert complete(shell, "carboy --context la") == ["laboratory"]


def test_after_the_image_the_shell_decides(shell: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "unusual-file").write_text("")
    assert complete(shell, f"carboy run {IMAGE} unu", str(tmp_path)) == ["unusual-file"]
    assert complete(shell, "carboy load -i unu", str(tmp_path)) == ["unusual-file"]


def test_what_is_typed_is_never_executed(shell: dict[str, str], tmp_path: Path) -> None:
    for line in ("carboy rm $(touch oops) ", "carboy rm `touch oops` ", "carboy rm ; touch oops; "):
        complete(shell, line, str(tmp_path))
    assert not (tmp_path / "oops").exists()


def test_without_a_daemon_it_is_quick_and_starts_none(shell: dict[str, str], tmp_path: Path) -> None:
    away = {**shell, "CARBOY_RUN": str(tmp_path / "run"), "CARBOY_ROOT": str(tmp_path / "root")}
    times = []
    for _ in range(7):
        began = time.monotonic()
        done = subprocess.run(
            ["carboy", "completion", "--words", "--", "rm", ""], env=away, capture_output=True, check=True
        )
        times.append(time.monotonic() - began)
        assert (done.stdout, done.stderr) == (b"", b"")
    assert not (tmp_path / "run").exists()
    assert statistics.median(times) < 0.5  # 0.04 on a quiet machine: this one may be shared


def test_zsh_and_fish_have_scripts(shell: dict[str, str]) -> None:
    for name in ("zsh", "fish"):
        done = subprocess.run(["carboy", "completion", name], env=shell, capture_output=True, check=True)
        assert b"carboy completion --words" in done.stdout
        if shutil.which(name):
            subprocess.run([name, "-n"], input=done.stdout, check=True)
