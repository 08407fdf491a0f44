"""COPY, ADD and WORKDIR: layers that are the same everywhere, keys that say what they depend on."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carboy.build.graph import Files, FileSource
from carboy.build.operation import Filesystem, Value
from carboy.build.request import BuildRequest, ImageContext
from carboy.errors import Cancelled, InvalidArgument, Malformed, NotFound
from support import tars
from support.breakouts import cases
from support.copying import EPOCH, Yard, with_contexts, yard

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make_context(tmp_path / "context")


@pytest.fixture
def ground(tmp_path: Path, context: Path) -> Iterator[Yard]:
    with yard(tmp_path, context) as made:
        yield made


def make_context(top: Path, *, backwards: bool = False, mtime: int = 1_700_000_000) -> Path:
    files = {
        "a.txt": b"a",
        "src/b.py": b"b" * 5000,
        "src/deep/c": b"c" * 200_000,
        "src/z": b"",
        "z" * 120: b"long",
    }
    for name in sorted(files, reverse=backwards):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(files[name])
        os.utime(top / name, (mtime, mtime))
    (top / "src" / "run").write_bytes(b"#!")
    (top / "src" / "run").chmod(0o4755)
    (top / "src" / "link").symlink_to("b.py")
    if backwards:
        os.link(top / "src" / "run", top / "src" / "same")
        with (top / "sparse").open("wb") as file:
            file.truncate(300_000)
    else:
        (top / "src" / "same").write_bytes(b"#!")
        (top / "src" / "same").chmod(0o4755)
        (top / "sparse").write_bytes(bytes(300_000))
    return top


def base_of(made: Yard, path: Path, *members: tars.Member) -> Filesystem:
    path.write_bytes(tars.make(*members))
    return made.take(path)


def test_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Other umask, times, order, hard links, holes, store and context path: one layer."""
    layers, keys = set(), set()
    for number, (umask, driver) in enumerate([(0o022, "erofs"), (0o002, "directory"), (0o077, "erofs")]):
        top = tmp_path / str(number)
        old = os.umask(umask)
        try:
            context = make_context(top / "context", backwards=bool(number), mtime=1000 + number)
            if umask == 0o077:
                os.system(
                    f"chmod -R go+rX {context}"
                )  # a umask that takes reading away changes what people mean
            with yard(top, context, driver=driver) as made:
                copied = made.copy(".", to="/app/")
                keys.add(copied.key)
                layers.add(hashlib.sha256(made.tar(copied.result)).hexdigest())
                assert copied.result.layer is not None
                made.layers.verify(copied.result.layer)
        finally:
            os.umask(old)
    assert len(keys) == 1
    assert len(layers) == 1


def test_the_tar_is_canonical(ground: Yard) -> None:
    copied = ground.copy(".", to="/app/")
    with tarfile.open(fileobj=io.BytesIO(ground.tar(copied.result))) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {member.mtime for member in members} == {EPOCH}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert names[0] == "app"
    assert all(not member.mode & 0o022 for member in members if not member.issym())


def test_the_layer_holds_what_the_context_holds(ground: Yard, context: Path) -> None:
    copied = ground.copy("src", to="/app")
    with tarfile.open(fileobj=io.BytesIO(ground.tar(copied.result))) as archive:
        for path in (context / "src").rglob("*"):
            member = archive.getmember(f"app/{path.relative_to(context / 'src')}")
            if path.is_file() and not path.is_symlink():
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == path.read_bytes()


def test_the_key_does_not_depend_on_the_base(ground: Yard, tmp_path: Path) -> None:
    one = base_of(ground, tmp_path / "1.tar", tars.file("etc/one"))
    two = base_of(ground, tmp_path / "2.tar", tars.file("etc/two"))
    copied = [ground.copy("src", to="/app", base=base) for base in (one, two)]
    assert copied[0].key == copied[1].key
    assert copied[0].result.layer == copied[1].result.layer
    assert copied[0].filesystem.layers != copied[1].filesystem.layers


@pytest.mark.parametrize(
    "members",
    [
        [tars.directory("app")],
        [tars.symlink("app", "srv")],
        [tars.directory("srv"), tars.symlink("app", "srv")],
    ],
)
def test_the_key_depends_on_what_the_base_says_of_the_destination(
    ground: Yard, tmp_path: Path, members: list[tars.Member]
) -> None:
    base = base_of(ground, tmp_path / "b.tar", *members)
    assert ground.copy("src", to="/app/", base=base).key != ground.copy("src", to="/app/").key


