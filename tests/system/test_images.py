"""Images on the real kernel: commit of a container's changes, a full disk, sudden death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carboy.digest import Digest
from carboy.engine.images.configs import EMPTY_LAYER
from carboy.engine.images.users import CommitSubject, ContainerUse
from carboy.errors import InvalidArgument, NotFound, Unavailable
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.store.layers import sweep_ingest
from support.archives import Memory, Store, docker_archive, make_tar, store_at, unpack

pytestmark = pytest.mark.needs_root

LAYER = make_tar({"etc/": None, "etc/name": b"one\n"})
CONTAINER = "c" * 64


class OneContainer:
    """A container that has changed something."""

    def __init__(self, store: Store, image: str, config: ContainerConfig | None = None) -> None:
        made_from = store.images.image_for_container(image)
        store.snapshots.prepare(CONTAINER, made_from.diff_ids)
        self.upper = Path(store.paths.upper(CONTAINER))
        self.paused = 0
        self._subject = CommitSubject(
            CONTAINER, made_from.id, made_from.diff_ids, config or ContainerConfig(), self._pause
        )
        store.images.set_containers(self)

    @contextmanager
    def _pause(self) -> Iterator[None]:
        self.paused += 1
        yield

    def image_uses(self) -> Iterable[ContainerUse]:
        subject = self._subject
        return [ContainerUse(CONTAINER, subject.image_id, subject.diff_ids, running=False)]

    def for_commit(self, unsafe_ref: str) -> CommitSubject:
        if unsafe_ref != "web":
            raise NotFound(f"No such container: {unsafe_ref}")
        return self._subject


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path) as made:
        yield made


def commit(store: Store, name: str, **more: object) -> str:
    changes = more.get("changes", [])
    assert isinstance(changes, list)
    return store.images.commit(
        "web",
        repository=name,
        tag="",
        author=str(more.get("author", "")),
        comment=str(more.get("comment", "")),
        changes=changes,
        pause=bool(more.get("pause", True)),
        config=None,
    )


def test_commit_adds_a_layer_a_step_and_the_containers_config(store: Store) -> None:
    store.import_tar(LAYER, "base", changes=["ENV A=1", "CMD old", "LABEL x=y"])
    container = OneContainer(
        store, "base", ContainerConfig(cmd=["run", "it"], env=["A=1", "B=2"], labels={"z": "1"})
    )
    (container.upper / "new").write_bytes(b"new\n")
    image_id = commit(store, "done", author="me", comment="why", changes=["WORKDIR /w", "ENV B=3"])
    shown = store.images.inspect("done")
    assert shown.id == image_id
    assert shown.config.env == ["A=1", "B=3"]
    assert shown.config.cmd == ["run", "it"]
    assert shown.config.labels == {"x": "y", "z": "1"}
    assert shown.config.working_dir == "/w"
    assert (shown.author, shown.comment) == ("me", "why")
    assert shown.root_fs.layers[0] == str(Digest.of(LAYER))
    items = store.images.history("done")
    assert [(item.created_by, item.comment) for item in items] == [("run it", "why"), ("", "Imported from -")]
    sink = Memory()
    store.images.save(["done"], sink)
    top = shown.root_fs.layers[1].removeprefix("sha256:")
    assert unpack(unpack(sink.value())[f"blobs/sha256/{top}"] or b"")["new"] == b"new\n"
    assert container.paused == 1


def test_commit_twice_gives_the_same_id_and_pauses_when_asked(store: Store) -> None:
    store.import_tar(LAYER, "base")
    container = OneContainer(store, "base")
    (container.upper / "new").write_bytes(b"new\n")
    assert commit(store, "a", pause=False) == commit(store, "b", pause=False)
    assert container.paused == 0


def test_commit_of_no_change_adds_no_layer(store: Store) -> None:
    store.import_tar(LAYER, "base")
    OneContainer(store, "base")
    commit(store, "done", changes=["CMD x"])
    assert store.images.inspect("done").root_fs.layers == [str(Digest.of(LAYER))]
    assert not store.layers.exists(EMPTY_LAYER)


def test_a_committed_image_keeps_its_parent(store: Store) -> None:
    store.import_tar(LAYER, "base")
    OneContainer(store, "base")
    base = store.images.inspect("base").id
    commit(store, "done")
    assert store.images.inspect("done").parent == base
    # The name goes; the image stays, because another stands on it.
    answer = store.images.remove("base", force=True, prune_parents=True)
    assert [one.untagged for one in answer] == ["base:latest"]
    assert store.images.inspect(base).id == base


def test_wrong_commits_leave_nothing(store: Store) -> None:
    store.import_tar(LAYER, "base")
    container = OneContainer(store, "base")
    (container.upper / "new").write_bytes(b"new\n")
    with pytest.raises(InvalidArgument):
        commit(store, "done", changes=["RUN x"])
    with pytest.raises(InvalidArgument):
        commit(store, "WRONG")
    assert len(store.layers.list()) == 1
    assert os.listdir(store.paths.ingest) == []


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 filesystem of 48 MB on a loop device."""
    image, directory = tmp_path / "disk", tmp_path / "mounted"
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m0", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.needs_loop
@pytest.mark.parametrize("way", ["import", "load", "commit"])
def test_a_full_disk_is_a_clear_error_and_no_more(small_disk: Path, way: str) -> None:
    big = make_tar({"big": os.urandom(8 << 20)})
    with store_at(small_disk) as store:
        store.import_tar(LAYER, "base")
        container = OneContainer(store, "base")
        if way == "commit":
            (container.upper / "big").write_bytes(os.urandom(8 << 20))

        def attempt() -> None:
            if way == "import":
                store.import_tar(big, "made")
            elif way == "load":
                store.load(make_tar(docker_archive([big], ["made:latest"])))
            else:
                commit(store, "made")

        ballast = small_disk / "ballast"
        fill(ballast, leave=4 << 20)
        with pytest.raises(Unavailable, match="no space left"):
            attempt()
        assert [record.id for record in store.images.records.all()] == [
            store.images.image_for_container("base").id
        ]
        assert len(store.layers.list()) == 1
        assert os.listdir(store.paths.ingest) == []
        ballast.unlink()
        attempt()
        assert store.images.inspect("made").size > 8 << 20


