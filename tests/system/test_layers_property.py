"""Random trees through GNU tar: we read its archives as it does, and it reads ours."""

from __future__ import annotations

import os
import subprocess
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carboy.store.intake import FileWindow
from carboy.store.layers import ErofsLayers
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots
from suites.layers import mounted
from system.test_layers import describe

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_overlay,
    pytest.mark.needs_erofs,
    pytest.mark.property,
]

NAMES = st.binary(min_size=1, max_size=120).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"0"))
SAFE_NAMES = NAMES.filter(lambda name: name not in (b".", b"..") and not name.startswith(b".wh."))
FILES = st.tuples(
    SAFE_NAMES,
    st.sampled_from(["file", "sparse", "symlink", "fifo", "link", "directory"]),
    st.binary(max_size=3000),
    st.integers(0, 0o7777),
    st.integers(0, 1 << 22),
    st.integers(-(1 << 31), 1 << 33),
)


def make_tree(root: bytes, plan: list[tuple[bytes, str, bytes, int, int, int]]) -> None:
    """Make what the plan says; clashes of names are passed over."""
    place, last = root, None
    times: list[tuple[bytes, int]] = []
    for name, kind, data, mode, owner, mtime in plan:
        path = place + b"/" + name
        if os.path.lexists(path) or len(path) - len(root) > 3000:
            continue
        if kind in ("file", "sparse"):
            with open(path, "wb") as out:
                out.seek(100_000 if kind == "sparse" else 0)
                out.write(data)
            last = path
        elif kind == "symlink":
            os.symlink(data.replace(b"\0", b"x") or b"x", path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link" and last is not None:
            os.link(last, path)
        elif kind == "directory":
            os.mkdir(path)
            place = path
        else:
            continue
        os.chown(path, owner, owner // 2, follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, mode | (0o700 if kind == "directory" else 0))
        times.append((path, mtime))
    for path, mtime in reversed(times):  # making a name changes its directory's time
        os.utime(path, (mtime, mtime), follow_symlinks=False)


@given(plan=st.lists(FILES, max_size=25), dialect=st.sampled_from(["gnu", "posix"]), sparse=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_gnu_tar_packs_and_unpacks_is_what_we_mount(
    plan: list[tuple[bytes, str, bytes, int, int, int]], dialect: str, sparse: bool
) -> None:
    with tempfile.TemporaryDirectory() as home:
        source, archive, judged = f"{home}/source", f"{home}/a.tar", f"{home}/judged"
        os.mkdir(source)
        os.mkdir(judged)
        make_tree(os.fsencode(source), plan)
        flags = [f"--format={dialect}", *(["-S"] if sparse else [])]
        subprocess.run(["tar", "-C", source, *flags, "-cf", archive, "."], check=True)
        subprocess.run(
            ["tar", "-C", judged, "-xpf", archive, "--same-owner"], check=True, capture_output=True
        )
        paths = Paths(f"{home}/root", f"{home}/run")
        paths.create()
        store = ErofsLayers(paths)
        with open(archive, "rb") as opened:
            layer = store.ingest(FileWindow.whole(opened.fileno()))
        with mounted(store, layer) as root:
            assert describe(root) == describe(judged)
        store.close()


@given(plan=st.lists(FILES, max_size=25))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_we_pack_gnu_tar_unpacks(plan: list[tuple[bytes, str, bytes, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        paths = Paths(f"{home}/root", f"{home}/run")
        paths.create()
        store = ErofsLayers(paths)
        snapshots = Snapshots(paths, store)
        snapshots.prepare("one", [])
        upper = paths.upper("one")
        make_tree(os.fsencode(upper), [(*item[:5], max(0, item[5])) for item in plan])
        layer = snapshots.write_layer("one", [])
        judged = f"{home}/judged"
        os.mkdir(judged)
        tar = f"{paths.layer(layer.diff_id)}/layer.tar"
        subprocess.run(["tar", "-C", judged, "-xpf", tar, "--same-owner"], check=True, capture_output=True)
        assert describe(judged) == describe(upper)
        store.close()
