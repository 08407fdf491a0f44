"""Failed calls become OSErrors that name the call and the path."""

from __future__ import annotations

import errno

import pytest

from carboy.linux import libc, mount, numbers


def test_a_failure_names_call_errno_and_path() -> None:
    with pytest.raises(OSError, match="open_tree: No such file") as caught:
        mount.open_tree(mount.AT_FDCWD, "/does/not/exist", 0)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/does/not/exist"


def test_a_path_with_a_nul_byte_is_refused_not_cut() -> None:
    with pytest.raises(OSError, match="NUL"):
        libc.c_path("/etc\0/passwd")


def test_undecodable_paths_keep_their_bytes() -> None:
    assert libc.c_path("/caf\udce9") == b"/caf\xe9"


def test_an_unknown_call_is_enosys() -> None:
    with pytest.raises(OSError, match="no syscall number") as caught:
        numbers.number("frobnicate")
    assert caught.value.errno == errno.ENOSYS


def test_both_architectures_have_a_number_for_every_call() -> None:
    for name, row in numbers.TABLE.items():
        assert len(row) == 2, name
        assert all(0 < value < 1000 for value in row), name


def test_calls_newer_than_424_have_one_number_everywhere() -> None:
    for name, (x86, arm) in numbers.TABLE.items():
        assert x86 < 424 or x86 == arm, name


def test_small_kernel_files_are_read_whole() -> None:
    with open("/proc/filesystems", "rb") as file:
        assert libc.read_file("/proc/filesystems") == file.read()