def fill(path: Path, *, leave: int) -> None:
    """Write until only `leave` bytes are free."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave)


# Sudden death

_CHILD = """
import os, signal, sys
from pathlib import Path
from support.archives import store_at, make_tar, docker_archive
steps = int(sys.argv[2])
def trace(event, arguments):
    global steps
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"):
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
layer = make_tar({"etc/": None, "etc/name": b"one\\n"})
with store_at(Path(sys.argv[1])) as store:
    data = make_tar(docker_archive([layer], ["a:1"]))
    sys.addaudithook(trace)
    store.load(data)
    store.images.remove("a:1", force=False, prune_parents=True)
    os._exit(0)
"""


def test_killed_at_any_step_the_store_is_whole(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    step = 0
    while True:
        root = tmp_path / str(step)
        root.mkdir()
        arguments = [sys.executable, "-c", _CHILD, str(root), str(step)]
        pid = os.posix_spawn(sys.executable, arguments, environment)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL)
        check_after_death(root)
        if status == 0:
            assert step > 10
            return
        step += 3
        assert step < 300


def check_after_death(root: Path) -> None:
    with store_at(root) as store:
        sweep_ingest(store.paths)
        store.images.collect()
        for record in store.images.records.all():
            store.images.records.document(record.id)
            for diff_id in record.diff_ids:
                store.layers.verify(diff_id)
            store.images.remove(str(record.id), force=True, prune_parents=True)
        assert store.is_empty()
