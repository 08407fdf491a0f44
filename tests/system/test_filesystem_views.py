"""Views of containers that do not run, over both layer drivers, without a daemon."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from carboy.archive.contents import BufferedReader
from carboy.archive.packing import pack
from carboy.archive.unpacking import Unpacker, unpack
from carboy.engine.containers.document import Container, ContainerDocument
from carboy.engine.containers.filesystem import ContainerPlaces, Filesystems, SubtreeScope, View
from carboy.engine.spec.mounts import PlannedMount
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig
from carboy.linux import tree
from carboy.store.layers import DirectoryLayers, ErofsLayers, LayerStore
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots
from suites.layers import ingest
from support import files
from support.tars import Member, directory, file, make, symlink

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]


class Subject:
    """A container without an engine."""

    def __init__(self, paths: Paths, store: LayerStore) -> None:
        layers = [
            ingest(store, directory("d"), file("d/lower", b"lower"), directory("data"), symlink("l", "/d")),
            ingest(store, file("d/upper", b"upper"), file("gone", b"")),
        ]
        diff_ids = [layer.diff_id for layer in layers]
        self.snapshots = Snapshots(paths, store)
        self.snapshots.prepare("c" * 64, diff_ids)
        document = ContainerDocument(
            id="c" * 64,
            name="subject",
            created_at=0,
            image_id="",
            image_reference="",
            diff_ids=[str(diff_id) for diff_id in diff_ids],
            config=ContainerConfig(),
            host=HostConfig(),
        )
        self.container = Container(document)
        self.filesystems = Filesystems(cast(Any, SimpleNamespace(snapshots=self.snapshots, volumes=None)))

    def open(self, *, write: bool = False) -> Any:
        return self.filesystems.open(self.container, write=write)

    def put(self, path: str, *members: Member) -> None:
        with self.open(write=True) as view:
            place = view.resolve(path.encode())
            places = ContainerPlaces(view, place)
            unpack(
                BufferedReader(io.BytesIO(make(*members)).read),
                Unpacker(places, replace=True, remove=tree.remove),
            )
            places.close()
            os.close(place.fd)

    def get(self, path: str) -> bytes:
        with self.open() as view:
            place = view.resolve(path.encode())
            data = b"".join(pack(place.fd, b"x", scope=SubtreeScope(view, place.path)))
            os.close(place.fd)
            return data


@pytest.fixture(params=[ErofsLayers, DirectoryLayers])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    driver: Callable[[Paths], ErofsLayers] = request.param
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
    paths.create()
    store = driver(paths)
    yield Subject(paths, store)
    store.close()


def path_of(view: View, path: bytes) -> bytes:
    place = view.resolve(path)
    os.close(place.fd)
    return place.path


def test_files_are_merged_changed_and_removed(subject: Subject) -> None:
    subject.put("/d", file("lower", b"changed"), file("new", b"new"))
    subject.put("/", directory("d/upper"), file("d/upper/now-a-directory", b"x"), file("l/through", b"y"))
    tar = subject.get("/d")
    assert {name for name, member in files.members(tar).items() if member.isreg()} == {
        "x/lower",
        "x/new",
        "x/through",
        "x/upper/now-a-directory",
    }
    assert files.contents(tar, "x/lower") == b"changed"


def test_paths_are_walked_as_the_container_would(subject: Subject) -> None:
    with subject.open() as view:
        assert path_of(view, b"/l/lower") == b"d/lower"
        assert path_of(view, b"l/../../../d/./upper") == b"d/upper"
        for path, error in (
            (b"/d/lower/", NotADirectoryError),
            (b"/d/lower/..", NotADirectoryError),
            (b"/none", FileNotFoundError),
        ):
            with pytest.raises(error):
                view.resolve(path)


def test_nothing_is_written_through_a_view_to_read(subject: Subject) -> None:
    with subject.open() as view, pytest.raises(OSError, match="Read-only"):
        os.mkdir("x", dir_fd=view.root)


def test_mounts_are_put_in_where_links_lead(subject: Subject, tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.mkdir()
    inner.mkdir()
    subject.container.document.mounts = [
        PlannedMount(type="bind", source=str(outer), destination="/l/bind"),
        PlannedMount(type="bind", source=str(inner), destination="/l/bind/deep", read_only=True),
        PlannedMount(type="tmpfs", destination="/data"),
        PlannedMount(type="bind", source=str(tmp_path / "none"), destination="/missing"),
    ]
    subject.put("/d/bind", file("one", b"1"))
    (inner / "two").write_bytes(b"2")
    assert os.listdir(outer) == ["one"]
    assert {"x/bind/one", "x/bind/deep/two"} <= set(files.members(subject.get("/d")))
    with subject.open(write=True) as view:
        place = view.resolve(b"/d/bind/deep")
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("x", dir_fd=place.fd)
        os.close(place.fd)


def test_parents_of_mounts_are_made(subject: Subject, tmp_path: Path) -> None:
    subject.container.document.mounts = [
        PlannedMount(type="bind", source=str(tmp_path), destination="/new/deep/bind")
    ]
    assert "x/deep/bind/root" in files.members(subject.get("/new"))
    with subject.open() as view:
        assert stat.S_IMODE(os.stat("new/deep", dir_fd=view.root).st_mode) == 0o755


def test_a_read_only_root_stays_so(subject: Subject) -> None:
    subject.container.document.host.readonly_rootfs = True
    with pytest.raises(OSError, match="Read-only"):
        subject.put("/d", file("x"))
