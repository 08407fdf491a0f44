"""Trees of files of many kinds, and whether two of them are the same."""

from __future__ import annotations

import filecmp
import os
import stat
from pathlib import Path


def tree_of(path: Path) -> Path:
    """A tree of links, hard links, a sparse file, empty and odd names, modes and times."""
    (path / "sub" / "deeper").mkdir(parents=True)
    (path / "file").write_bytes(b"content" * 5000)
    (path / "sub" / "name with spaces ü").write_bytes(b"")
    os.symlink("../file", path / "sub" / "link")
    os.link(path / "file", path / "sub" / "hard")
    os.chmod(path / "file", 0o640)
    with open(path / "sparse", "wb") as sparse:
        sparse.truncate(8 << 20)
        sparse.seek(4 << 20)
        sparse.write(b"island")
    for number in range(50):
        (path / "sub" / "deeper" / f"small{number}").write_bytes(os.urandom(number * 100))
    os.utime(path / "sub", (0, 1_000_000_000))
    return path


def same(one: Path, other: Path) -> None:
    """Assert that both hold the same files with the same modes and times."""
    compared = filecmp.dircmp(one, other, ignore=[])
    assert not compared.left_only
    assert not compared.right_only
    assert not compared.funny_files
    for name in os.listdir(one):
        first, second = os.lstat(one / name), os.lstat(other / name)
        assert first.st_mode == second.st_mode, name
        assert int(first.st_mtime) == int(second.st_mtime), name
        if stat.S_ISREG(first.st_mode):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
        elif stat.S_ISLNK(first.st_mode):
            assert os.readlink(one / name) == os.readlink(other / name)
        elif stat.S_ISDIR(first.st_mode):
            same(one / name, other / name)
