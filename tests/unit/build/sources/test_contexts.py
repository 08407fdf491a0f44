"""Build contexts of all kinds, and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from carboy.build.frontend.inputs import BaseImage
from carboy.build.operation import Filesystem, Value
from carboy.build.progress import Cancellation
from carboy.build.request import ImageContext, LocalContext, RemoteContext, TarContext
from carboy.build.session import Workshop
from carboy.build.sources.archives import looks_like_tar, without_ignored
from carboy.build.sources.contexts import ContextOpener, OpenedContext
from carboy.build.sources.reading import checked_path, read_dockerfile
from carboy.build.trees import LocalTree
from carboy.errors import CarboyError, InvalidArgument, Malformed, NotFound, Unsupported
from carboy.formats.dockerignore import Ignore
from carboy.formats.oci import ImageDocument
from carboy.formats.tar import TarEntry, scan
from support import breakouts, tars
from support.building import NoExecutor, Workplace
from support.webserver import Reply, WebServer

DOCKERFILE = b"FROM scratch\n"
LAYER = "sha256:" + "a" * 64


class OneImage:
    """Bases with one image."""

    def resolve(self, reference: str, platform: str) -> BaseImage:
        return BaseImage("sha256:" + "b" * 64, ImageDocument(), (LAYER,), platform or "linux/amd64")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def opener(place: Workplace) -> ContextOpener:
    workshop = Workshop(place.paths, place.database, place.layers, place.content, NoExecutor())
    return ContextOpener(workshop=workshop, bases=OneImage(), cancellation=Cancellation())


def open_bytes(place: Workplace, data: bytes, **more: object) -> OpenedContext:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        context = TarContext(descriptor=file.fileno())
        return opener(place).open(context, **more)  # type: ignore[arg-type]  # keywords of open


def entries(place: Workplace, value: Value) -> dict[str, TarEntry]:
    assert isinstance(value, Filesystem)
    [layer] = value.layers
    descriptor = place.layers.open_tar(layer)
    try:
        found = scan(lambda offset, size: os.pread(descriptor, size, offset))
        return {os.fsdecode(entry.unsafe_path).rstrip("/"): entry for entry in found}
    finally:
        os.close(descriptor)


def content(place: Workplace, value: Value, name: str) -> bytes:
    entry = entries(place, value)[name]
    assert isinstance(value, Filesystem)
    descriptor = place.layers.open_tar(value.layers[0])
    try:
        return os.pread(descriptor, entry.size, entry.data_offset)
    finally:
        os.close(descriptor)


ARCHIVE = tars.make(
    tars.file("Dockerfile", DOCKERFILE),
    tars.directory("src"),
    tars.file("src/a.py", b"a"),
    tars.file("src/a.pyc", b"c"),
    tars.symlink("link", "src/a.py"),
)


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: zstandard.ZstdCompressor().compress(data),
    ],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_an_archive_is_a_layer_whatever_its_compression(place: Workplace, pack: object) -> None:
    assert callable(pack)
    opened = open_bytes(place, pack(ARCHIVE))
    assert list(entries(place, opened.value)) == ["Dockerfile", "src", "src/a.py", "src/a.pyc", "link"]
    assert read_dockerfile(opened.origin, place.layers) == ("Dockerfile", DOCKERFILE)
    assert opened.value == open_bytes(place, ARCHIVE).value


def test_an_archive_may_come_through_a_pipe(place: Workplace) -> None:
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(ARCHIVE))
    os.close(writing)
    opened = opener(place).open(TarContext(descriptor=reading))
    os.close(reading)
    assert "src/a.py" in entries(place, opened.value)


def test_dockerignore_of_an_archive_holds(place: Workplace) -> None:
    archive = tars.make(
        tars.file(".dockerignore", b"*.md\nDockerfile\nsrc/*.pyc\n!keep.md\n"),
        tars.file("Dockerfile", DOCKERFILE),
        tars.file("a.md", b"a"),
        tars.file("keep.md", b"k" * 700),
        tars.directory("src"),
        tars.file("src/a.pyc"),
        tars.file("src/a.py", b"a"),
    )
    opened = open_bytes(place, archive)
    assert list(entries(place, opened.value)) == [".dockerignore", "keep.md", "src", "src/a.py"]
    assert content(place, opened.value, "keep.md") == b"k" * 700
    assert read_dockerfile(opened.origin, place.layers)[1] == DOCKERFILE


def test_the_ignore_file_of_a_dockerfile_comes_first(place: Workplace) -> None:
    archive = tars.make(
        tars.file(".dockerignore", b"a\n"),
        tars.file("x/my.Dockerfile", DOCKERFILE),
        tars.file("x/my.Dockerfile.dockerignore", b"b\n"),
        tars.file("a"),
        tars.file("b"),
    )
    assert "b" not in entries(place, open_bytes(place, archive, dockerfile_name="x/my.Dockerfile").value)
    assert "a" not in entries(place, open_bytes(place, archive).value)
    given = open_bytes(place, archive, dockerfile_name="x/my.Dockerfile", ignore=b"x\n")
    assert set(entries(place, given.value)) == {".dockerignore", "a", "b"}


def test_hard_links_to_what_is_left_out_become_files(place: Workplace) -> None:
    archive = tars.make(
        tars.file(".dockerignore", b"secret/\n"),
        tars.file("secret/a", b"data"),
        tars.hardlink("secret/b", "secret/a"),
        tars.hardlink("one", "secret/b"),
        tars.hardlink("two", "secret/a"),
        tars.hardlink("three", "one"),
    )
    found = entries(place, open_bytes(place, archive).value)
    assert [(name, entry.link) for name, entry in found.items()] == [
        (".dockerignore", b""),
        ("one", b""),
        ("two", b"one"),
        ("three", b"one"),
    ]


def test_hard_links_to_names_that_come_late_become_links(place: Workplace) -> None:
    archive = tars.make(
        tars.file(".dockerignore", b"secret/\n"),
        tars.file("secret/a", b"data"),
        tars.hardlink("one", "secret/a"),
        tars.hardlink("secret/b", "secret/a"),
        tars.hardlink("two", "secret/b"),
        tars.hardlink("secret/c", "one"),
        tars.hardlink("three", "secret/c"),
    )
    found = entries(place, open_bytes(place, archive).value)
    assert [found[name].link for name in ("one", "two", "three")] == [b"", b"one", b"one"]


def test_many_links_to_what_is_left_out_cost_little(place: Workplace) -> None:
    count = 8_000
    archive = tars.make(
        tars.file(".dockerignore", b"secret/\n"),
        *(tars.file(f"secret/{number}") for number in range(count)),
        *(tars.hardlink(f"{number}", f"secret/{number}") for number in range(count)),
    )
    origin = open_bytes(place, archive, ignore=b"").origin
    assert isinstance(origin, Filesystem)
    checks: list[None] = []
    began = time.process_time()
    kept = without_ignored(
        origin.layers[0], place.layers, Ignore.parse("secret/"), check=lambda: checks.append(None)
    )
    assert time.process_time() - began < 5  # measured: 1 s on a quiet machine
    assert len(checks) > 2 * count
    assert len(entries(place, Filesystem((kept,)))) == count + 1


def test_nothing_left_out_is_the_archive_itself(place: Workplace) -> None:
    archive = tars.make(tars.file(".dockerignore", b"*.none\n"), tars.file("Dockerfile", DOCKERFILE))
    opened = open_bytes(place, archive)
    assert opened.value == opened.origin


@pytest.mark.parametrize("name", [".wh.a", "d/.wh.a", ".wh..wh..opq", "d/.wh.x/y"])
def test_whiteouts_are_refused(place: Workplace, name: str) -> None:
    with pytest.raises(Malformed, match=r"names that begin with \.wh\. mark removals"):
        open_bytes(place, tars.make(tars.file("Dockerfile", DOCKERFILE), tars.file(name)))
    assert os.listdir(place.paths.ingest) == []


def test_whiteouts_that_are_kept_out_do_no_harm(place: Workplace) -> None:
    archive = tars.make(
        tars.file(".dockerignore", b"**/.wh.*\n"),
        tars.file("Dockerfile", DOCKERFILE),
        tars.file(".wh.Dockerfile"),
        tars.file("d/.wh..wh..opq"),
        tars.file("d/a", b"a"),
    )
    opened = open_bytes(place, archive)
    assert set(entries(place, opened.value)) == {".dockerignore", "Dockerfile", "d/a"}
    assert read_dockerfile(opened.origin, place.layers)[1] == DOCKERFILE
    for ignore in (b"", b"none\n", b"Dockerfile\n", b".wh.*\n"):
        with pytest.raises(Malformed, match=r"names that begin with \.wh\. mark removals"):
            open_bytes(place, archive, ignore=ignore)


@pytest.mark.parametrize("name", sorted(breakouts.cases("/x")))
def test_archives_change_nothing_outside(place: Workplace, tmp_path: Path, name: str) -> None:
    """buildah 2026-44517, containerd's TestBreakouts."""
    outside = tmp_path / breakouts.OUTSIDE
    outside.mkdir()
    (outside / "file").write_bytes(breakouts.SENTINEL)
    members = breakouts.cases(str(outside))[name]
    try:
        opened = open_bytes(place, tars.make(tars.file("Dockerfile", DOCKERFILE), *members))
        read_dockerfile(opened.origin, place.layers)
    except (InvalidArgument, Malformed):
        pass
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_bytes() == breakouts.SENTINEL
    assert os.listdir(place.paths.ingest) == []


