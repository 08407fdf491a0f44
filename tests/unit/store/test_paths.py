"""Paths: names that would leave their directory are refused; directories are closed whatever the umask."""

from __future__ import annotations

import os
import stat

import pytest

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.store.paths import Paths


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b"])
def test_names_that_are_no_component_are_refused(name: str) -> None:
    paths = Paths("/root", "/run/x")
    for method in (paths.container, paths.container_run, paths.volume, paths.upper):
        with pytest.raises(InvalidArgument):
            method(name)


def test_directories_have_their_modes_under_any_umask(tmp_path: object) -> None:
    before = os.umask(0)
    try:
        paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
        paths.create()
        paths.create()
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE(os.stat(path).st_mode)
        for path in (paths.root, paths.layers, paths.ingest, paths.blobs)
    }
    assert set(modes.values()) == {0o711, 0o700}
    assert modes[paths.root] == 0o711


def test_objects_lie_where_the_docstring_says() -> None:
    paths = Paths("/root", "/run/c")
    digest = Digest("0" * 64)
    assert paths.layer(digest) == "/root/layers/sha256/" + "0" * 64
    assert paths.blob(digest) == "/root/blobs/sha256/" + "0" * 64
    assert paths.volume_data("v") == "/root/volumes/v/_data"
