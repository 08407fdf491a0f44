"""The units that are shipped: accepted by systemd where it is at hand, and what they must say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_accepts_the_units(kind: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    for unit in (UNITS / kind).iterdir():
        # The program need not be installed where the tests run.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/carboy", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", f"--{kind}", *sorted(map(str, tmp_path.iterdir()))],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "carboy" in line]
    assert said == [], done.stderr


def test_containers_outlive_the_service() -> None:
    for unit in UNITS.glob("*/carboy.service"):
        lines = unit.read_text().splitlines()
        for wanted in ("KillMode=process", "Delegate=yes", "Type=notify", "TasksMax=infinity"):
            assert wanted in lines, unit


def test_the_service_reads_names_as_utf8() -> None:
    for unit in UNITS.glob("*/carboy.service"):
        assert "Environment=PYTHONUTF8=1" in unit.read_text().splitlines(), unit