def test_a_dockerfile_that_is_a_link_leads_nowhere_else(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"FROM host\n")
    for target in (str(tmp_path / "host"), "../../../../host", "/etc/passwd"):
        opened = open_bytes(place, tars.make(tars.symlink("Dockerfile", target)))
        with pytest.raises(NotFound, match="failed to read dockerfile: open Dockerfile: no such file"):
            read_dockerfile(opened.origin, place.layers)
    inside = tars.make(tars.file("real", DOCKERFILE), tars.symlink("Dockerfile", "/real"))
    assert read_dockerfile(open_bytes(place, inside).origin, place.layers)[1] == DOCKERFILE


def test_a_lone_dockerfile_is_one(place: Workplace) -> None:
    opened = open_bytes(place, DOCKERFILE)
    assert (opened.dockerfile, opened.value) == (DOCKERFILE, Filesystem())
    long = DOCKERFILE + b"# x\n" * 10_000
    assert open_bytes(place, gzip.compress(long)).dockerfile == long


@pytest.mark.parametrize("data", [b"\x7fELF\0\0\0\0" * 200, b"\0abc" * 300, b"x" * (5 << 20)])
def test_what_is_neither_is_refused(place: Workplace, data: bytes) -> None:
    with pytest.raises(Malformed, match="neither a tar archive nor a Dockerfile"):
        open_bytes(place, data)


