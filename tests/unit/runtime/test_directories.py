"""A control group by its directories: plain ones stand in for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.runtime.monitor.directories import Directories


def group(tmp_path: Path, *controllers: str) -> dict[str, str]:
    paths = {}
    for name in controllers:
        (tmp_path / name / "c").mkdir(parents=True)
        paths[name] = str(tmp_path / name / "c")
    return paths


@pytest.mark.parametrize(
    ("controllers", "file", "text", "kills"),
    [
        (
            ("memory", "pids"),
            "memory/c/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            3,
        ),
        (("unified",), "unified/c/memory.events", "low 0\noom 2\noom_kill 2\n", 2),
        (("memory", "unified"), "memory/c/memory.oom_control", "oom_kill 1\n", 1),
        (("pids",), "pids/c/x", "", 0),
    ],
)
def test_memory_kills_are_counted(
    tmp_path: Path, controllers: tuple[str, ...], file: str, text: str, kills: int
) -> None:
    paths = group(tmp_path, *controllers)
    (tmp_path / file).write_text(text)
    assert Directories(paths).oom_kills() == kills


def test_emptiness_is_told_by_any_hierarchy_and_doubted_without_one(tmp_path: Path) -> None:
    paths = group(tmp_path, "cpu", "freezer")
    assert not Directories(paths).is_empty()
    (tmp_path / "freezer/c/cgroup.procs").write_text("")
    assert Directories(paths).is_empty()
    (tmp_path / "freezer/c/cgroup.procs").write_text("17\n")
    assert not Directories(paths).is_empty()
    assert not Directories(group(tmp_path, "cpuset")).is_empty()


def test_version_2_tells_of_groups_below_too(tmp_path: Path) -> None:
    paths = group(tmp_path, "unified")
    (tmp_path / "unified/c/cgroup.procs").write_text("")
    assert not Directories(paths).is_empty()
    for populated in (1, 0):
        (tmp_path / "unified/c/cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
        assert Directories(paths).is_empty() == (not populated)


def test_removal_is_whole_or_is_left_to_others(tmp_path: Path) -> None:
    paths = group(tmp_path, "cpu", "pids")
    (tmp_path / "pids/c/below").mkdir()
    assert not Directories(paths).remove()
    (tmp_path / "pids/c/below").rmdir()
    assert Directories(paths).remove()
    assert not (tmp_path / "cpu/c").exists()
    assert Directories(paths).remove(), "again is harmless"
