"""Containers' root filesystems and the layers made of their changes, on the real overlay."""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from carboy.digest import Digest
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.tar import scan
from carboy.store.layers import DirectoryLayers, ErofsLayers, LayerStore
from carboy.store.paths import Paths
from carboy.store.snapshots import ChangeKind, Snapshots
from suites.layers import contents, ingest, listing
from support import tars
from support.tars import directory, file

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]


@pytest.fixture
def paths(tmp_path: object) -> Paths:
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
    paths.create()
    return paths


@pytest.fixture(params=[ErofsLayers, DirectoryLayers])
def store(request: pytest.FixtureRequest, paths: Paths) -> Iterator[LayerStore]:
    driver: Callable[[Paths], ErofsLayers] = request.param
    store = driver(paths)
    yield store
    store.close()


@pytest.fixture
def snapshots(paths: Paths, store: LayerStore) -> Snapshots:
    return Snapshots(paths, store)


@contextmanager
def root_of(
    snapshots: Snapshots, name: str, layers: list[Digest], *, read_only: bool = False
) -> Iterator[str]:
    fd = snapshots.mount(name, layers, read_only=read_only)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def members_of(store: LayerStore, diff_id: Digest) -> list[tuple[str, int, int]]:
    fd = store.open_tar(diff_id)
    try:
        return [
            (entry.unsafe_path.decode(), entry.kind, entry.mtime)
            for entry in scan(lambda o, n: os.pread(fd, n, o), require_end=True)
        ]
    finally:
        os.close(fd)


