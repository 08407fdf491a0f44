"""Trees out of tars: what is made, what is refused, and what stays untouched outside."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carboy.archive.contents import BufferedReader
from carboy.archive.packing import pack
from carboy.archive.unpacking import Places, Unpacker, clean, unpack
from carboy.errors import InvalidArgument, Malformed
from carboy.linux import tree
from support.breakouts import OUTSIDE, SENTINEL, cases
from support.tars import Member, directory, file, hardlink, make, symlink


@contextmanager
def unpacker(root: Path, *, replace: bool = False) -> Iterator[Unpacker]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    places = Places(fd)
    try:
        yield Unpacker(places, keep_owner=False, replace=replace, remove=tree.remove)
    finally:
        places.close()
        os.close(fd)


def put(root: Path, *members: Member, replace: bool = False) -> None:
    root.mkdir(exist_ok=True)
    with unpacker(root, replace=replace) as target:
        unpack(BufferedReader(io.BytesIO(make(*members)).read), target)


def archive_of(path: Path, name: str) -> bytes:
    start = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return b"".join(pack(start, name.encode()))
    finally:
        os.close(start)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", cases("/x"))
def test_nothing_outside_is_touched(tmp_path: Path, name: str, replace: bool) -> None:
    outside = tmp_path / OUTSIDE
    outside.mkdir(mode=0o750)
    (outside / "file").write_bytes(SENTINEL)
    os.utime(outside, (1, 1))
    before = os.lstat(outside), os.lstat(outside / "file")
    with contextlib.suppress(Malformed, InvalidArgument, FileNotFoundError):
        put(tmp_path / "in", *cases(str(outside))[name], replace=replace)
    assert (outside / "file").read_bytes() == SENTINEL
    assert os.listdir(outside) == ["file"]
    after = os.lstat(outside), os.lstat(outside / "file")
    for one, other in zip(before, after, strict=True):
        assert (one.st_mode, one.st_uid, one.st_mtime_ns) == (other.st_mode, other.st_uid, other.st_mtime_ns)
    assert after[1].st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == ["in", OUTSIDE]


def test_a_tree_there_and_back_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "file").write_bytes(b"x" * 100_000)
    os.link(source / "deep" / "file", source / "hard")
    os.symlink("deep/file", source / "link")
    os.mkfifo(source / "pipe", 0o640)
    os.chmod(source / "pipe", 0o640)
    with open(source / "holes", "wb") as holes:
        holes.truncate(1 << 20)
        holes.seek(1 << 19)
        holes.write(b"data")
    os.chmod(source / "deep" / "file", 0o4751)
    os.utime(source / "deep" / "er", ns=(0, 1_000_000_000))
    os.utime(source / "deep", ns=(0, 2_000_000_000))
    data = archive_of(source, "copy")
    (tmp_path / "in").mkdir()
    with unpacker(tmp_path / "in") as target:
        unpack(BufferedReader(io.BytesIO(data).read), target)
    copy = tmp_path / "in" / "copy"
    assert archive_of(copy, "copy") == data
    assert (copy / "hard").samefile(copy / "deep" / "file")
    assert os.stat(copy / "deep").st_mtime == 2


def test_the_root_has_names_with_one_slash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    names = [
        entry.partition(b"\0")[0] for entry in (archive_of(tmp_path, "/")[at : at + 100] for at in (0, 512))
    ]
    assert names == [b"/", b"/a"]


def test_parents_are_made_and_directories_keep_their_times(tmp_path: Path) -> None:
    put(tmp_path / "in", directory("d", mtime=5), file("d/x"), file("new/deep/y", mode=0o600))
    assert os.stat(tmp_path / "in" / "d").st_mtime == 5
    assert stat.S_IMODE(os.stat(tmp_path / "in" / "new").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(tmp_path / "in" / "new" / "deep" / "y").st_mode) == 0o600


def test_kinds_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    root = tmp_path / "in"
    put(root, directory("d"), file("d/x"), file("f"))
    with pytest.raises(InvalidArgument, match='cannot overwrite directory "d" with non-directory "d"'):
        put(root, file("d"))
    with pytest.raises(InvalidArgument, match='cannot overwrite non-directory "f" with directory "f/"'):
        put(root, directory("f"))
    put(root, file("d", b"now a file"), directory("f"), file("f/y"), replace=True)
    assert (root / "d").read_bytes() == b"now a file"
    assert (root / "f" / "y").exists()


def test_a_directory_that_gives_way_is_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "in"
    put(root, file("d/e/x"), file("d"), directory("d"), file("d/e/y"), replace=True)
    assert sorted(os.listdir(root / "d" / "e")) == ["y"]


def test_files_take_the_place_of_links_and_links_that_of_files(tmp_path: Path) -> None:
    root = tmp_path / "in"
    put(root, file("a", b"1"), symlink("l", "a"))
    put(root, file("l", b"2"), symlink("a", "elsewhere"), hardlink("h", "l"))
    put(root, hardlink("h", "l"))
    assert (root / "l").read_bytes() == b"2"
    assert os.readlink(root / "a") == "elsewhere"
    assert (root / "h").samefile(root / "l")


def test_a_truncated_archive_leaves_no_half_file(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    data = make(file("whole", b"x" * 1000), file("half", b"y" * 100_000))[:50_000]
    with unpacker(root) as target, pytest.raises(Malformed):
        unpack(BufferedReader(io.BytesIO(data).read), target)
    assert os.listdir(root) == ["whole"]


@pytest.mark.parametrize(
    ("path", "parts"),
    [(b"a/b", (b"a", b"b")), (b"./a//b/", (b"a", b"b")), (b"a/../b", (b"b",)), (b"/a", (b"a",)), (b".", ())],
)
def test_names_are_cleaned(path: bytes, parts: tuple[bytes, ...]) -> None:
    assert clean(path) == parts


@pytest.mark.parametrize("path", [b"..", b"../a", b"a/../../b", b"/.."])
def test_names_that_lead_out_are_malformed(path: bytes) -> None:
    with pytest.raises(Malformed, match="leads out"):
        clean(path)


def test_many_directories_do_not_use_up_descriptors(tmp_path: Path) -> None:
    put(tmp_path / "in", *[file(f"d{number}/e/f") for number in range(200)])
    assert len(os.listdir("/proc/self/fd")) < 100
    assert len(os.listdir(tmp_path / "in")) == 200


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 300_000)
    start = os.open(path, os.O_PATH)
    try:
        pieces = pack(start, b"f")
        first = next(pieces)
        os.truncate(path, 0)
        data = first + b"".join(pieces)
    finally:
        os.close(start)
    assert len(data) == 512 + 300_032 + 1024
