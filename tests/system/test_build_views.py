"""Views of layers: what a stack of layers looks like, read below a descriptor, and nothing left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.store.views import mounted
from support import tars
from support.copying import DRIVERS, yard

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_views(tmp_path: Path, driver: str) -> None:
    (tmp_path / "context").mkdir()
    with yard(tmp_path, tmp_path / "context", driver=driver) as made:
        paths = made.session.workshop.paths
        layers: list[Digest] = []
        for number, members in enumerate(
            [
                [tars.directory("d", 0o700, uid=5), tars.file("d/a", b"a"), tars.file("gone")],
                [tars.file("d/b", b"b"), tars.file(".wh.gone")],
            ]
        ):
            tar = tmp_path / f"{number}.tar"
            tar.write_bytes(tars.make(*members))
            layers += made.take(tar).layers
        mounts = Path("/proc/self/mountinfo").read_text()
        with mounted(made.layers, (), paths) as root:
            assert os.listdir(f"/proc/self/fd/{root}") == []
        with mounted(made.layers, layers[:1], paths) as root:
            assert sorted(os.listdir(f"/proc/self/fd/{root}")) == ["d", "gone"]
        with mounted(made.layers, layers, paths) as root:
            assert os.listdir(f"/proc/self/fd/{root}") == ["d"]
            assert sorted(os.listdir(f"/proc/self/fd/{root}/d")) == ["a", "b"]
            status = os.stat(f"/proc/self/fd/{root}/d")
            assert (status.st_mode & 0o7777, status.st_uid) == (0o700, 5), "what a layer only implies"
            with pytest.raises(OSError, match="Read-only"):
                os.mkdir("new", dir_fd=root)
        again = [layers[0], layers[1], layers[0]]  # as the same COPY before and after another
        with mounted(made.layers, again, paths) as root:
            assert sorted(os.listdir(f"/proc/self/fd/{root}")) == ["d", "gone"]
            assert sorted(os.listdir(f"/proc/self/fd/{root}/d")) == ["a", "b"]
        with mounted(made.layers, layers[:1] * 2, paths) as root:
            assert sorted(os.listdir(f"/proc/self/fd/{root}")) == ["d", "gone"]
        assert Path("/proc/self/mountinfo").read_text() == mounts
        assert os.listdir(paths.ingest) == []
        with pytest.raises(InvalidArgument, match="at most 128"), mounted(made.layers, layers * 65, paths):
            pass