def test_what_the_key_says(ground: Yard) -> None:
    values = ground.copy(".", to="/app/").ingredients.values
    digest = hashlib.sha256(b"a").hexdigest()
    assert values["file a.txt"] == f"0644 0:0 sha256:{digest}"
    assert values["file src/link"] == "0777 0:0 link to b.py"
    assert values["file src/deep"] == "0755 0:0 directory"
    assert values["destination"] == "/app/"
    assert values["directories to make"] == "/app"
    assert values["source date epoch"] == str(EPOCH)


def test_what_changes_the_key(ground: Yard, context: Path) -> None:
    before = ground.copy("src", to="/app").key
    os.utime(context / "src" / "b.py", (5, 5))
    (context / "src" / "b.py").chmod(0o664)
    assert ground.copy("src", to="/app").key == before, "neither times nor the write bits of others"
    (context / "src" / "b.py").chmod(0o755)
    changed = ground.copy("src", to="/app")
    assert changed.key != before
    assert changed.ingredients.values["file src/b.py"].startswith("0755 0:0 ")
    (context / "src" / "b.py").chmod(0o644)
    assert ground.copy("src", to="/app").key == before
    (context / "src" / "empty").mkdir()
    assert ground.copy("src", to="/app").key != before
    (context / "src" / "empty").rmdir()
    (context / "src" / "link").unlink()
    (context / "src" / "link").symlink_to("run")
    assert ground.copy("src", to="/app").key != before


def test_owner_and_mode(ground: Yard, tmp_path: Path) -> None:
    passwd = b"root:x:0:0::/:/bin/sh\njoe:x:1001:1002::/:/bin/sh\n"
    base = base_of(
        ground, tmp_path / "b.tar", tars.file("etc/passwd", passwd), tars.file("etc/group", b"dev:x:77:\n")
    )
    tree = ground.tree(
        ground.copy("src", to="/app", base=base, chown="joe:dev", chmod="u=rwX,go=").filesystem
    )
    assert tree["app"] == ["dir", "0755", "1001:77"]
    assert tree["app/b.py"][:3] == ["file", "0600", "1001:77"]
    assert tree["app/deep"] == ["dir", "0700", "1001:77"]
    assert tree["app/link"][:3] == ["link", "", "1001:77"]
    by_number = ground.copy("src", to="/app", base=base, chown="1001:77", chmod="u=rwX,go=")
    assert ground.tree(by_number.filesystem) == tree
    with pytest.raises(InvalidArgument, match="unable to find user ann"):
        ground.copy("src", to="/app", base=base, chown="ann")
    with pytest.raises(InvalidArgument, match="unable to find group ops"):
        ground.copy("src", to="/app", base=base, chown="joe:ops")


def test_account_files_are_read_inside_the_root_only(ground: Yard, tmp_path: Path) -> None:
    base = base_of(
        ground, tmp_path / "b.tar", tars.symlink("etc", "/etc"), tars.symlink("passwd", "/etc/passwd")
    )
    with pytest.raises(InvalidArgument, match="unable to find user daemon"):
        ground.copy("src", to="/app", base=base, chown="daemon")


def test_parents(ground: Yard) -> None:
    tree = ground.tree(ground.copy("src/deep/c", "a.txt", to="/app/", parents=True).filesystem)
    assert sorted(tree) == ["app", "app/a.txt", "app/src", "app/src/deep", "app/src/deep/c"]
    tree = ground.tree(ground.copy("src/./deep/c", to="/app/", parents=True).filesystem)
    assert sorted(tree) == ["app", "app/deep", "app/deep/c"]


def test_exclude_and_ignore(tmp_path: Path, context: Path) -> None:
    with yard(tmp_path, context, ignore="src/deep\nz*\nsparse") as made:
        tree = made.tree(made.copy(".", to="/", exclude=("**/*.py", "src/l*")).filesystem)
        assert sorted(tree) == ["a.txt", "src", "src/run", "src/same", "src/z"]


