"""What a running container changes under our eyes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from carboy.store.differ import Found, write_tar


class Written:
    """An intake that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.timeout(20)
def test_a_fifo_with_the_number_of_a_removed_file_is_not_opened(tmp_path: Path) -> None:
    """File systems give a removed file's inode to the next one; who opens a FIFO waits for a writer."""
    os.mkfifo(tmp_path / "file")
    there = os.stat(tmp_path / "file")
    looked_at = os.stat_result(
        (stat.S_IFREG | 0o644, there.st_ino, there.st_dev, 1, 0, 0, 5, 0, 0, 0),
        {"st_mtime_ns": 0, "st_rdev": 0},
    )
    written: Any = Written()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        write_tar(directory, [Found(b"file", looked_at)], written)
    finally:
        os.close(directory)
    assert written.data == bytes(1024), "nothing but the end"
