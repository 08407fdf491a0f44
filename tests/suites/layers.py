"""What every LayerStore does.  Subclass LayerStoreContract and give it a `store` fixture.

The breakout scenarios are those of containerd's TestBreakouts (symlinks, hard links and
whiteouts that try to reach outside the layer), told in our own archives.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound
from carboy.linux.layers import mount_overlay
from carboy.store.intake import FileWindow
from carboy.store.layers import Layer, LayerStore
from carboy.store.paths import Paths
from support import tars
from support.tars import Member, directory, file, hardlink, symlink

WHITEOUT_DEVICE = stat.S_IFCHR


def ingest(store: LayerStore, *members: Member) -> Layer:
    """A layer of these members."""
    return store.ingest(io.BytesIO(tars.make(*members)))


@contextmanager
def mounted(store: LayerStore, layer: Layer) -> Iterator[str]:
    """A path to what the layer looks like."""
    fd = store.mount(layer.diff_id)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def listing(root: str) -> list[str]:
    """Every name below `root`."""
    found = []
    for place, directories, files in os.walk(root):
        found += [os.path.relpath(os.path.join(place, name), root) for name in directories + files]
    return sorted(found)


def contents(path: str) -> bytes:
    """The bytes of a file."""
    with open(path, "rb") as opened:
        return opened.read()


# name, members, names that the layer then has; None: refused
BREAKOUTS: list[tuple[str, list[Member], list[str] | None]] = [
    ("parent in a path", [file("../escaped", b"x")], None),
    ("parent inside a path", [directory("d"), file("d/../../escaped", b"x")], None),
    ("absolute path", [file("/absolute", b"x")], ["absolute"]),
    ("many slashes", [file("//a///b", b"x")], ["a", "a/b"]),
    ("dots", [directory("./"), file("./a/./b", b"x")], ["a", "a/b"]),
    ("symlink to root, then through it", [symlink("l", "/"), file("l/f", b"x")], ["f", "l"]),
    ("symlink to absolute directory", [symlink("l", "/etc"), file("l/f", b"x")], ["etc", "etc/f", "l"]),
    ("symlink upwards", [symlink("l", "../../.."), file("l/f", b"x")], ["f", "l"]),
    ("symlink upwards and down", [symlink("l", "../../etc"), file("l/f", b"x")], ["etc", "etc/f", "l"]),
    (
        "chain of symlinks",
        [symlink("a", "b"), symlink("b", "/c"), directory("c"), file("a/f", b"x")],
        ["a", "b", "c", "c/f"],
    ),
    ("loop of symlinks", [symlink("a", "b"), symlink("b", "a"), file("a/f", b"x")], None),
    ("symlink to itself", [symlink("a", "a"), file("a/f", b"x")], None),
    (
        "symlink in a directory",
        [directory("d"), symlink("d/l", ".."), file("d/l/f", b"x")],
        ["d", "d/l", "f"],
    ),
    ("file over symlink", [symlink("l", "/etc/passwd"), file("l", b"x")], ["l"]),
    ("directory over symlink", [symlink("l", "/etc"), directory("l"), file("l/f", b"x")], ["l", "l/f"]),
    ("symlink over directory", [directory("l"), file("l/f"), symlink("l", "/etc")], ["l"]),
    ("file over directory", [directory("d"), file("d/f"), file("d", b"x")], ["d"]),
    ("below a file", [file("f"), file("f/g")], None),
    ("below a device", [Member("n", tarfile.CHRTYPE, device=(1, 3)), file("n/g")], None),
    ("hard link outside", [hardlink("h", "../../../etc/passwd")], None),
    ("hard link to absolute", [hardlink("h", "/etc/passwd")], None),
    ("hard link to absolute inside", [file("f", b"x"), hardlink("h", "/f")], ["f", "h"]),
    ("hard link through symlink", [symlink("l", "/etc"), hardlink("h", "l/passwd")], None),
    (
        "hard link through symlink inside",
        [directory("d"), file("d/f", b"x"), symlink("l", "../d"), hardlink("h", "l/f")],
        ["d", "d/f", "h", "l"],
    ),
    ("hard link to symlink", [symlink("l", "/etc/passwd"), hardlink("h", "l")], ["h", "l"]),
    (
        "hard link to symlink, then written",
        [symlink("l", "/etc/passwd"), hardlink("h", "l"), file("h", b"x")],
        ["h", "l"],
    ),
    ("hard link to directory", [directory("d"), hardlink("h", "d")], None),
    ("hard link to nothing", [hardlink("h", "missing")], None),
    ("hard link to itself", [file("f", b"x"), hardlink("f", "f")], ["f"]),
    ("whiteout of root", [file(".wh..")], None),
    ("whiteout of parent", [file(".wh...")], None),
    ("whiteout of nothing", [file(".wh.")], None),
    ("whiteout through symlink", [symlink("l", "/etc"), file("l/.wh.passwd")], ["etc", "etc/passwd", "l"]),
    ("whiteout through symlink upwards", [symlink("l", "../.."), file("l/.wh.etc")], ["etc", "l"]),
    ("opaque through symlink", [symlink("l", "/etc"), file("l/.wh..wh..opq")], ["etc", "l"]),
    ("below a whiteout", [file(".wh.d/f")], None),
    ("whiteout in parent path", [directory("d"), file("d/../.wh.etc")], None),
    ("root as a file", [file("./", b"x")], None),
    ("root as a symlink", [symlink("/", "/etc"), file("passwd", b"x")], None),
    ("overlay whiteout device", [Member("w", tarfile.CHRTYPE, device=(0, 0))], None),
    ("overlay attribute", [file("f", pax={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})], None),
    ("overlay opaque attribute", [directory("d", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"})], None),
    ("impossible device", [Member("n", tarfile.CHRTYPE, device=(5000, 1))], None),
]


class LayerStoreContract:
    """Run for each driver."""

    @pytest.fixture
    def paths(self, tmp_path: object) -> Paths:
        """A home of its own."""
        paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run")
        paths.create()
        return paths

    @pytest.fixture
    def store(self, paths: Paths) -> Iterator[LayerStore]:
        """The store under test."""
        raise NotImplementedError

    def test_a_layer_is_named_by_its_tar_and_gives_it_back(self, store: LayerStore) -> None:
        tar = tars.make(directory("d"), file("d/f", b"hello"))
        layer = store.ingest(io.BytesIO(tar))
        assert layer == Layer(Digest.of(tar), len(tar))
        assert store.get(layer.diff_id) == layer
        assert store.exists(layer.diff_id)
        assert store.list() == [layer]
        with open(store.open_tar(layer.diff_id), "rb") as kept:
            assert kept.read() == tar
        store.verify(layer.diff_id)

    def test_a_window_of_a_file_is_a_source(self, store: LayerStore, tmp_path: object) -> None:
        tar = tars.make(file("f", b"x" * 70_000))
        with open(f"{tmp_path}/outer", "wb+") as outer:
            outer.write(b"before" + tar + b"after")
            outer.flush()
            layer = store.ingest(FileWindow(outer.fileno(), 6, len(tar)), expected=Digest.of(tar))
        assert layer.size == len(tar)

    def test_the_mount_shows_every_kind_of_file(self, store: LayerStore) -> None:
        layer = ingest(
            store,
            directory("d", 0o1777),
            file("d/f", b"x" * 5000, mode=0o4755, uid=3, gid=4, mtime=123),
            hardlink("d/h", "d/f"),
            symlink("d/l", "f"),
            file("empty"),
            Member("null", tarfile.CHRTYPE, device=(1, 3), mode=0o666),
            Member("loop", tarfile.BLKTYPE, device=(7, 300)),
            Member("pipe", tarfile.FIFOTYPE, mode=0o600),
            file("capable", pax={"SCHILY.xattr.user.k": "v"}, uid=70_000, mtime=-3),
            symlink("long", "t" * 2000),
        )
        with mounted(store, layer) as root:
            found = os.lstat(f"{root}/d/f")
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o4755, 3, 4)
            assert (found.st_mtime, found.st_nlink, found.st_size) == (123, 2, 5000)
            assert os.lstat(f"{root}/d/h").st_ino == found.st_ino
            assert contents(f"{root}/d/h") == b"x" * 5000
            assert stat.S_IMODE(os.lstat(f"{root}/d").st_mode) == 0o1777
            assert os.lstat(f"{root}/d").st_nlink == 2
            assert os.readlink(f"{root}/d/l") == "f"
            assert os.readlink(f"{root}/long") == "t" * 2000
            assert contents(f"{root}/empty") == b""
            assert os.lstat(f"{root}/null").st_rdev == os.makedev(1, 3)
            assert os.lstat(f"{root}/loop").st_rdev == os.makedev(7, 300)
            assert stat.S_ISFIFO(os.lstat(f"{root}/pipe").st_mode)
            assert os.getxattr(f"{root}/capable", "user.k") == b"v"
            assert (os.lstat(f"{root}/capable").st_uid, os.lstat(f"{root}/capable").st_mtime) == (70_000, -3)

    def test_the_last_of_equal_names_wins(self, store: LayerStore) -> None:
        layer = ingest(
            store,
            directory("d", 0o700),
            file("d/f", b"old"),
            directory("d", 0o755),
            file("d/f", b"new"),
            file("./d/f", b"last"),
        )
        with mounted(store, layer) as root:
            assert contents(f"{root}/d/f") == b"last"
            assert stat.S_IMODE(os.lstat(f"{root}/d").st_mode) == 0o755

    def test_whiteouts_and_opaque_directories_speak_overlay(self, store: LayerStore) -> None:
        layer = ingest(
            store,
            directory("d"),
            file("d/.wh.gone"),
            directory("o"),
            file("o/.wh..wh..opq"),
            directory("both"),
            file(".wh.both"),
            file("kept", b"x"),
            file(".wh.kept"),
            file(".wh..wh.plnk"),
        )
        with mounted(store, layer) as root:
            gone = os.lstat(f"{root}/d/gone")
            assert stat.S_ISCHR(gone.st_mode)
            assert gone.st_rdev == 0
            assert os.getxattr(f"{root}/o", "trusted.overlay.opaque") == b"y"
            assert os.getxattr(f"{root}/both", "trusted.overlay.opaque") == b"y"
            assert contents(f"{root}/kept") == b"x"
            assert listing(root) == ["both", "d", "d/gone", "kept", "o"]

    def test_overlay_hides_what_a_layer_removes(self, store: LayerStore) -> None:
        lower = ingest(
            store, directory("d"), file("d/a"), file("d/b"), directory("o"), file("o/x"), file("f")
        )
        upper = ingest(
            store, directory("d"), file("d/.wh.a"), file("o/.wh..wh..opq"), file("o/new"), file(".wh.f")
        )
        fds = [store.mount(upper.diff_id), store.mount(lower.diff_id)]
        overlay = mount_overlay(fds, None, None)
        try:
            assert listing(f"/proc/self/fd/{overlay}") == ["d", "d/b", "o", "o/new"]
        finally:
            for fd in [overlay, *fds]:
                os.close(fd)

    def test_large_directories_and_names(self, store: LayerStore) -> None:
        names = [f"{number:04d}" + "n" * (number % 250) for number in range(1500)]
        layer = ingest(store, directory("d"), *[file(f"d/{name}", name.encode()) for name in names])
        with mounted(store, layer) as root:
            assert sorted(os.listdir(f"{root}/d")) == sorted(names)
            for name in names[::97]:
                assert contents(f"{root}/d/{name}") == name.encode()
            assert not os.path.exists(f"{root}/d/absent")

    def test_sparse_files_aligned_and_not(self, store: LayerStore) -> None:
        def sparse(name: str, pieces: list[tuple[int, bytes]], size: int) -> Member:
            numbers = ",".join(f"{offset},{len(data)}" for offset, data in pieces)
            records = {"GNU.sparse.map": numbers, "GNU.sparse.size": str(size), "GNU.sparse.name": name}
            return file("GNUSparseFile.0/x", b"".join(data for _, data in pieces), pax=records)

        aligned = [(0, b"a" * 512), (4096, b"b" * 1024)]
        ragged = [(3, b"abc"), (100_001, b"z" * 700), (1 << 20, b"q" * 9000)]
        layer = ingest(
            store,
            sparse("aligned", aligned, 9000),
            sparse("ragged", ragged, 3 << 20),
            sparse("huge", [(5 << 30, b"end")], 6 << 30),
            sparse("hole", [], 1 << 20),
        )
        with mounted(store, layer) as root:
            assert contents(f"{root}/aligned") == b"a" * 512 + bytes(3584) + b"b" * 1024 + bytes(3880)
            expected = bytearray(3 << 20)
            for offset, data in ragged:
                expected[offset : offset + len(data)] = data
            assert contents(f"{root}/ragged") == expected
            assert os.path.getsize(f"{root}/huge") == 6 << 30
            with open(f"{root}/huge", "rb") as huge:
                huge.seek((5 << 30) - 2)
                assert huge.read(7) == b"\0\0end\0\0"
            assert contents(f"{root}/hole") == bytes(1 << 20)
        store.verify(layer.diff_id)

    @pytest.mark.parametrize(("name", "members", "expected"), BREAKOUTS, ids=[row[0] for row in BREAKOUTS])
    def test_nothing_breaks_out(
        self, store: LayerStore, paths: Paths, name: str, members: list[Member], expected: list[str] | None
    ) -> None:
        passwd = contents("/etc/passwd")
        if expected is None:
            with pytest.raises(Corrupt):
                ingest(store, *members)
            assert store.list() == []
            assert os.listdir(paths.ingest) == []
        else:
            layer = ingest(store, *members)
            with mounted(store, layer) as root:
                assert listing(root) == expected
        assert contents("/etc/passwd") == passwd

    def test_the_wrong_digest_leaves_nothing(self, store: LayerStore, paths: Paths) -> None:
        with pytest.raises(Corrupt, match="digest"):
            store.ingest(io.BytesIO(tars.make(file("f"))), expected=Digest("0" * 64))
        assert store.list() == []
        assert os.listdir(paths.ingest) == []

    def test_damage_leaves_nothing(self, store: LayerStore, paths: Paths) -> None:
        tar = tars.make(file("f", b"x" * 100_000))
        for broken in (tar[:50_000], b"rubbish" * 1000, b""):
            with pytest.raises(Corrupt):
                store.ingest(io.BytesIO(broken))
        assert os.listdir(paths.ingest) == []

    def test_a_source_that_fails_leaves_nothing(self, store: LayerStore, paths: Paths) -> None:
        class Broken(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            store.ingest(Broken())
        assert os.listdir(paths.ingest) == []

    def test_a_layer_over_the_limit_is_refused(self, store: LayerStore, paths: Paths) -> None:
        with pytest.raises(InvalidArgument, match="larger than"):
            store.ingest(io.BytesIO(tars.make(file("f", b"x" * 100_000))), size_limit=50_000)
        assert os.listdir(paths.ingest) == []

    def test_the_same_layer_twice_is_one(self, store: LayerStore, paths: Paths) -> None:
        tar = tars.make(file("f"))
        threads = [threading.Thread(target=store.ingest, args=(io.BytesIO(tar),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.list()) == 1
        assert os.listdir(paths.ingest) == []

    def test_verify_finds_changed_bytes(self, store: LayerStore, paths: Paths) -> None:
        layer = ingest(store, file("f", b"x" * 1000))
        with open(f"{paths.layer(layer.diff_id)}/layer.tar", "rb+") as tar:
            tar.seek(600)
            tar.write(b"y")
        with pytest.raises(Corrupt, match="fetch it again"):
            store.verify(layer.diff_id)

    def test_removing_frees_everything(self, store: LayerStore, paths: Paths) -> None:
        layer = ingest(store, directory("d"), file("d/f", b"x" * 1000))
        os.close(store.mount(layer.diff_id))
        store.remove(layer.diff_id)
        assert os.listdir(paths.layers) == []
        assert os.listdir(paths.ingest) == []
        for missing in (store.get, store.open_tar, store.verify, store.mount, store.remove):
            with pytest.raises(NotFound):
                missing(layer.diff_id)

    def test_the_digest_is_of_the_whole_stream(self, store: LayerStore) -> None:
        tar = tars.make(file("f")) + b"\0" * 4096 + b"behind the end"
        layer = store.ingest(io.BytesIO(tar))
        assert layer.diff_id.hex == hashlib.sha256(tar).hexdigest()