def test_link_looks_nothing_up(ground: Yard, tmp_path: Path) -> None:
    base = base_of(ground, tmp_path / "b.tar", tars.directory("srv", 0o700), tars.symlink("app", "srv"))
    linked = ground.copy("src", to="/app/x", base=base, link=True)
    assert linked.key == ground.copy("src", to="/app/x", link=True).key
    with tarfile.open(fileobj=io.BytesIO(ground.tar(linked.result))) as archive:
        assert "app" not in archive.getnames(), "directories on the way are left to what is below"
    owned = ground.copy("a.txt", to="/own/", base=base, link=True, chown="5:6")
    assert ground.tree(owned.filesystem)["own"] == ["dir", "0755", "5:6"]


def test_heredocs(ground: Yard) -> None:
    def put(to: str, *names: str) -> dict[str, list[str]]:
        sources = tuple(FileSource(name=name, data=f"{name}\n") for name in names)
        operation = Files(sources=sources, destination=to, chmod="0750", chown="3")
        return ground.tree(ground.run(operation, [Filesystem()]).filesystem)

    assert put("/x/", "one", "two") == {
        "x": ["dir", "0755", "3:3"],
        "x/one": ["file", "0750", "3:3", b"one\n".hex()],
        "x/two": ["file", "0750", "3:3", b"two\n".hex()],
    }
    assert sorted(put("/x", "one")) == ["x"]


def test_a_file_may_be_called_what_a_heredoc_is(ground: Yard, context: Path) -> None:
    """`COPY . <<EOF /d/`: the file's contents are in the key, and in the layer."""
    heredoc = FileSource(name="EOF", data="text\n")
    operation = Files(sources=(FileSource(input=1, patterns=(".",)), heredoc), destination="/d/")
    copies = []
    for contents in ("one", "two"):
        (context / "<<EOF").write_text(contents)
        copies.append(ground.run(operation, [Filesystem(), ground.context]))
        assert ground.tree(copies[-1].filesystem)["d/<<EOF"][3] == contents.encode().hex()
    assert copies[0].key != copies[1].key
    assert {"file <<EOF", "heredoc EOF"} < set(copies[0].ingredients.values)


@pytest.mark.parametrize("name", [".wh.passwd", "x/.wh..wh..opq", ".", "..", "x/"])
def test_heredocs_have_names_of_files(ground: Yard, name: str) -> None:
    operation = Files(sources=(FileSource(name=name, data="text"),), destination="/d/")
    with pytest.raises(InvalidArgument, match=r"mean removal in a layer|is no name that a file can have"):
        ground.run(operation, [Filesystem()])


@pytest.mark.parametrize("link", [False, True])
def test_no_destination_means_removal(ground: Yard, context: Path, link: bool) -> None:
    for to in ("/etc/.wh.passwd", "/etc/.wh.d/", "/.wh..wh..opq/a.txt"):
        with pytest.raises(InvalidArgument, match="mean removal in a layer"):
            ground.copy("a.txt", to=to, link=link)
    (context / ".wh.passwd").symlink_to("a.txt")
    with pytest.raises(InvalidArgument, match="mean removal in a layer"):
        ground.copy(".wh.passwd", to="/etc/", link=link)
    with pytest.raises(InvalidArgument, match="mean removal in a layer"):
        ground.workdir("/srv/.wh.data", Filesystem())


def test_heredocs_of_one_name_are_all_in_the_key(ground: Yard) -> None:
    def key(*heredocs: tuple[str, str]) -> str:
        sources = tuple(FileSource(name=name, data=data) for name, data in heredocs)
        return ground.run(Files(sources=sources, destination="/d/"), [Filesystem()]).key

    texts = [("one", "two"), ("two", "two"), ("two", "one"), ("two",)]
    assert len({key(*(("EOF", text) for text in each)) for each in texts}) == len(texts)
    assert key(("a", "1"), ("x/a", "2")) != key(("x/a", "2"), ("a", "1")), "the last one is what is there"


