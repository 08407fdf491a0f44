"""Reading /etc/passwd and /etc/group of an image: hostile files, opened inside its root only."""

from __future__ import annotations

import os
import stat

from carboy.linux.paths import open_in_root

MAX_FILE = 4 << 20


def read_account_files(root: int) -> tuple[bytes, bytes]:
    """The contents of /etc/passwd and /etc/group below the directory descriptor `root`, bounded."""
    return _read(root, "etc/passwd"), _read(root, "etc/group")


def _read(root: int, unsafe_path: str) -> bytes:
    try:
        descriptor = open_in_root(root, unsafe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, 0)
    except OSError:
        return b""
    # A file object of a directory cannot even be made, so the kind is asked first.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return b""
    with open(descriptor, "rb", buffering=0) as file:
        data = b""
        while len(data) < MAX_FILE:
            chunk = file.read(MAX_FILE - len(data))
            if not chunk:
                break
            data += chunk
    if len(data) >= MAX_FILE:
        data = data[: data.rfind(b"\n") + 1]
    return data
