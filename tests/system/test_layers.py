"""Both layer stores on the real kernel: their contract, GNU tar as the judge, sudden death."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from carboy.digest import Digest
from carboy.errors import Unavailable
from carboy.linux.mount import fsconfig_create, fsconfig_set_string, fsmount, fsopen
from carboy.store.intake import FileWindow
from carboy.store.layers import DirectoryLayers, ErofsLayers, LayerStore, sweep_ingest
from carboy.store.paths import Paths
from suites.layers import LayerStoreContract, contents, mounted
from support import tars

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

STEPS = ("writing", "written", "indexed", "synced", "published")


@pytest.mark.needs_erofs
class TestErofsLayers(LayerStoreContract):
    """Tars mounted through their index."""

    @pytest.fixture
    def store(self, paths: Paths) -> Iterator[LayerStore]:
        store = ErofsLayers(paths)
        yield store
        store.close()

    def test_verify_finds_a_changed_index(self, store: LayerStore, paths: Paths) -> None:
        layer = store.ingest(io.BytesIO(tars.make(tars.file("f"))))
        with open(f"{paths.layer(layer.diff_id)}/meta.erofs", "rb+") as index:
            index.seek(-1, 2)
            index.write(b"!")
        with pytest.raises(Exception, match=r"meta\.erofs does not belong"):
            store.verify(layer.diff_id)

    def test_files_beyond_4_gib(self, store: LayerStore, tmp_path: object) -> None:
        # A tar with holes: one member of 5 GiB, of which the disk holds the ends only.
        size = 5 << 30
        with open(f"{tmp_path}/big.tar", "wb+") as out:
            header = bytearray(tars.make(tars.file("big"))[:512])
            header[124:136] = b"%011o " % size if size < 8 << 30 else b""
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            out.write(header)
            out.seek(512 + size - 3)
            out.write(b"end")
            out.seek(512 + size + 1023)
            out.write(b"\0")
            out.flush()
            from carboy.formats.erofs import write_index
            from carboy.formats.layertree import build_tree
            from carboy.formats.tar import scan
            from carboy.linux.layers import mount_erofs

            root = build_tree(scan(lambda o, n: os.pread(out.fileno(), n, o)))
            with open(f"{tmp_path}/meta", "wb+") as meta:
                meta.write(write_index(root, tar_size=os.fstat(out.fileno()).st_size))
                meta.flush()
                mount = mount_erofs(meta.fileno(), [out.fileno()])
                try:
                    with open(f"/proc/self/fd/{mount}/big", "rb") as big:
                        big.seek(size - 5)
                        assert big.read() == b"\0\0end"
                finally:
                    os.close(mount)


class TestDirectoryLayers(LayerStoreContract):
    """Tars extracted."""

    @pytest.fixture
    def store(self, paths: Paths) -> Iterator[LayerStore]:
        store = DirectoryLayers(paths)
        yield store
        store.close()


def describe(root: str) -> dict[str, tuple[object, ...]]:
    """Everything that stat, links, attributes and contents say of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for place, directories, files in sorted(os.walk(root)):
        for name in sorted(directories + files):
            path = f"{place}/{name}"
            status = os.lstat(path)
            regular = os.path.isfile(path) and not os.path.islink(path)
            found[os.path.relpath(path, root)] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_size if regular else 0,
                status.st_rdev,
                inodes.setdefault(status.st_ino, os.path.relpath(path, root)) if regular else None,
                os.readlink(path) if os.path.islink(path) else None,
                contents(path) if regular else None,
            )
    return found