def test_from_a_stage(ground: Yard, tmp_path: Path) -> None:
    stage = base_of(
        ground,
        tmp_path / "s.tar",
        tars.directory("opt", 0o751, uid=3),
        tars.file("opt/tool", b"tool", mode=0o4777, uid=4, gid=5, pax={"SCHILY.xattr.user.note": "kept"}),
        tars.hardlink("opt/also", "opt/tool"),
        tars.file("opt/old", b"", mtime=12),
    )
    copied = ground.copy("opt", to="/opt", source=stage)
    tree = ground.tree(copied.filesystem)
    assert tree["opt/tool"][:3] == ["file", "4777", "4:5"]
    with tarfile.open(fileobj=io.BytesIO(ground.tar(copied.result))) as archive:
        assert {member.mtime for member in archive} == {EPOCH}
        assert archive.getmember("opt/tool").islnk()
        assert archive.getmember("opt/also").pax_headers["SCHILY.xattr.user.note"] == "kept"
    assert "attributes user.note" in copied.ingredients.values["file opt/also"]
    again = ground.copy("opt", to="/opt", source=stage)
    assert again.key == copied.key
    assert ground.tar(again.result) == ground.tar(copied.result)


def test_from_several_layers(ground: Yard, tmp_path: Path) -> None:
    lower = base_of(
        ground, tmp_path / "1.tar", tars.directory("d", 0o700), tars.file("d/a"), tars.file("d/gone")
    )
    upper = base_of(ground, tmp_path / "2.tar", tars.file("d/b"), tars.file("d/.wh.gone"))
    stage = Filesystem((*lower.layers, *upper.layers))
    assert sorted(ground.tree(ground.copy("d", to="/x", source=stage).filesystem)) == ["x", "x/a", "x/b"]
    top = ground.tree(ground.copy("/", to="/", source=stage).filesystem)
    assert top["d"] == ["dir", "0700", "0:0"], "what a layer only implies keeps what is below it"
    with pytest.raises(NotFound, match="stat d/gone"):
        ground.copy("d/gone", source=stage)


def test_a_context_that_came_as_an_archive_is_like_a_directory(ground: Yard, tmp_path: Path) -> None:
    sent = base_of(
        ground,
        tmp_path / "c.tar",
        tars.directory("src", 0o775, uid=1000),
        tars.file("src/x", b"x", mode=0o664, uid=1000),
    )
    made = with_contexts(ground, {"": sent})
    tree = made.tree(made.copy("src", to="/app", source=sent).filesystem)
    assert tree["app/x"] == ["file", "0644", "0:0", "78"]
    image = with_contexts(ground, {"lib": sent})
    request = BuildRequest(context=None, contexts={"lib": ImageContext(reference="lib")})
    image.session = replace(image.session, request=request)
    assert image.tree(image.copy("src", to="/app", source=sent).filesystem)["app/x"][1:3] == [
        "0664",
        "1000:0",
    ]