def test_nothing_at_all_is_told(place: Workplace) -> None:
    with pytest.raises(InvalidArgument, match="the build context is empty"):
        open_bytes(place, b"")


def test_an_archive_of_nothing_is_an_empty_context(place: Workplace) -> None:
    opened = open_bytes(place, tars.make())
    assert opened.value == Filesystem()
    with pytest.raises(NotFound, match="failed to read dockerfile"):
        read_dockerfile(opened.origin, place.layers)


@pytest.mark.parametrize("damage", [ARCHIVE[:700], ARCHIVE[:600] + b"x" * 2000, gzip.compress(ARCHIVE)[:60]])
def test_damaged_archives_are_the_clients_fault(place: Workplace, damage: bytes) -> None:
    with pytest.raises(Malformed):
        open_bytes(place, damage)
    assert os.listdir(place.paths.ingest) == []


def test_a_bomb_is_stopped(place: Workplace) -> None:
    bomb = tars.make(tars.file("zeros", bytes(200 << 20)))
    with pytest.raises(Malformed, match="bomb"):
        open_bytes(place, bz2.compress(bomb))
    assert os.listdir(place.paths.ingest) == []


def test_a_cancelled_build_stops_reading(place: Workplace) -> None:
    cancelled = Cancellation()
    cancelled.cancel("enough")
    workshop = Workshop(place.paths, place.database, place.layers, place.content, NoExecutor())
    with tempfile.TemporaryFile() as file:
        file.write(ARCHIVE)
        file.flush()
        with pytest.raises(CarboyError, match="enough"):
            ContextOpener(workshop=workshop, bases=OneImage(), cancellation=cancelled).open(
                TarContext(descriptor=file.fileno())
            )
    assert os.listdir(place.paths.ingest) == []


# Directories


def local(place: Workplace, directory: Path, **more: str) -> OpenedContext:
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        opened = opener(place).open(LocalContext(root=root, path=str(directory)), **more)  # type: ignore[arg-type]
        assert isinstance(opened.value, LocalTree)
        return opened
    finally:
        os.close(root)


