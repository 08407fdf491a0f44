"""Untrusted paths stay inside the root; what is missing is made inside it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.linux import paths


class Root:
    """A root filesystem, and beside it something that nobody may reach."""

    def __init__(self, base: Path) -> None:
        self.path = base / "root"
        self.outside = base / "outside"
        self.path.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text("host")
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def where(self, fd: int) -> str:
        """The path of `fd` inside the root; closes it."""
        place = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        assert place.startswith(f"{self.path}"), f"{place} is outside"
        return place[len(str(self.path)) :]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    one = Root(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    yield one
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor leaked"
    os.close(one.fd)
    assert os.listdir(one.outside) == ["secret"]


def test_absolute_paths_start_at_the_root(root: Root) -> None:
    (root.path / "etc").mkdir()
    assert root.where(paths.open_in_root(root.fd, "/etc", os.O_PATH)) == "/etc"


def test_dots_cannot_climb_out(root: Root) -> None:
    assert root.where(paths.open_in_root(root.fd, "../../..", os.O_PATH)) == ""
    with pytest.raises(FileNotFoundError):
        paths.open_in_root(root.fd, "../outside/secret", os.O_RDONLY)


def test_links_are_resolved_inside(root: Root) -> None:
    (root.path / "away").symlink_to(root.outside)
    (root.path / "up").symlink_to("../outside")
    for unsafe in ("away/secret", "up/secret"):
        with pytest.raises(FileNotFoundError):
            paths.open_in_root(root.fd, unsafe, os.O_RDONLY)


def test_magic_links_are_refused() -> None:
    slash = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        with pytest.raises(OSError, match="openat2") as caught:
            paths.open_in_root(slash, "/proc/self/root", os.O_PATH)
        assert caught.value.errno == errno.ELOOP
    finally:
        os.close(slash)


def test_open_beneath_refuses_any_link(root: Root) -> None:
    (root.path / "real").mkdir()
    (root.path / "link").symlink_to("real")
    with pytest.raises(OSError, match="openat2") as caught:
        paths.open_beneath(root.fd, "link", os.O_PATH | os.O_DIRECTORY)
    assert caught.value.errno == errno.ELOOP


def test_exists(root: Root) -> None:
    (root.path / "file").touch()
    assert paths.exists_in_root(root.fd, "/file")
    assert not paths.exists_in_root(root.fd, "/file/below")
    assert not paths.exists_in_root(root.fd, "/nothing")


@pytest.mark.parametrize("unsafe", ["a/b/c", "/a/b/c", "./a//b/./c/"])
def test_directories_are_made_with_parents(root: Root, unsafe: str) -> None:
    assert root.where(paths.make_directories_in_root(root.fd, unsafe)) == "/a/b/c"
    assert root.where(paths.make_directories_in_root(root.fd, unsafe)) == "/a/b/c"


@pytest.mark.parametrize(
    ("target", "made"),
    [
        ("/run", "/run/lock"),
        ("run.d", "/var/run.d/lock"),
        ("../run", "/run/lock"),
        ("../../../../run", "/run/lock"),
        ("OUTSIDE/new", "OUTSIDE/new/lock"),
    ],
)
def test_a_dangling_link_is_followed_inside(root: Root, target: str, made: str) -> None:
    target, made = (text.replace("OUTSIDE", str(root.outside)) for text in (target, made))
    (root.path / "var").mkdir()
    (root.path / "var/run").symlink_to(target)
    assert root.where(paths.make_directories_in_root(root.fd, "/var/run/lock")) == made


def test_chains_of_dangling_links_end(root: Root) -> None:
    (root.path / "a").symlink_to("b/x")
    (root.path / "b").symlink_to("a/y")
    with pytest.raises(OSError, match=r"links|openat2") as caught:
        paths.make_directories_in_root(root.fd, "a")
    assert caught.value.errno == errno.ELOOP


def test_dots_after_a_missing_directory_are_refused(root: Root) -> None:
    with pytest.raises(FileNotFoundError):
        paths.make_directories_in_root(root.fd, "missing/../../x")
    assert os.listdir(root.path) == []


def test_a_file_in_the_way_is_an_error(root: Root) -> None:
    (root.path / "file").touch()
    with pytest.raises(NotADirectoryError):
        paths.make_directories_in_root(root.fd, "file/below")


def test_files_are_made_or_found(root: Root) -> None:
    assert root.where(paths.create_file_in_root(root.fd, "/etc/hosts")) == "/etc/hosts"
    (root.path / "etc/hosts").write_text("kept")
    assert root.where(paths.create_file_in_root(root.fd, "/etc/hosts")) == "/etc/hosts"
    assert (root.path / "etc/hosts").read_text() == "kept"


def test_a_file_behind_a_dangling_link_is_made_inside(root: Root) -> None:
    (root.path / "etc").mkdir()
    (root.path / "etc/resolv.conf").symlink_to(f"{root.outside}/resolv.conf")
    made = root.where(paths.create_file_in_root(root.fd, "/etc/resolv.conf"))
    assert made == f"{root.outside}/resolv.conf"
    assert os.path.isfile(f"{root.path}{root.outside}/resolv.conf")


def test_the_root_itself_is_no_file(root: Root) -> None:
    with pytest.raises(IsADirectoryError):
        paths.create_file_in_root(root.fd, "/")


def test_a_filesystem_is_known_by_its_magic(tmp_path: Path) -> None:
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    other = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
    try:
        paths.require_filesystem(proc, paths.PROC_SUPER_MAGIC, "/proc")
        with pytest.raises(OSError, match="not on the expected filesystem") as caught:
            paths.require_filesystem(other, paths.PROC_SUPER_MAGIC, "/fake/proc")
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(proc)
        os.close(other)