@pytest.mark.needs_erofs
@pytest.mark.parametrize("driver", [ErofsLayers, DirectoryLayers])
@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix"],
        ["--format=gnu", "-S"],
        ["--format=posix", "-S"],
        ["--format=posix", "--sparse-version=0.0", "-S"],
        ["--format=posix", "--sparse-version=0.1", "-S", "--xattrs"],
    ],
)
def test_gnu_tar_agrees(
    tmp_path: object, driver: type[ErofsLayers] | type[DirectoryLayers], options: list[str]
) -> None:
    source = f"{tmp_path}/source"
    os.makedirs(f"{source}/deep/" + "/".join("d" * 60 for _ in range(4)))
    deep = f"{source}/deep/" + "/".join("d" * 60 for _ in range(4))
    with open(f"{deep}/{'f' * 200}", "wb") as long:
        long.write(os.urandom(10_000))
    os.link(f"{deep}/{'f' * 200}", f"{source}/linked")
    os.symlink("x" * 300, f"{source}/link")
    os.mknod(f"{source}/null", 0o20666, os.makedev(1, 3))
    os.mkfifo(f"{source}/pipe")
    with open(os.fsencode(source) + b"/\xff\xfe", "wb") as odd:
        odd.write(b"any bytes")
    for number in range(3):
        with open(f"{source}/sparse{number}", "wb") as sparse:
            for piece in range(6 * number + 1):
                sparse.seek(piece * 65536 + 4096 * number)
                sparse.write(b"%d" % piece * 3000)
            sparse.truncate(1_000_003)
    os.chmod(f"{source}/sparse0", 0o4711)
    os.chown(f"{source}/sparse1", 12345, 3_000_000)
    archive, judged = f"{tmp_path}/a.tar", f"{tmp_path}/judged"
    subprocess.run(["tar", "-C", source, *options, "-cf", archive, "."], check=True)
    os.mkdir(judged)
    subprocess.run(["tar", "-C", judged, "-xpf", archive, "--same-owner"], check=True)
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
    paths.create()
    store = driver(paths)
    with open(archive, "rb") as opened:
        layer = store.ingest(FileWindow.whole(opened.fileno()))
    with mounted(store, layer) as root:
        assert describe(root) == describe(judged)
    store.close()


@pytest.mark.needs_erofs
@pytest.mark.parametrize("driver", [ErofsLayers, DirectoryLayers])
@pytest.mark.parametrize("step", STEPS)
def test_sudden_death_leaves_nothing_or_all(
    tmp_path: object, driver: type[ErofsLayers] | type[DirectoryLayers], step: str
) -> None:
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
    paths.create()
    tar = tars.make(tars.directory("d"), tars.file("d/f", b"x" * 100_000))

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            driver(paths, on_step=die).ingest(io.BytesIO(tar))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    store = driver(paths)
    sweep_ingest(paths)
    assert os.listdir(paths.ingest) == []
    assert store.exists(Digest.of(tar)) == (step == "published")
    if step == "published":
        store.verify(Digest.of(tar))
    store.ingest(io.BytesIO(tar))
    store.verify(Digest.of(tar))


@pytest.mark.needs_erofs
def test_8700_entries_are_quick(tmp_path: object) -> None:
    """A generous bound, so that a busy machine passes; benchmarks/bench_layers.py measures."""
    members = [tars.directory("d")] + [tars.file(f"d/{number}", b"x" * 600) for number in range(8700)]
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
    paths.create()
    store = ErofsLayers(paths)
    tar = tars.make(*members)
    begin = time.process_time()
    store.ingest(io.BytesIO(tar))
    assert time.process_time() - begin < 3


@pytest.mark.parametrize("driver", [ErofsLayers, DirectoryLayers])
def test_a_full_disk_is_said_and_leaves_nothing(driver: type[ErofsLayers] | type[DirectoryLayers]) -> None:
    # A small tmpfs that is mounted nowhere: it is reached, and goes, with its descriptor.
    context = fsopen("tmpfs")
    fsconfig_set_string(context, "size", "1m")
    fsconfig_create(context)
    disk = fsmount(context)
    os.close(context)
    try:
        paths = Paths(f"/proc/self/fd/{disk}/root", f"/proc/self/fd/{disk}/run")
        paths.create()
        store = driver(paths)
        with pytest.raises(Unavailable, match="no space left"):
            store.ingest(io.BytesIO(tars.make(tars.file("f", os.urandom(2 << 20)))))
        assert os.listdir(paths.ingest) == []
        store.ingest(io.BytesIO(tars.make(tars.file("f", b"x" * 1000))))
    finally:
        os.close(disk)