def test_a_context_gives_no_capabilities(ground: Yard, context: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(context / "a.txt", "security.capability", capability)
    os.setxattr(context / "a.txt", "user.origin", b"somewhere")
    with tarfile.open(fileobj=io.BytesIO(ground.tar(ground.copy("a.txt").result))) as archive:
        assert not archive.getmember("x/a.txt").pax_headers


def test_nothing_that_matches_adds_no_layer(ground: Yard) -> None:
    copied = ground.copy("nothing*")
    assert copied.result.layer is None
    assert copied.filesystem == Filesystem()


def test_workdir(ground: Yard, tmp_path: Path) -> None:
    base = base_of(ground, tmp_path / "b.tar", tars.directory("srv", 0o700), tars.symlink("w", "/srv"))
    made = ground.workdir("/w/new/deep", base, user="5")
    assert made.ingredients.values["directories to make"] == "/srv/new /srv/new/deep"
    tree = ground.tree(made.filesystem)
    assert (tree["srv"], tree["srv/new/deep"]) == (["dir", "0700", "0:0"], ["dir", "0755", "5:5"])
    assert ground.workdir("/w/new", made.filesystem).result.layer is None
    assert ground.workdir("/", base).result.layer is None


# Archives


def add(
    made: Yard, context: Path, *members: tars.Member, to: str = "/x/", base: Filesystem | None = None
) -> Filesystem:
    (context / "add.tar").write_bytes(tars.make(*members))
    return made.copy("add.tar", to=to, base=base, unpack=True).filesystem


def sparse(path: Path, size: int, dialect: str) -> None:
    """An archive, by GNU tar, with a file that is one hole."""
    with (path.parent / "hole").open("wb") as file:
        file.truncate(size)
    command = ["tar", "--sparse", f"--format={dialect}", "-cf", str(path), "-C", str(path.parent), "hole"]
    subprocess.run(command, check=True)
    (path.parent / "hole").unlink()


@pytest.mark.parametrize("dialect", ["gnu", "posix"])
def test_a_file_of_an_archive_may_be_one_hole(ground: Yard, context: Path, dialect: str) -> None:
    sparse(context / "add.tar", 3_000_000, dialect)
    copied = ground.copy("add.tar", unpack=True)
    with tarfile.open(fileobj=io.BytesIO(ground.tar(copied.result))) as archive:
        hole = archive.extractfile("x/hole")
        assert hole is not None
        assert hole.read() == bytes(3_000_000)


def test_holes_without_end_are_refused(ground: Yard, context: Path) -> None:
    sparse(context / "add.tar", 1 << 40, "gnu")
    with pytest.raises(Malformed, match="more than 64 GiB of zeros"):
        ground.copy("add.tar", unpack=True)


@pytest.mark.parametrize("name", sorted(cases("/outside")))
def test_archives_stay_below_the_destination(ground: Yard, context: Path, tmp_path: Path, name: str) -> None:
    base = base_of(ground, tmp_path / "b.tar", tars.file("outside/file", b"untouched"), tars.directory("x"))
    before = ground.tree(base)
    try:
        tree = ground.tree(add(ground, context, *cases("/outside")[name], base=base))
    except Malformed:
        return
    assert {path: facts for path, facts in tree.items() if not path.startswith("x/")} == before


def test_archives_respect_links_below_them(ground: Yard, context: Path, tmp_path: Path) -> None:
    base = base_of(ground, tmp_path / "b.tar", tars.directory("usr/lib"), tars.symlink("lib", "usr/lib"))
    tree = ground.tree(add(ground, context, tars.file("lib/so", b"so"), to="/", base=base))
    assert tree["lib"][0] == "link"
    assert tree["usr/lib/so"][0] == "file"
    base = base_of(
        ground,
        tmp_path / "d.tar",
        tars.directory("x/usr/lib"),
        tars.symlink("x/usr/l", "lib"),
        tars.file("usr/lib/a"),
    )
    tree = ground.tree(add(ground, context, tars.directory("usr", 0o711), tars.file("usr/l/so"), base=base))
    assert (tree["x/usr/lib/so"][0], tree["x/usr"][1]) == ("file", "0711")


def test_members_of_archives(ground: Yard, context: Path) -> None:
    tree = ground.tree(
        add(
            ground,
            context,
            tars.directory("./", 0o700, uid=9),
            tars.file("deep/er/file", b"first", mode=0o640, uid=7),
            tars.file("deep/er/file", b"second", mode=0o600, uid=8),
            tars.hardlink("hard", "deep/er/file"),
            tars.symlink("soft", "hard"),
            tars.file("d/x"),
            tars.file("d", b"now a file"),
        )
    )
    assert tree["x"] == ["dir", "0755", "0:0"]
    assert tree["x/hard"] == tree["x/deep/er/file"] == ["file", "0600", "8:0", b"second".hex()]
    assert tree["x/deep"] == ["dir", "0755", "0:0"]
    assert tree["x/d"][0] == "file"
    assert "x/d/x" not in tree


def test_archives_of_one_name_are_all_in_the_key(ground: Yard, context: Path, tmp_path: Path) -> None:
    (context / "a.tar").write_bytes(tars.make(tars.file("of-the-context")))
    sources = tuple(FileSource(input=number, patterns=("a.tar",), unpack=True) for number in (2, 1))
    keys = set()
    for name in ("one", "two"):
        inner = tars.make(tars.file(name))
        other = base_of(ground, tmp_path / f"{name}.tar", tars.file("a.tar", inner))
        operation = Files(sources=sources, destination="/x/", is_add=True)
        keys.add(ground.run(operation, [Filesystem(), ground.context, other]).key)
    assert len(keys) == 2


def test_times_of_archives_are_clamped(ground: Yard, context: Path) -> None:
    value = add(ground, context, tars.file("old", mtime=12), tars.file("new", mtime=EPOCH + 5))
    with open(ground.layers.open_tar(value.layers[-1]), "rb") as file, tarfile.open(fileobj=file) as archive:
        assert {member.name: member.mtime for member in archive} == {"x": EPOCH, "x/old": 12, "x/new": EPOCH}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tars.file("a/../../up"), 'climbs with ".."'),
        (tars.file(".wh.passwd"), "mean removal"),
        (tars.Member("null", tarfile.CHRTYPE), "device 0:0"),
        (tars.hardlink("h", "nowhere"), "is no file before it"),
    ],
)
def test_hostile_members_are_refused(ground: Yard, context: Path, member: tars.Member, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        add(ground, context, member)
    assert os.listdir(ground.session.workshop.paths.ingest) == []


def test_archives_that_are_refused_leave_no_descriptors(ground: Yard, context: Path) -> None:
    (context / "a/b/c").mkdir(parents=True)
    (context / "a/b/c/x.tar").write_bytes(tars.make(tars.file("../up")))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Malformed, match="climbs"):
        ground.copy("a/b/c/x.tar", unpack=True)
    ground.copy("src/deep/c")
    assert len(os.listdir("/proc/self/fd")) == before


