"""The index: golden bytes, and fields that can be read without a kernel."""

from __future__ import annotations

import hashlib
import struct

import pytest

from carboy.errors import Corrupt
from carboy.formats.erofs import write_index
from carboy.formats.layertree import Node, build_tree
from carboy.formats.tar import DIRECTORY, REGULAR, SYMLINK, TarEntry


def tree() -> Node:
    return build_tree(
        [
            TarEntry(b"d", DIRECTORY, mode=0o755, mtime=50),
            TarEntry(b"d/file", REGULAR, size=5000, mtime=50, data_offset=1024, uid=70_000),
            TarEntry(b"d/large", REGULAR, size=5 << 30, mtime=50, data_offset=8192),
            TarEntry(b"d/link", SYMLINK, link=b"file", mtime=50),
            TarEntry(b"d/.wh.gone", REGULAR),
            TarEntry(b"x", REGULAR, xattrs={b"user.k": b"v", b"security.capability": b"c" * 20}, mtime=7),
        ]
    )


def test_the_form_is_golden() -> None:
    """The index is derived data: a change costs nothing but `verify` of what is there already."""
    image = write_index(tree(), tar_size=6 << 30, uuid=b"u" * 16)
    assert (
        hashlib.sha256(image).hexdigest()
        == "60e17b2b4701eca80d948a40b3400d6c5055ea5ca31c196237f793e0c12a19e5"
    )


def test_the_superblock_names_devices_and_the_common_time() -> None:
    image = write_index(tree(), tar_size=10_000, uuid=b"u" * 16)
    magic, _, compat, bits = struct.unpack_from("<IIIB", image, 1024)
    assert (magic, compat, bits) == (0xE0F5E1E2, 2, 9)
    (epoch,) = struct.unpack_from("<Q", image, 1048)
    assert epoch == 50
    assert image[1072:1088] == b"u" * 16
    devices, slot = struct.unpack_from("<HH", image, 1024 + 86)
    assert (devices, slot * 128) == (1, 1152)
    assert struct.unpack_from("<I", image, 1152 + 64) == (20,)
    assert len(image) % 512 == 0


def test_unaligned_pieces_need_a_second_device() -> None:
    entry = TarEntry(b"s", REGULAR, size=5000, data_offset=512, segments=((3, 4),))
    with pytest.raises(Corrupt, match="second data file"):
        write_index(build_tree([entry]), tar_size=2048)
    asked: list[int] = []

    def copy_sparse(node: Node, alignment: int) -> int:
        asked.append(alignment)
        return 0

    image = write_index(build_tree([entry]), tar_size=2048, copy_sparse=copy_sparse, sparse_size=lambda: 8192)
    assert asked == [4096]
    assert struct.unpack_from("<H", image, 1024 + 86) == (2,)


def test_a_huge_sparse_file_has_a_small_table() -> None:
    entry = TarEntry(b"s", REGULAR, size=1 << 44, stored_size=512, data_offset=512, segments=((0, 512),))
    image = write_index(build_tree([entry]), tar_size=2048, copy_sparse=lambda node, alignment: 0)
    assert len(image) < 1 << 20


def test_a_tar_beyond_the_address_space_is_refused() -> None:
    with pytest.raises(Corrupt, match="too large"):
        write_index(tree(), tar_size=1 << 42)
