"""Removal of trees, hostile ones included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.linux import process, tree


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def test_everything_goes(tmp_path: Path, directory: int) -> None:
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "a/file").write_text("x")
    os.mkfifo(top / "a/b/pipe")
    (top / "link").symlink_to("a")
    tree.remove(directory, "top")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_not_followed(tmp_path: Path, directory: int) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "kept")
    (tmp_path / "direct").symlink_to("kept")
    tree.remove(directory, "top")
    tree.remove(directory, "direct")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]


def test_what_is_not_there_is_no_error(directory: int) -> None:
    tree.remove(directory, "nothing")


@pytest.mark.parametrize("name", ["a/b", "/etc", "..", ".", ""])
def test_only_single_names_are_taken(directory: int, name: str) -> None:
    with pytest.raises(OSError, match="single name"):
        tree.remove(directory, name)


def test_a_single_file_goes(tmp_path: Path, directory: int) -> None:
    (tmp_path / "file").touch()
    tree.remove(directory, b"file")
    assert os.listdir(tmp_path) == []


def test_deep_trees_exhaust_neither_stack_nor_descriptors(tmp_path: Path, directory: int) -> None:
    current = os.dup(directory)
    os.mkdir("top", dir_fd=directory)
    for name in ["top", *(["d"] * 1500)]:
        below = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=current)
        os.close(current)
        current = below
        os.mkdir("d", dir_fd=current)
        os.close(os.open("f", os.O_CREAT | os.O_CLOEXEC, dir_fd=current))
    os.close(current)
    tree.remove(directory, "top")
    assert os.listdir(tmp_path) == []


def test_names_that_are_no_text(tmp_path: Path, directory: int) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/top/\xff\xfe")
    tree.remove(directory, "top")
    assert os.listdir(tmp_path) == []


def test_directories_without_rights_of_our_own_go(tmp_path: Path, directory: int) -> None:
    (tmp_path / "top/closed").mkdir(parents=True)
    (tmp_path / "top/unwritable/below").mkdir(parents=True)
    (tmp_path / "top/closed/file").touch()
    (tmp_path / "top/closed").chmod(0)
    (tmp_path / "top/unwritable").chmod(0o555)
    if os.geteuid() != 0:
        tree.remove(directory, "top")
        assert os.listdir(tmp_path) == []
        return
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:  # an ordinary user
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            process.set_dumpable(1)  # else /proc/self is root's
            tree.remove(directory, "top")
        finally:
            os._exit(len(os.listdir(directory)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