def test_damaged_archives_are_told(ground: Yard, context: Path) -> None:
    import gzip

    (context / "cut.tgz").write_bytes(gzip.compress(tars.make(tars.file("a", os.urandom(100_000))))[:50_000])
    with pytest.raises(Malformed, match=r"cut\.tgz"):
        ground.copy("cut.tgz", unpack=True)
    assert os.listdir(ground.session.workshop.paths.ingest) == []


def test_what_is_missing_is_told_in_dockers_words(ground: Yard) -> None:
    words = (
        r" failed: file not found in build context or excluded by \.dockerignore:"
        r" stat nope: file does not exist"
    )
    with pytest.raises(NotFound, match="^COPY" + words):
        ground.copy("nope")
    with pytest.raises(NotFound, match="^ADD" + words):
        ground.copy("nope", unpack=True)


def test_files_that_are_no_archives_are_copied(ground: Yard, context: Path) -> None:
    (context / "empty.tar").write_bytes(bytes(10240))
    (context / "words.gz").write_bytes(b"\x1f\x8bnot really")
    tree = ground.tree(ground.copy("empty.tar", "words.gz", "a.txt", unpack=True).filesystem)
    assert sorted(tree) == ["x", "x/a.txt", "x/empty.tar", "x/words.gz"]


# Faults


def test_cancelling_leaves_nothing(ground: Yard) -> None:
    operation = Files(sources=(FileSource(input=1, patterns=(".",)),), destination="/x/")
    inputs: list[Value] = [Filesystem(), ground.context]
    step = ground.files(operation, inputs)
    step.ingredients(inputs)
    ground.session.cancellation.cancel("enough")
    with pytest.raises(Cancelled):
        step.run(inputs, ground.console())
    assert os.listdir(ground.session.workshop.paths.ingest) == []
    assert ground.layers.list() == []


def test_large_files_take_no_memory(ground: Yard, context: Path) -> None:
    import tracemalloc

    with (context / "large").open("wb") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    try:
        copied = ground.copy("large")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert copied.result.layer is not None
    assert ground.layers.get(copied.result.layer).size > 200 << 20


def test_unchanged_contexts_are_not_read(ground: Yard, context: Path) -> None:
    time.sleep(0.15)
    operation = Files(sources=(FileSource(input=1, patterns=(".",)),), destination="/x/")
    inputs: list[Value] = [Filesystem(), ground.context]
    keys = [ground.files(operation, inputs).ingredients(inputs).key() for _ in range(2)]
    reads = int(Path("/proc/self/io").read_text().split()[1])
    keys.append(ground.files(operation, inputs).ingredients(inputs).key())
    assert int(Path("/proc/self/io").read_text().split()[1]) - reads < 100_000
    assert len(set(keys)) == 1


def test_devices_keep_what_they_are(ground: Yard, tmp_path: Path) -> None:
    stage = base_of(
        ground, tmp_path / "s.tar", tars.Member("dev/null", tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    )
    with tarfile.open(fileobj=io.BytesIO(ground.tar(ground.copy("dev", source=stage).result))) as archive:
        member = archive.getmember("x/null")
    assert (member.ischr(), member.devmajor, member.devminor, stat.S_IMODE(member.mode)) == (
        True,
        1,
        3,
        0o666,
    )
