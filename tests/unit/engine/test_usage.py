"""Sizes of trees: Docker's rules, and trees that want to be a nuisance."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from carboy.engine.usage import directory_size, in_parallel, log_size, parse_kinds
from carboy.errors import InvalidArgument
from carboy.linux import tree


def test_files_links_and_directories(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "c").write_bytes(b"x" * 10)
    (tmp_path / "d" / "l").symlink_to("/etc")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 5000)
    assert directory_size(str(tmp_path)) == 1000 + 10 + 4 + 5000
    assert directory_size(str(tmp_path / "none")) == 0


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 100_000)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "out").symlink_to(outside)
    assert directory_size(str(inside)) == len(str(outside))


def test_deep_trees_end(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fd = os.dup(top)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    assert directory_size(str(tmp_path)) == 0
    assert len(os.listdir("/proc/self/fd")) == before
    tree.remove(top, "d")  # pytest's own removal would recurse too deeply
    os.close(top)


def test_logs_and_those_that_were_rotated(tmp_path: Path) -> None:
    for name, size in (("x-json.log", 10), ("x-json.log.1", 20), ("x-json.log.2.gz", 5), ("config.json", 9)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert log_size(str(tmp_path / "x-json.log")) == 35
    assert log_size("") == 0
    assert log_size(str(tmp_path / "none" / "x")) == 0


def test_many_things_at_once_keep_their_order() -> None:
    assert in_parallel(partial(abs, -one) for one in range(20)) == list(range(20))
    assert in_parallel(()) == []


def test_kinds() -> None:
    assert parse_kinds([]) == {"container", "image", "volume", "build-cache"}
    assert parse_kinds(["volume", "image"]) == {"image", "volume"}
    with pytest.raises(InvalidArgument, match="unknown object type: nonsense"):
        parse_kinds(["nonsense"])
