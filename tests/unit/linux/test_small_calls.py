"""inotify, seccomp's and layers' argument checks, kernel versions."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from carboy.linux import inotify, layers, seccomp
from carboy.linux.inodeflags import inode_flags, spread_subdirectories


def test_changes_are_told_with_their_names(tmp_path: Path) -> None:
    fd = inotify.inotify_init1()
    try:
        watch = inotify.inotify_add_watch(fd, str(tmp_path), inotify.IN_CREATE | inotify.IN_DELETE)
        (tmp_path / "one").touch()
        (tmp_path / "a-longer-name-than-sixteen").touch()
        (tmp_path / "one").unlink()
        assert inotify.events(os.read(fd, 4096)) == [
            (watch, inotify.IN_CREATE, b"one"),
            (watch, inotify.IN_CREATE, b"a-longer-name-than-sixteen"),
            (watch, inotify.IN_DELETE, b"one"),
        ]
        inotify.inotify_rm_watch(fd, watch)
    finally:
        os.close(fd)


@pytest.mark.parametrize("program", [b"", b"1234567", b"\0" * 8 * 4097])
def test_a_filter_of_an_impossible_size_is_refused(program: bytes) -> None:
    with pytest.raises(OSError, match="no filter program") as caught:
        seccomp.load(program)
    assert caught.value.errno == errno.EINVAL


def test_the_kernel_version_is_read_whatever_follows_it() -> None:
    major, minor = layers.kernel_version()
    assert (major, minor) >= (5, 14)


def test_subdirectories_are_spread_where_the_filesystem_can(tmp_path: Path) -> None:
    folder = tmp_path / "containers"
    folder.mkdir()
    listened = spread_subdirectories(str(folder))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not listened:
            pytest.skip("this filesystem keeps no such flag")
        assert inode_flags(descriptor) & 0x00020000
    finally:
        os.close(descriptor)
    assert spread_subdirectories(str(folder))  # a second time changes nothing
    assert not spread_subdirectories(str(tmp_path / "missing"))
    assert not spread_subdirectories("/proc")
