"""Which mounts of the host can be shared with a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.engine.spec.propagation import check_propagation, find_mount
from carboy.errors import InvalidArgument

MOUNTS = """\
1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw
2 1 8:2 / /private rw - ext4 /dev/sdb rw
3 1 8:3 / /with\\040space rw master:2 - ext4 /dev/sdc rw
4 2 8:4 / /private rw shared:7 master:3 - tmpfs tmpfs rw
5 1 8:5 / /private2 rw - tmpfs tmpfs rw
"""


def test_the_longest_and_topmost_mount_counts() -> None:
    assert find_mount("/a/b", MOUNTS) == ("/", frozenset({"shared"}))
    assert find_mount("/private/x", MOUNTS) == ("/private", frozenset({"shared", "master"}))
    assert find_mount("/private2", MOUNTS) == ("/private2", frozenset())
    assert find_mount("/private2x", MOUNTS) == ("/", frozenset({"shared"}))
    assert find_mount("/with space/x", MOUNTS) == ("/with space", frozenset({"master"}))


def test_dockers_words(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    check_propagation("/private2/x", "rprivate", mountinfo=str(file))
    check_propagation("/with space/x", "rslave", mountinfo=str(file))
    with pytest.raises(InvalidArgument, match="/x is mounted on /with space but it is not a shared mount"):
        check_propagation("/with space/x", "shared", mountinfo=str(file))
    with pytest.raises(
        InvalidArgument, match="is mounted on /private2 but it is not a shared or slave mount"
    ):
        check_propagation("/private2/x", "slave", mountinfo=str(file))