def test_a_container_writes_above_its_layers(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [ingest(store, directory("d"), file("d/f", b"image")).diff_id]
    snapshots.prepare("one", layers)
    snapshots.prepare("two", layers)
    with root_of(snapshots, "one", layers) as one, root_of(snapshots, "two", layers) as two:
        with open(f"{one}/d/f", "wb") as changed:
            changed.write(b"mine")
        assert contents(f"{one}/d/f") == b"mine"
        assert contents(f"{two}/d/f") == b"image"
    with root_of(snapshots, "one", layers, read_only=True) as again:
        assert contents(f"{again}/d/f") == b"mine"
        with pytest.raises(OSError, match="Read-only"):
            open(f"{again}/new", "w")
    snapshots.remove("one")
    with pytest.raises(NotFound):
        snapshots.mount("one", layers)
    snapshots.remove("one")


def test_the_directories_are_closed_to_others(store: LayerStore, snapshots: Snapshots, paths: Paths) -> None:
    snapshots.prepare("one", [])
    assert stat.S_IMODE(os.stat(paths.snapshot("one")).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(paths.layers).st_mode) == 0o700
    with root_of(snapshots, "one", []) as root:
        assert os.listdir(root) == []


def test_the_root_has_the_images_mode(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [
        ingest(store, directory("./", 0o750, uid=5), file("a")).diff_id,
        ingest(store, file("b")).diff_id,
    ]
    snapshots.prepare("one", layers)
    with root_of(snapshots, "one", layers) as root:
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o750
        assert os.stat(root).st_uid == 5


def test_implied_parents_keep_what_lower_layers_say(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [
        ingest(
            store,
            directory("tmp", 0o1777),
            directory("home"),
            directory("home/u", 0o700, uid=1000),
            file("home/u/a"),
        ).diff_id,
        ingest(store, file("tmp/x"), file("home/u/b"), file("new/c")).diff_id,
    ]
    snapshots.prepare("one", layers)
    with root_of(snapshots, "one", layers) as root:
        assert stat.S_IMODE(os.stat(f"{root}/tmp").st_mode) == 0o1777
        assert stat.S_IMODE(os.stat(f"{root}/home/u").st_mode) == 0o700
        assert os.stat(f"{root}/home/u").st_uid == 1000
        assert stat.S_IMODE(os.stat(f"{root}/new").st_mode) == 0o755
        assert listing(root) == ["home", "home/u", "home/u/a", "home/u/b", "new", "new/c", "tmp", "tmp/x"]


def test_implied_parents_of_removed_directories_keep_nothing(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [
        ingest(store, directory("d", 0o700, uid=9), file("d/a")).diff_id,
        ingest(store, file(".wh.d")).diff_id,
        ingest(store, file("d/b")).diff_id,
    ]
    snapshots.prepare("one", layers)
    with root_of(snapshots, "one", layers) as root:
        assert os.stat(f"{root}/d").st_uid == 0


def test_changes_become_a_canonical_layer(store: LayerStore, snapshots: Snapshots) -> None:
    base = ingest(
        store, directory("d"), file("d/kept"), file("d/gone"), directory("o"), file("o/x"), file("f", b"old")
    ).diff_id

    def change(name: str) -> Digest:
        snapshots.prepare(name, [base])
        with root_of(snapshots, name, [base]) as root:
            os.unlink(f"{root}/d/gone")
            shutil.rmtree(f"{root}/o")
            os.mkdir(f"{root}/o")
            os.mkdir(f"{root}/n")
            with open(f"{root}/f", "wb") as changed:
                changed.write(b"new")
            os.chmod(f"{root}/f", 0o4755)
            with open(f"{root}/big", "wb") as big:
                big.write(b"x" * 200_000)
            os.link(f"{root}/big", f"{root}/a-link")
            os.symlink("f", f"{root}/link")
            os.mkfifo(f"{root}/pipe")
            os.setxattr(f"{root}/big", "user.k", b"v")
            os.setxattr(f"{root}/big", "trusted.k", b"v")
        changes = [(change.path, change.kind) for change in snapshots.diff(name, [base])]
        assert changes == [
            (b"/a-link", ChangeKind.ADDED),
            (b"/big", ChangeKind.ADDED),
            (b"/d", ChangeKind.MODIFIED),
            (b"/d/gone", ChangeKind.DELETED),
            (b"/f", ChangeKind.MODIFIED),
            (b"/link", ChangeKind.ADDED),
            (b"/n", ChangeKind.ADDED),
            (b"/o", ChangeKind.MODIFIED),
            (b"/pipe", ChangeKind.ADDED),
        ]
        assert 200_000 <= snapshots.usage(name) < 400_000
        return snapshots.write_layer(name, [base], epoch=1_000_000_000).diff_id

    first, second = change("one"), change("two")  # and twice the same bytes
    assert first == second
    now = 1_000_000_000
    regular, directory_, whiteout = stat.S_IFREG, stat.S_IFDIR, 0
    assert members_of(store, first) == [
        ("a-link", regular, now),
        ("big", 0, now),
        ("d/", directory_, now),
        ("d/.wh.gone", regular, whiteout),
        ("f", regular, now),
        ("link", stat.S_IFLNK, now),
        ("n/", directory_, now),
        ("o/", directory_, now),
        ("o/.wh..wh..opq", regular, whiteout),
        ("pipe", stat.S_IFIFO, now),
    ]
    snapshots.prepare("three", [base, first])
    with root_of(snapshots, "three", [base, first]) as root:
        assert listing(root) == ["a-link", "big", "d", "d/kept", "f", "link", "n", "o", "pipe"]
        assert stat.S_IMODE(os.stat(f"{root}/f").st_mode) == 0o4755
        assert os.listxattr(f"{root}/big") == ["user.k"]
        assert os.stat(f"{root}/big").st_ino == os.stat(f"{root}/a-link").st_ino


def test_some_paths_can_be_left_out(store: LayerStore, snapshots: Snapshots) -> None:
    snapshots.prepare("one", [])
    with root_of(snapshots, "one", []) as root:
        os.makedirs(f"{root}/etc/deep")
        for name in ("hosts", "kept", "deep/er"):
            open(f"{root}/etc/{name}", "w").close()
    layer = snapshots.write_layer("one", [], omit=frozenset([b"etc/hosts", b"etc/deep"]))
    assert [name for name, _, _ in members_of(store, layer.diff_id)] == ["etc/", "etc/kept"]


def test_nothing_changed_is_the_empty_layer(store: LayerStore, snapshots: Snapshots) -> None:
    snapshots.prepare("one", [])
    layer = snapshots.write_layer("one", [])
    # The well-known DiffID of an empty tar, 1024 zeros.
    assert str(layer.diff_id) == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def test_overlay_keeps_devices_inodes_and_links(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [
        ingest(store, file("a", b"1"), tars.hardlink("b", "a"), directory("d"), file("d/x")).diff_id,
        ingest(store, file("c", b"2")).diff_id,
    ]
    snapshots.prepare("one", layers)
    with root_of(snapshots, "one", layers) as root:
        before = os.stat(f"{root}/c")
        assert {os.stat(f"{root}/{name}").st_dev for name in ("a", "c", "d", "d/x")} == {before.st_dev}
        assert os.stat(f"{root}/a").st_ino != before.st_ino
        assert os.stat(f"{root}/a").st_ino == os.stat(f"{root}/b").st_ino
        assert os.stat(f"{root}/a").st_nlink == 2
        with open(f"{root}/c", "ab") as copied_up:
            copied_up.write(b"3")
        assert os.stat(f"{root}/c").st_ino == before.st_ino
        assert os.stat(f"{root}/c").st_dev == before.st_dev
    with root_of(snapshots, "one", layers) as root:
        assert os.stat(f"{root}/c").st_ino == before.st_ino


def test_128_layers_are_mounted_and_129_are_not(store: LayerStore, snapshots: Snapshots) -> None:
    layers = [
        ingest(store, file(f"f{number}"), file("same", b"%d" % number)).diff_id for number in range(128)
    ]
    snapshots.prepare("one", layers)
    with root_of(snapshots, "one", layers) as root:
        assert len(os.listdir(root)) == 129
        assert contents(f"{root}/same") == b"127"
    with pytest.raises(InvalidArgument, match="at most 128"):
        snapshots.prepare("two", [*layers, layers[0]])


def test_a_layer_can_be_removed_under_a_running_container(store: LayerStore, snapshots: Snapshots) -> None:
    if isinstance(store, DirectoryLayers):
        pytest.skip("its files are the layer; the engine keeps layers that containers use")
    layer = store.ingest(io.BytesIO(tars.make(file("f", b"still here")))).diff_id
    snapshots.prepare("one", [layer])
    with root_of(snapshots, "one", [layer]) as root:
        store.remove(layer)
        assert contents(f"{root}/f") == b"still here"
