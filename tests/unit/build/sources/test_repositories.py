"""Git repositories as contexts and in ADD: what a ref means, the layer it becomes, hostile ones."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from carboy.build.graph import Git, Vertex
from carboy.build.operations.git import GitStep
from carboy.build.progress import Cancellation, Console
from carboy.build.request import BuildRequest, RemoteContext
from carboy.build.session import EPOCH, Workshop
from carboy.build.sources import remotes
from carboy.build.sources.contexts import ContextOpener
from carboy.build.sources.gitlayer import LayerLimits, joined
from carboy.build.sources.http import Fetcher
from carboy.build.sources.images import StoredBases
from carboy.build.sources.reading import read_dockerfile
from carboy.build.sources.repositories import Fetched, Repositories, Wanted
from carboy.digest import Digest
from carboy.errors import CarboyError, Corrupt, InvalidArgument, NotFound, PermissionDenied, Unavailable
from carboy.formats.tar import SYMLINK, TarEntry, scan
from support.building import NoExecutor, Workplace
from support.gitserver import TIME, Content, GitServer, RealGitServer, Repository

FILES: Mapping[str, Content] = {
    "Dockerfile": b"FROM scratch\n",
    "run.sh": (0o100755, b"#!/bin/sh\n"),
    "docs/a.txt": b"a",
    "docs/deep/b.txt": b"b" * 3000,
    "link": ("link", "docs/a.txt"),
    "out": ("link", "/etc"),
    "up": ("link", "../../.."),
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def workshop(place: Workplace) -> Workshop:
    return Workshop(place.paths, place.database, place.layers, place.content, NoExecutor())


def repositories(place: Workplace, *, secrets: Mapping[str, bytes] | None = None) -> Repositories:
    fetcher = Fetcher(proxies={}, cancellation=Cancellation())
    return Repositories(workshop(place), fetcher, agents={}, secrets=secrets)


def fetch(place: Workplace, url: str, ref: str = "", subdir: str = "", **more: bool) -> Fetched:
    wanted = Wanted(url=url, ref=ref, subdir=subdir, **more)  # type: ignore[arg-type]  # keywords of Wanted
    return repositories(place).fetch(wanted, told=lambda *_: None)


def entries(place: Workplace, layer: Digest) -> dict[str, TarEntry]:
    descriptor = place.layers.open_tar(layer)
    try:
        found = scan(lambda offset, size: os.pread(descriptor, size, offset))
        return {os.fsdecode(entry.unsafe_path).rstrip("/"): entry for entry in found}
    finally:
        os.close(descriptor)


def content(place: Workplace, layer: Digest, name: str) -> bytes:
    entry = entries(place, layer)[name]
    descriptor = place.layers.open_tar(layer)
    try:
        return os.pread(descriptor, entry.size, entry.data_offset)
    finally:
        os.close(descriptor)


def serving(*trees: Mapping[str, Content]) -> tuple[GitServer, Repository, list[str]]:
    repository = Repository()
    commits = [repository.commit(files, time=TIME + number) for number, files in enumerate(trees)]
    return GitServer({"p.git": repository}), repository, commits


# The layer


def test_a_commit_becomes_a_layer_without_a_checkout(place: Workplace) -> None:
    server, _, [commit] = serving(FILES)
    with server:
        fetched = fetch(place, f"{server.url}/p.git")
    assert (fetched.commit, fetched.commit_time) == (commit, TIME)
    found = entries(place, fetched.layer)
    assert list(found) == [
        *("Dockerfile", "docs", "docs/a.txt", "docs/deep", "docs/deep/b.txt"),
        *("link", "out", "run.sh", "up"),
    ]
    assert [oct(found[name].mode) for name in ("Dockerfile", "run.sh", "docs")] == ["0o644", "0o755", "0o755"]
    assert (found["out"].kind, found["out"].link) == (SYMLINK, b"/etc")
    assert {(entry.uid, entry.gid, entry.mtime) for entry in found.values()} == {(0, 0, TIME)}
    assert content(place, fetched.layer, "docs/deep/b.txt") == b"b" * 3000
    assert os.listdir(place.paths.ingest) == []


def test_both_protocols_give_the_same_layer(place: Workplace) -> None:
    server, _, _ = serving(FILES)
    with server:
        assert fetch(place, f"{server.url}/p.git") == fetch_as(place, f"{server.git_url}/p.git", server)


def fetch_as(place: Workplace, url: str, server: GitServer) -> Fetched:
    """Fetch over one protocol, recorded as if over the other."""
    fetched = fetch(place, url)
    record = {**fetched.record, "repository": f"{server.url}/p.git"}
    return Fetched(fetched.layer, fetched.commit, fetched.commit_time, record)


def test_objects_that_are_deltas_come_whole(place: Workplace) -> None:
    """dulwich sends the second of two alike files as a delta."""
    text = b"".join(b"line %d\n" % number for number in range(5000))
    server, _, _ = serving({f"f{n}": text + b"end %d" % n for n in range(20)})
    with server:
        fetched = fetch(place, f"{server.url}/p.git")
    assert content(place, fetched.layer, "f7") == text + b"end 7"


# Refs


def test_refs_are_what_git_means(place: Workplace) -> None:
    server, repository, commits = serving({"a": b"1"}, {"a": b"2"}, {"a": b"3"})
    first, second, last = commits
    repository.set_ref("refs/heads/both", first)
    repository.set_ref("refs/tags/both", second)
    repository.set_ref("refs/pull/7/head", second)
    repository.tag("v1", first)
    wanted = {
        "": last,
        "main": last,
        "both": first,
        "refs/tags/both": second,
        "v1": first,
        "refs/pull/7/head": second,
        "pull/7/head": second,
        first: first,
        last: last,
        first[:9]: first,
    }
    with server:
        for ref, commit in wanted.items():
            assert fetch(place, f"{server.url}/p.git", ref).commit == commit, ref
        for missing in ("nothing", "refs/heads/nothing", "f" * 40, "f" * 8):
            with pytest.raises(NotFound, match=f"{missing}"):
                fetch(place, f"{server.url}/p.git", missing)


@pytest.mark.parametrize(
    "ref", ["--upload-pack=id", "a..b", "a b", "a~1", "a^", "a:b", "/a", "a\\b", "a\0b", "x" * 2000]
)
def test_refs_that_none_can_be_are_refused(place: Workplace, ref: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid git ref"):
        fetch(place, "http://127.0.0.1:1/p.git", ref)


def test_a_checksum_holds(place: Workplace) -> None:
    server, repository, [first, second] = serving({"a": b"1"}, {"a": b"2"})
    repository.set_ref("refs/tags/v1", first)
    with server:
        url = f"{server.url}/p.git"
        good = Wanted(url=url, ref="v1", checksum=first[:10])
        assert repositories(place).resolve(good).commit == first
        with pytest.raises(InvalidArgument, match=f"expected checksum to match {second}, got {first}"):
            repositories(place).resolve(Wanted(url=url, ref="v1", checksum=second))


# Subdirectories: buildkit 2026-33748


def test_a_subdirectory_is_the_root(place: Workplace) -> None:
    server, _, _ = serving(FILES)
    with server:
        fetched = fetch(place, f"{server.url}/p.git", subdir="docs/deep")
        assert list(entries(place, fetched.layer)) == ["b.txt"]
        assert fetch(place, f"{server.url}/p.git", subdir="./docs//deep/").layer == fetched.layer


@pytest.mark.parametrize(
    "subdir",
    [
        "..",
        "../etc",
        "docs/../..",
        "/etc",
        "docs/../../x",
        "a\\..\\b",
        "docs/\0",
        "/",
        "link",
        "out",
        "up",
        "out/x",
    ],
)
def test_subdirectories_that_lead_elsewhere_are_refused(place: Workplace, subdir: str) -> None:
    server, _, _ = serving(FILES)
    with server:
        if subdir == "/":
            assert "Dockerfile" in entries(place, fetch(place, f"{server.url}/p.git", subdir=subdir).layer)
            return
        with pytest.raises(InvalidArgument, match=r"leaves it|symbolic link"):
            fetch(place, f"{server.url}/p.git", subdir=subdir)


def test_subdirectories_that_are_none_are_told(place: Workplace) -> None:
    server, _, _ = serving(FILES)
    with server:
        with pytest.raises(NotFound, match="subdir not found in the repository: docs/none"):
            fetch(place, f"{server.url}/p.git", subdir="docs/none/x")
        with pytest.raises(InvalidArgument, match="is no directory"):
            fetch(place, f"{server.url}/p.git", subdir="docs/a.txt")


# Submodules


def test_submodules_come_with_it(place: Workplace) -> None:
    inner, module, main = Repository(), Repository(), Repository()
    deep = inner.commit({"deep": b"deep"})
    server = GitServer({"p.git": main, "module.git": module, "sub/inner.git": inner})
    modules = b'[submodule "i"]\n\tpath = in\n\turl = ../sub/inner.git\n'
    one = module.commit({".gitmodules": modules, "in": ("module", deep), "file": b"module"})
    address = f'[submodule "m"]\n\tpath = libs/m\n\turl = "{server.url}/module.git"\n'.encode()
    main.commit({".gitmodules": address, "libs/m": ("module", one), "libs/x": b"x", "y": b"y"})
    with server:
        whole = fetch(place, f"{server.url}/p.git")
        assert content(place, whole.layer, "libs/m/in/deep") == b"deep"
        assert whole.record["submodule libs/m"] == one
        below = fetch(place, f"{server.url}/p.git", subdir="libs")
        assert set(entries(place, below.layer)) == {"m", "m/.gitmodules", "m/file", "m/in", "m/in/deep", "x"}
        without = fetch(place, f"{server.url}/p.git", submodules=False)
        assert "libs/m/file" not in entries(place, without.layer)


@pytest.mark.parametrize(
    ("parent", "url", "address"),
    [
        ("https://h/a/b.git", "../c.git", "https://h/a/c.git"),
        ("https://u:p@h:8443/a/b.git/", "./../../d/c.git/", "https://u:p@h:8443/d/c.git"),
        ("ssh://git@h/a/b.git", "../c.git", "ssh://git@h/a/c.git"),
        ("ssh://git@h:22/a/b.git", "./c.git", "ssh://git@h:22/a/b.git/c.git"),
        ("git://h/a/b.git", "../../../../c.git", "git://h/c.git"),
        ("git://h", "../c.git", "git://h/c.git"),
        ("git@h:a/b.git", "../c.git", "git@h:a/c.git"),
        ("git@h:a/b.git", "https://h/x.git", "https://h/x.git"),
    ],
)
def test_relative_addresses_of_submodules(parent: str, url: str, address: str) -> None:
    assert joined(parent, url) == address


@pytest.mark.parametrize(
    "url", ["file:///etc", "/srv/x.git", "ext::sh -c id", "-u./x", "C:\\x", "ssh://-oProxyCommand=id/x", ""]
)
def test_hostile_addresses_of_submodules_are_refused(place: Workplace, url: str) -> None:
    server, repository, [commit] = serving({"a": b"a"})
    modules = f'[submodule "m"]\n\tpath = m\n\turl = {url}\n'.encode()
    repository.commit({".gitmodules": modules, "m": ("module", commit)})
    with server, pytest.raises((InvalidArgument, NotFound)):
        fetch(place, f"{server.url}/p.git")


def test_a_submodule_of_itself_comes_to_an_end(place: Workplace) -> None:
    repository = Repository()
    server = GitServer({"p.git": repository})
    first = repository.commit({"a": b"a"})
    for _ in range(12):
        modules = b'[submodule "m"]\n\tpath = m\n\turl = ../p.git\n'
        first = repository.commit({".gitmodules": modules, "m": ("module", first)})
    with server, pytest.raises(InvalidArgument, match="too many submodules"):
        fetch(place, f"{server.url}/p.git")


def test_a_submodule_without_an_address_is_told(place: Workplace) -> None:
    server, _, _ = serving({"m": ("module", "a" * 40)})
    with server, pytest.raises(NotFound, match="no url found for submodule path 'm'"):
        fetch(place, f"{server.url}/p.git")


# Hostile repositories


@pytest.mark.parametrize(
    "name",
    [
        b"..",
        b".",
        b".git",
        b".GIT",
        b".git ",
        b".git.",
        b"git~1",
        b".git::$INDEX",
        b".g\xe2\x80\x8cit",
        b"a/b",
        b".wh.x",
        b"x" * 300,
    ],
)
def test_names_that_lead_elsewhere_are_refused(place: Workplace, name: bytes) -> None:
    repository = Repository()
    blob = repository.blob(b"evil")
    inside = repository.raw_tree([(name, 0o100644, blob)])
    repository.commit_tree(repository.raw_tree([(b"d", 0o040000, inside), (b"ok", 0o100644, blob)]))
    with (
        GitServer({"p.git": repository}) as server,
        pytest.raises(Corrupt, match="git: the repository holds"),
    ):
        fetch(place, f"{server.url}/p.git")
    assert place.layers.list() == []
    assert os.listdir(place.paths.ingest) == []


def test_a_link_and_a_directory_of_one_name_are_refused(place: Workplace) -> None:
    """What lies below the link would be written through it by a checkout."""
    repository = Repository()
    blob = repository.blob(b"/etc")
    inside = repository.raw_tree([(b"passwd", 0o100644, blob)])
    repository.commit_tree(repository.raw_tree([(b"a", 0o120000, blob), (b"a", 0o040000, inside)]))
    with GitServer({"p.git": repository}) as server, pytest.raises(Corrupt, match="twice in one directory"):
        fetch(place, f"{server.url}/p.git")


def test_a_tree_of_great_depth_is_refused(place: Workplace) -> None:
    repository = Repository()
    tree = repository.raw_tree([(b"f", 0o100644, repository.blob(b""))])
    for _ in range(300):
        tree = repository.raw_tree([(b"d", 0o040000, tree)])
    repository.commit_tree(tree)
    with GitServer({"p.git": repository}) as server, pytest.raises(Corrupt, match="too deep"):
        fetch(place, f"{server.url}/p.git")


def bomb(repository: Repository, levels: int) -> bytes:
    """A tree that comes to 10 ** levels files, with one object for each level."""
    tree = repository.raw_tree([(b"f", 0o100644, repository.blob(b"x" * 1000))])
    for _ in range(levels):
        tree = repository.raw_tree([(b"%d" % number, 0o040000, tree) for number in range(10)])
    return tree


def bounded(place: Workplace, limits: LayerLimits, wanted: Wanted) -> Fetched:
    fetcher = Fetcher(proxies={}, cancellation=Cancellation())
    return Repositories(workshop(place), fetcher, agents={}, limits=limits).fetch(
        wanted, told=lambda *_: None
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (LayerLimits(entries=1000), "more than 1000 files"),
        (LayerLimits(names=1000), "more than 1000 bytes"),
        (LayerLimits(slack=100_000, ratio=20), "a repository of [0-9]+ bytes becomes 10[0-9]+: that is"),
    ],
)
@pytest.mark.parametrize("keep_git_dir", [False, True])
def test_trees_that_name_one_tree_many_times_are_bounded(
    place: Workplace, limits: LayerLimits, message: str, keep_git_dir: bool
) -> None:
    repository = Repository()
    repository.commit_tree(bomb(repository, 3))
    with GitServer({"p.git": repository}) as server:
        wanted = Wanted(url=f"{server.url}/p.git", submodules=False, keep_git_dir=keep_git_dir)
        with pytest.raises(Corrupt, match=message):
            bounded(place, limits, wanted)
        assert os.listdir(place.paths.ingest) == []
        assert "1/2/3/f" in entries(place, bounded(place, LayerLimits(), wanted).layer)


def test_looking_for_submodules_is_bounded(place: Workplace) -> None:
    """They are looked for in all of a repository, even if only a directory is wanted."""
    repository = Repository()
    small = repository.raw_tree([(b"f", 0o100644, repository.blob(b""))])
    repository.commit_tree(
        repository.raw_tree([(b"large", 0o040000, bomb(repository, 3)), (b"small", 0o040000, small)])
    )
    modules = repository.raw_tree([(b"%d" % number, 0o160000, b"a" * 40) for number in range(201)])
    repository.commit_tree(modules, branch="modules")
    limits = LayerLimits(entries=1000)
    with GitServer({"p.git": repository}) as server:
        wanted = Wanted(url=f"{server.url}/p.git", ref="main", subdir="small")
        with pytest.raises(Corrupt, match="more than 1000 files"):
            bounded(place, limits, wanted)
        alone = bounded(place, limits, replace(wanted, submodules=False))
        assert list(entries(place, alone.layer)) == ["f"]
        with pytest.raises(InvalidArgument, match="more than 200 submodules"):
            fetch(place, f"{server.url}/p.git", "modules")


def test_modes_that_git_does_not_have_are_refused(place: Workplace) -> None:
    repository = Repository()
    repository.commit_tree(repository.raw_tree([(b"dev", 0o020666, repository.blob(b""))]))
    with GitServer({"p.git": repository}) as server, pytest.raises(Corrupt, match="of the mode 20666"):
        fetch(place, f"{server.url}/p.git")


def test_links_to_nowhere_possible_are_refused(place: Workplace) -> None:
    server, _, _ = serving({"l": ("link", "a\0b")})
    with server, pytest.raises(Corrupt, match="leads to no possible path"):
        fetch(place, f"{server.url}/p.git")


# Servers


def test_what_is_no_repository_is_told(place: Workplace) -> None:
    from support.webserver import Reply, WebServer

    with WebServer() as server:
        server.answers["/p.git/info/refs"] = Reply(b"<html>", headers={"Content-Type": "text/html"})
        with pytest.raises(NotFound, match="no git repository answers there"):
            fetch(place, f"{server.url}/p.git")
        with pytest.raises(NotFound, match="404"):
            fetch(place, f"{server.url}/q.git")
        smart = {"Content-Type": "application/x-git-upload-pack-advertisement"}
        for rubbish in (
            b"",
            b"zzzz",
            b"0004",
            b"001e# service=git-upload-pack\n0000ffff",
            b"000eversion 2\n",
        ):
            server.answers["/p.git/info/refs"] = Reply(rubbish, headers=smart)
            with pytest.raises(CarboyError):
                fetch(place, f"{server.url}/p.git")
    for url in ("http://127.0.0.1:1/p.git", "git://127.0.0.1:1/p.git"):
        with pytest.raises(Unavailable, match="cannot be reached"):
            fetch(place, url)


def test_ssh_needs_an_agent(place: Workplace) -> None:
    for url in ("ssh://git@127.0.0.1/p.git", "git@127.0.0.1:p.git"):
        with pytest.raises(InvalidArgument, match="build with --ssh default"):
            fetch(place, url)


def test_tokens_go_to_their_host_only(place: Workplace) -> None:
    """BuildKit's names of secrets; an address' own credentials come first, and are shown nowhere."""
    token = "Basic " + base64.b64encode(b"x-access-token:hunter2").decode()
    server, repository, _ = serving(FILES)
    with server, GitServer({"p.git": repository}, authorization=token) as closed:
        wanted = Wanted(url=f"{closed.url}/p.git")
        with pytest.raises(PermissionDenied, match="GIT_AUTH_TOKEN"):
            repositories(place).fetch(wanted, told=lambda *_: None)
        named = repositories(place, secrets={"GIT_AUTH_TOKEN.127.0.0.1": b"hunter2\n"})
        fetched = named.fetch(wanted, told=lambda *_: None)
        plain = repositories(place, secrets={"GIT_AUTH_TOKEN": b"hunter2\n"})
        assert plain.fetch(wanted, told=lambda *_: None) == fetched
        header = repositories(place, secrets={"GIT_AUTH_HEADER": token.encode()})
        assert header.fetch(wanted, told=lambda *_: None) == fetched
        other = repositories(place, secrets={"GIT_AUTH_TOKEN.example.test": b"hunter2"})
        other.fetch(Wanted(url=f"{server.url}/p.git"), told=lambda *_: None)
        assert set(server.authorizations) == {""}
        address = closed.url.replace("http://", "http://x-access-token:hunter2@")
        told: list[object] = []
        fetched = repositories(place).fetch(
            Wanted(url=f"{address}/p.git"), told=lambda *event: told.append(event)
        )
        assert "hunter2" not in f"{fetched} {told} {Wanted(url=f'{address}/p.git')!r}"


def test_errors_show_no_credentials(place: Workplace) -> None:
    """buildkit 2023-26054."""
    server, _, _ = serving(FILES)
    with server:
        address = server.url.replace("http://", "http://someone:hunter2@")
        for url, ref in (
            (f"{address}/p.git", "missing"),
            (f"{address}/q.git", ""),
            ("http://someone:hunter2@127.0.0.1:1/p.git", ""),
            ("git://someone:hunter2@127.0.0.1:1/p.git", ""),
        ):
            with pytest.raises(CarboyError) as caught:
                fetch(place, url, ref)
            assert "hunter2" not in str(caught.value)


# .git


def test_the_git_directory_is_the_same_every_time(place: Workplace) -> None:
    server, repository, commits = serving({"a": b"1"}, FILES)
    with server:
        one = fetch(place, f"{server.url}/p.git", "main", keep_git_dir=True)
        assert (
            fetch(place, f"{server.git_url}/p.git", "main", keep_git_dir=True).layer != one.layer
        )  # its url
        repository.commit({"b": b"2"}, branch="other")
        assert fetch(place, f"{server.url}/p.git", "main", keep_git_dir=True).layer == one.layer
    assert content(place, one.layer, ".git/HEAD") == b"ref: refs/heads/main\n"
    assert content(place, one.layer, ".git/refs/heads/main") == commits[-1].encode() + b"\n"
    assert content(place, one.layer, ".git/shallow") == commits[-1].encode() + b"\n"


def test_the_git_directory_holds_no_credentials(place: Workplace) -> None:
    server, _, _ = serving(FILES)
    with server:
        address = server.url.replace("http://", "http://someone:hunter2@")
        fetched = fetch(place, f"{address}/p.git", keep_git_dir=True)
    assert b"hunter2" not in content(place, fetched.layer, ".git/config")


# As a step, and as a context


def test_the_step_asks_for_the_commit_and_fetches_once(place: Workplace) -> None:
    server, _, [commit] = serving(FILES)
    session = place.session(BuildRequest(context=None))
    with server:
        operation = Git(url=f"{server.url}/p.git", ref="main", subdir="docs")
        vertex = Vertex(index=0, operation=operation, name="ADD")
        step = GitStep(vertex, session)
        ingredients = step.ingredients(())
        asked = len(server.authorizations)
        assert asked == 1
        assert ingredients.values == {
            "repository": f"{server.url}/p.git",
            "commit": commit,
            "subdirectory": "docs",
        }
        result = step.run((), Console(session.reporter, vertex, session.cancellation))
        pinned = GitStep(Vertex(index=0, operation=Git(url=operation.url, ref=commit), name="ADD"), session)
        asked = len(server.authorizations)
        assert pinned.ingredients(()).values["commit"] == commit
        assert len(server.authorizations) == asked
    assert result.layer is not None
    assert {entry.mtime for entry in entries(place, result.layer).values()} == {EPOCH}
    assert result.record["commit"] == commit


def test_a_repository_is_a_context(place: Workplace) -> None:
    files: dict[str, Content] = {**FILES, ".dockerignore": b"docs\n"}
    server, _, [commit] = serving(files)
    bases = StoredBases(images=None, host_platform="linux/amd64")  # type: ignore[arg-type]  # none is asked for
    with server:
        opener = ContextOpener(workshop=workshop(place), bases=bases, cancellation=Cancellation())
        opened = opener.open(RemoteContext(url=f"{server.url}/p.git#main"))
        below = opener.open(RemoteContext(url=f"{server.url}/p.git#main:docs"))
        with pytest.raises(InvalidArgument):
            opener.open(RemoteContext(url=f"{server.url}/p.git#main:../../etc"))
    assert opened.commit_time == TIME
    assert opened.record["commit"] == commit
    assert "docs" not in entries(place, opened.value.layers[0])  # type: ignore[union-attr]
    assert read_dockerfile(opened.origin, place.layers)[1] == FILES["Dockerfile"]
    assert list(entries(place, below.value.layers[0])) == ["a.txt", "deep", "deep/b.txt"]  # type: ignore[union-attr]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to serve")
def test_gits_own_server_over_http(place: Workplace, tmp_path: Path) -> None:
    """Version 2 of the protocol, commits that no ref names, deltas of its making, a `.git` that it likes."""
    source = tmp_path / "served" / "p.git"
    source.mkdir(parents=True)
    who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}

    def git(*arguments: str, cwd: Path = source) -> str:
        environment = {**os.environ, **who, **trusted}
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, check=True, env=environment, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    text = "".join(f"line {number}\n" for number in range(3000))
    for number in range(30):
        (source / f"f{number}").write_text(text + str(number))
    (source / "run").symlink_to("f1")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "-am", "tagged", "v1")
    first = git("rev-parse", "HEAD")
    (source / "f1").write_text("changed\n")
    git("commit", "-qam", "two")
    with RealGitServer(str(tmp_path / "served")) as server:
        url = f"{server.url}/p.git"
        layers = {fetch(place, url, ref).layer for ref in ("v1", first, first[:8])}
        assert len(layers) == 1
        assert content(place, layers.pop(), "f7") == (text + "7").encode()
        with pytest.raises(NotFound, match=f"no commit {'f' * 40} there"):
            fetch(place, url, "f" * 40)
        kept = fetch(place, url, "main", keep_git_dir=True)
        assert set(server.protocols) == {"version=2"}
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    descriptor = place.layers.open_tar(kept.layer)
    subprocess.run(["tar", "-x", "-C", str(unpacked)], stdin=descriptor, check=True)
    os.close(descriptor)
    assert git("status", "--porcelain", cwd=unpacked) == ""
    assert git("fsck", "--strict", cwd=unpacked) == ""
    assert git("describe", "--always", "--dirty", cwd=unpacked) == git("rev-parse", "--short", "HEAD")


# ssh


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > {log}
for last; do :; done
exec sh -c "$last"
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to answer behind ssh")
def test_ssh_is_run_with_the_agent_and_nothing_of_the_daemons(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, programs, log = tmp_path / "it's.git", tmp_path / "bin", tmp_path / "log"
    source.mkdir()
    who = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    (source / "a").write_text("over ssh\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *arguments], cwd=source, check=True, env={**os.environ, **who})
    programs.mkdir()
    (programs / "ssh").write_text(FAKE_SSH.format(log=log))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    fetcher = Fetcher(proxies={}, cancellation=Cancellation())
    over_ssh = Repositories(workshop(place), fetcher, agents={"default": "/run/agent.sock"})
    wanted = Wanted(url=f"ssh://me@host.test:2222{source}")
    fetched = over_ssh.fetch(wanted, told=lambda *_: None)
    assert content(place, fetched.layer, "a") == b"over ssh\n"
    said = log.read_text()
    for option in (
        "-F\nnone",
        "BatchMode=yes",
        "IdentityAgent=/run/agent.sock",
        "IdentityFile=none",
        "-p\n2222",
    ):
        assert option in said
    assert "StrictHostKeyChecking=yes" in said
    assert over_ssh.fetch(Wanted(url=f"me@host.test:{source}"), told=lambda *_: None).layer == fetched.layer
    for hostile in ("ssh://-oProxyCommand=id/p.git", "ssh://-oX@host/p.git", "-oX@host:p.git"):
        log.unlink(missing_ok=True)
        with pytest.raises(CarboyError):
            over_ssh.fetch(Wanted(url=hostile), told=lambda *_: None)
        assert not log.exists()
    strange = Repositories(workshop(place), fetcher, agents={"default": "/run/a -oProxyCommand=id"})
    with pytest.raises(InvalidArgument, match="not safe"):
        strange.fetch(wanted, told=lambda *_: None)


def test_what_ssh_says_is_told_and_it_is_gone(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\necho 'Host key verification failed.' >&2\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fetcher = Fetcher(proxies={}, cancellation=Cancellation())
    over_ssh = Repositories(workshop(place), fetcher, agents={"default": "/run/agent.sock"})
    with pytest.raises(CarboyError, match="Host key verification failed"):
        over_ssh.fetch(Wanted(url="git@host.test:p.git"), told=lambda *_: None)
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 600\n")
    timer = threading.Timer(0.3, fetcher.cancellation.cancel, ("enough",))
    timer.start()
    with pytest.raises(CarboyError, match="enough"):
        over_ssh.fetch(Wanted(url="git@host.test:p.git"), told=lambda *_: None)
    timer.join()


def test_endless_talk_before_a_pack_is_refused(place: Workplace) -> None:
    from support.webserver import Reply, WebServer

    tip = b"a" * 40
    refs = tip + b" HEAD\0shallow side-band-64k ofs-delta symref=HEAD:refs/heads/main\n"
    advertised = b"001e# service=git-upload-pack\n0000" + b"%04x" % (len(refs) + 4) + refs + b"0000"
    shallow = b"0035shallow " + tip + b"\n"
    with WebServer() as server:
        for name, kind, body in (
            ("info/refs", "advertisement", advertised),
            ("git-upload-pack", "result", shallow * (1 + remotes.REFS_LIMIT // len(shallow))),
        ):
            headers = {"Content-Type": f"application/x-git-upload-pack-{kind}"}
            server.answers[f"/p.git/{name}"] = Reply(body, headers=headers)
        with pytest.raises(InvalidArgument, match="is larger than"):
            fetch(place, f"{server.url}/p.git", tip.decode())


@pytest.mark.parametrize("protocol", ["git", "http"])
def test_endless_lists_of_refs_are_refused(place: Workplace, protocol: str) -> None:
    line = b"0040" + b"a" * 40 + b" refs/heads/" + b"b" * 7 + b"\n"
    many = line * (1 << 15)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            stream, _ = listener.accept()
            with stream, contextlib.suppress(OSError):
                stream.recv(4096)
                if protocol == "http":
                    kind = b"application/x-git-upload-pack-advertisement"
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
                    stream.sendall(b"001e# service=git-upload-pack\n0000")
                while True:
                    stream.sendall(many)

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            with pytest.raises(InvalidArgument, match="list of refs is larger than"):
                fetch(place, f"{protocol}://127.0.0.1:{listener.getsockname()[1]}/p.git")
        finally:
            thread.join()