def test_a_directory_is_a_tree_with_its_patterns(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    assert local(place, tmp_path / "c").value.ignore is None  # type: ignore[union-attr]
    (tmp_path / "c" / ".dockerignore").write_text("# only a comment\n\n")
    assert local(place, tmp_path / "c").value.ignore is None  # type: ignore[union-attr]
    (tmp_path / "c" / ".dockerignore").write_text("*.md\n")
    opened = local(place, tmp_path / "c")
    assert isinstance(opened.value, LocalTree)
    assert isinstance(opened.origin, LocalTree)
    assert opened.value.ignore is not None
    assert opened.value.ignore.patterns == ("*.md",)
    assert opened.origin.ignore is None


@pytest.mark.parametrize("kind", ["fifo", "directory", "link out", "huge"])
def test_an_ignore_file_that_is_none_is_no_trap(place: Workplace, tmp_path: Path, kind: str) -> None:
    context = tmp_path / "c"
    context.mkdir()
    path = context / ".dockerignore"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        (tmp_path / "outside").write_text("*\n")
        path.symlink_to("../outside")
        assert local(place, context).value.ignore is None  # type: ignore[union-attr]
        return
    with pytest.raises(InvalidArgument, match="dockerignore"):
        local(place, context)


def test_the_dockerfile_of_a_directory_is_found(place: Workplace, tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    tree = LocalTree(root, str(tmp_path))
    try:
        with pytest.raises(NotFound, match="open Dockerfile: no such file"):
            read_dockerfile(tree, place.layers)
        (tmp_path / "dockerfile").write_bytes(b"FROM small\n")
        assert read_dockerfile(tree, place.layers) == ("dockerfile", b"FROM small\n")
        (tmp_path / "Dockerfile").write_bytes(DOCKERFILE)
        assert read_dockerfile(tree, place.layers) == ("Dockerfile", DOCKERFILE)
        with pytest.raises(NotFound, match="open x/y: no such file"):
            read_dockerfile(tree, place.layers, "x/./y")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidArgument, match="no regular file"):
            read_dockerfile(tree, place.layers, "pipe")
        (tmp_path / "big").write_bytes(b"#" * (5 << 20))
        with pytest.raises(InvalidArgument, match="larger than"):
            read_dockerfile(tree, place.layers, "big")
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("unsafe_path", "path"),
    [("/a", "a"), ("a/../b", "b"), ("./a//b/", "a/b"), ("../a", None), ("a/../..", None), ("", None)],
)
def test_names_of_dockerfiles_stay_inside(unsafe_path: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(InvalidArgument):
            checked_path(unsafe_path)
    else:
        assert checked_path(unsafe_path) == path


# Addresses and images


@pytest.mark.parametrize(
    ("body", "is_dockerfile"), [(DOCKERFILE, True), (ARCHIVE, False), (gzip.compress(ARCHIVE), False)]
)
def test_an_http_address_is_an_archive_or_a_dockerfile(
    place: Workplace, body: bytes, is_dockerfile: bool
) -> None:
    with WebServer() as server:
        server.answers["/c"] = Reply(body, headers={"ETag": '"1"'})
        url = f"http://me:hunter2@127.0.0.1:{server.port}/c"
        opened = opener(place).open(RemoteContext(url=url))
    assert (opened.dockerfile is not None) is is_dockerfile
    assert opened.record["address"] == f"{server.url}/c"
    assert "hunter2" not in str(opened.record)
    assert os.listdir(place.paths.ingest) == []


@pytest.mark.parametrize(
    "url", ["", "file:///etc", "/etc", "ftp://x/y", "ext::sh -c id", "-oProxyCommand=id"]
)
def test_other_addresses_are_refused(place: Workplace, url: str) -> None:
    with pytest.raises(InvalidArgument, match="is no address"):
        opener(place).open(RemoteContext(url=url))


def test_an_image_may_be_a_context(place: Workplace) -> None:
    opened = opener(place).open(ImageContext(reference="busybox"))
    assert opened.value.identity == LAYER  # type: ignore[union-attr]
    two = Filesystem((*opened.value.layers, *opened.value.layers))  # type: ignore[union-attr]
    with pytest.raises(Unsupported):
        read_dockerfile(two, place.layers)


def test_no_context_is_an_empty_one(place: Workplace) -> None:
    assert opener(place).open(None).value == Filesystem()


def test_archives_are_known_by_their_header() -> None:
    assert looks_like_tar(ARCHIVE[:512])
    assert looks_like_tar(bytes(1024))
    assert not looks_like_tar(b"FROM scratch\n" * 100)
    assert not looks_like_tar(ARCHIVE[:100])
