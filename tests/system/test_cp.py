"""Files into and out of containers: the archive endpoints and `carboy cp`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from support import files
from support.commands import COMMAND, Home, home
from support.daemon import Daemon, RequestError, daemon
from support.tars import Member, directory, file, hardlink, make, symlink
from support.trees import same, tree_of

__all__ = ["daemon", "home"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
HOST = {"NetworkMode": "none"}
SLEEP = ("sleep", "1000")


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon").remove_all()


@pytest.fixture(params=["running", "created"])
def container(request: pytest.FixtureRequest, daemon: Daemon) -> str:
    """A container in a state in which files can be copied."""
    made = daemon.create(*SLEEP, host=HOST, name="subject")
    if request.param == "running":
        daemon.post(f"/containers/{made}/start")
    return made


TREE = [
    directory("tree", 0o750, uid=7, gid=8, mtime=1_000_000_000),
    file("tree/file", b"data" * 1000, mode=0o4751, uid=1000, gid=2000),
    hardlink("tree/again", "tree/file"),
    symlink("tree/link", "/somewhere/else"),
    file("tree/deep/er/x", b"x"),
    Member("tree/null", b"3", device=(1, 3), mode=0o666),
    Member("tree/pipe", b"6", mode=0o640),
    file("tree/attribute", b"", pax={"SCHILY.xattr.user.kind": "test"}),
]


class TestEndpoints:
    def test_a_tree_goes_in_and_comes_out_as_it_was(self, daemon: Daemon, container: str) -> None:
        files.put(daemon, container, "/tmp", make(*TREE))
        back = files.get(daemon, container, "/tmp/tree")
        found = files.members(back)
        assert list(found) == sorted(found, key=lambda name: name.split("/"))
        for member in TREE:
            if member.type == b"1":
                continue
            one = found[member.name]
            assert (one.mode, one.uid, one.gid, one.mtime) == (
                member.mode,
                member.uid,
                member.gid,
                member.mtime,
            )
        assert files.contents(back, "tree/again") == b"data" * 1000
        assert found["tree/file"].linkname == "tree/again"
        assert found["tree/link"].linkname == "/somewhere/else"
        assert (found["tree/null"].devmajor, found["tree/null"].devminor) == (1, 3)
        assert found["tree/attribute"].pax_headers["SCHILY.xattr.user.kind"] == "test"
        assert found["tree/deep"].mode == 0o755

    def test_the_status_of_a_path(self, daemon: Daemon, container: str) -> None:
        tree = [
            directory("d", 0o1777),
            file("d/f", b"12345", mode=0o4755),
            symlink("l", "d/f"),
            symlink("b", "no"),
        ]
        files.put(daemon, container, "/root", make(*tree))
        found = files.stat(daemon, container, "/root/d/f")
        assert found == {
            "name": "f",
            "size": 5,
            "mode": 1 << 23 | 0o755,
            "mtime": "2020-09-13T12:26:40Z",
            "linkTarget": "",
        }
        assert files.stat(daemon, container, "/root/d")["mode"] == 1 << 31 | 1 << 20 | 0o777
        link = files.stat(daemon, container, "/root/l")
        assert (link["mode"] & 1 << 27, link["linkTarget"]) == (1 << 27, "/root/d/f")
        assert files.stat(daemon, container, "/root/b")["linkTarget"] == "/root/no"
        assert files.stat(daemon, container, "/")["name"] == "/"
        assert files.stat(daemon, container, "/root/d/.")["name"] == "."

    def test_what_is_not_there(self, daemon: Daemon, container: str) -> None:
        with pytest.raises(RequestError) as caught:
            files.get(daemon, "subject", "/no/such")
        assert caught.value.status == 404
        assert caught.value.message == "Could not find the file /no/such in container subject"
        with pytest.raises(RequestError) as caught:
            files.put(daemon, "subject", "/nowhere", make())
        assert (caught.value.status, "Could not find the file /nowhere" in caught.value.message) == (
            404,
            True,
        )
        with pytest.raises(RequestError) as caught:
            files.stat(daemon, "subject", "/no/such")
        assert caught.value.status == 404
        with pytest.raises(RequestError) as caught:
            files.get(daemon, "none", "/")
        assert (caught.value.status, caught.value.message) == (404, "No such container: none")

    @pytest.mark.parametrize(
        ("method", "path", "status", "text"),
        [
            ("GET", "", 400, "path cannot be empty"),
            ("PUT", "", 400, "path cannot be empty"),
            ("GET", "/etc/passwd/", 400, "not a directory"),
            ("GET", "/etc/passwd/x", 400, "not a directory"),
            ("PUT", "/etc/passwd", 400, "extraction point is not a directory"),
            ("GET", "/a%00b", 400, "Invalid argument"),
            ("GET", "/" + "a/" * 3000, 400, "File name too long"),
            ("GET", "/" + "a" * 300, 400, "File name too long"),
        ],
    )
    def test_paths_that_make_no_sense(
        self, daemon: Daemon, container: str, method: str, path: str, status: int, text: str
    ) -> None:
        with pytest.raises(RequestError) as caught:
            daemon.request(
                method, f"/containers/subject/archive?path={path}", make() if method == "PUT" else None
            )
        assert (caught.value.status, text in caught.value.message) == (status, True), caught.value.message

    def test_links_stay_inside(self, daemon: Daemon, container: str) -> None:
        tree = [
            symlink("up", "../../../../../../etc"),
            symlink("absolute", "/etc"),
            symlink("loop", "loop"),
            symlink("host", "/proc/1/root"),
        ]
        files.put(daemon, container, "/tmp", make(*tree))
        for path in ("/tmp/up/passwd", "/tmp/absolute/passwd", "/../../etc/passwd", "/tmp/../etc/./passwd"):
            assert b"me:x:1000" in files.contents(files.get(daemon, container, path), "passwd")
        for path in ("/tmp/loop/", "/tmp/loop/x"):
            with pytest.raises(RequestError) as caught:
                files.get(daemon, container, path)
            assert caught.value.status == 400
        with pytest.raises(RequestError) as caught:
            files.get(daemon, container, "/tmp/host/etc/shadow")
        assert caught.value.status in (400, 404)
        files.put(daemon, container, "/tmp/absolute", make(file("new", b"here")))
        assert files.contents(files.get(daemon, container, "/etc/new"), "new") == b"here"
        assert not os.path.exists("/etc/new")
        files.put(daemon, container, "/", make(file("tmp/absolute/second", b"too")))
        assert files.contents(files.get(daemon, container, "/etc/second"), "second") == b"too"

    @pytest.mark.parametrize(
        "compress",
        [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
        ids=["gzip", "bzip2", "xz", "zstd"],
    )
    def test_compressed_archives(self, daemon: Daemon, compress: object) -> None:
        container = daemon.create(*SLEEP, host=HOST)
        packed: bytes = compress(make(file("f", b"packed" * 1000)))  # type: ignore[operator]  # a function
        files.put(daemon, container, "/tmp", packed)
        assert files.contents(files.get(daemon, container, "/tmp/f"), "f") == b"packed" * 1000

    def test_files_and_directories_do_not_give_way_when_told(self, daemon: Daemon, container: str) -> None:
        files.put(daemon, container, "/tmp", make(directory("d"), file("d/x"), file("f", b"old")))
        for members in ([file("d")], [directory("f")]):
            with pytest.raises(RequestError) as caught:
                files.put(daemon, container, "/tmp", make(*members), "&noOverwriteDirNonDir=1")
            assert caught.value.status == 400
            assert caught.value.message.startswith("cannot overwrite ")
        files.put(daemon, container, "/tmp", make(file("d", b"now"), directory("f"), file("f/y")))
        assert files.contents(files.get(daemon, container, "/tmp/d"), "d") == b"now"
        assert "f/y" in files.members(files.get(daemon, container, "/tmp/f"))

    def test_owners_become_the_containers_user_when_asked(self, daemon: Daemon) -> None:
        container = daemon.create(*SLEEP, host=HOST, User="me")
        files.put(daemon, container, "/tmp", make(file("mine", uid=5, gid=6)), "&copyUIDGID=1")
        files.put(daemon, container, "/tmp", make(file("theirs", uid=5, gid=6)))
        mine = files.members(files.get(daemon, container, "/tmp/mine"))["mine"]
        theirs = files.members(files.get(daemon, container, "/tmp/theirs"))["theirs"]
        assert ((mine.uid, mine.gid), (theirs.uid, theirs.gid)) == ((1000, 1000), (5, 6))

    def test_what_is_no_archive(self, daemon: Daemon, container: str) -> None:
        for junk in (
            b"x" * 2000,
            gzip.compress(b"y" * 2000),
            b"\x1f\x8b broken",
            make(file("f", b"z" * 9000))[:5000],
        ):
            with pytest.raises(RequestError) as caught:
                files.put(daemon, container, "/tmp", junk)
            assert caught.value.status == 400, caught.value.message
        files.put(daemon, container, "/tmp", b"")
        files.put(daemon, container, "/tmp", make())
        assert list(files.members(files.get(daemon, container, "/tmp"))) == ["tmp"]

    def test_events_tell_of_it(self, daemon: Daemon) -> None:
        begin = time.time()
        container = daemon.create(*SLEEP, host=HOST)
        files.put(daemon, container, "/tmp", make())
        files.get(daemon, container, "/tmp")
        until = time.time() + 0.5
        lines = daemon.request("GET", f"/events?since={begin:.6f}&until={until:.6f}").splitlines()
        actions = [line.partition(b'"Action":"')[2].partition(b'"')[0].decode() for line in lines]
        assert [one for one in actions if one in ("extract-to-dir", "archive-path")] == [
            "extract-to-dir",
            "archive-path",
        ]


class TestMounts:
    def test_volumes_and_binds_are_seen(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "inside").write_bytes(b"of the host")
        binds = ["seen:/data", f"{tmp_path}:/deep/er/bind", f"{tmp_path}/inside:/etc/one"]
        container = daemon.create(*SLEEP, host={**HOST, "Binds": binds})
        try:
            for state in ("created", "running"):
                if state == "running":
                    daemon.post(f"/containers/{container}/start")
                files.put(daemon, container, "/data", make(file(state, state.encode())))
                files.put(daemon, container, "/", make(file(f"deep/er/bind/{state}", b"x")))
                assert f"./{state}" in files.members(files.get(daemon, container, "/data/."))
                whole = files.members(files.get(daemon, container, "/deep"))
                assert {"deep/er/bind/inside", f"deep/er/bind/{state}"} <= set(whole)
                assert files.contents(files.get(daemon, container, "/etc/one"), "one") == b"of the host"
            assert sorted(os.listdir(tmp_path)) == ["created", "inside", "running"]
            assert sorted(os.listdir(daemon.paths.volume_data("seen"))) == ["created", "running"]
        finally:
            daemon.request("DELETE", f"/containers/{container}?force=1")
            daemon.request("DELETE", "/volumes/seen")

    def test_a_tmpfs_is_seen_while_it_is_there(self, daemon: Daemon) -> None:
        container = daemon.create(*SLEEP, host={**HOST, "Tmpfs": {"/scratch": ""}})
        daemon.post(f"/containers/{container}/start")
        files.put(daemon, container, "/scratch", make(file("f", b"volatile")))
        assert files.contents(files.get(daemon, container, "/scratch/f"), "f") == b"volatile"

    @pytest.mark.parametrize("running", [False, True], ids=["created", "running"])
    def test_read_only_parts(self, daemon: Daemon, tmp_path: Path, running: bool) -> None:
        binds = [f"{tmp_path}:/ro:ro", "writable:/rw"]
        container = daemon.create(*SLEEP, host={**HOST, "ReadonlyRootfs": True, "Binds": binds})
        try:
            if running:
                daemon.post(f"/containers/{container}/start")
            refused = [
                ("/tmp", file("x"), "container rootfs is marked read-only"),
                ("/ro", file("x"), "mounted volume is marked read-only"),
            ]
            for path, member, text in refused:
                with pytest.raises(RequestError) as caught:
                    files.put(daemon, container, path, make(member))
                assert (caught.value.status, caught.value.message) == (403, text)
            files.put(daemon, container, "/rw", make(file("x", b"kept"), symlink("out", "/tmp")))
            with pytest.raises(RequestError) as caught:
                files.put(daemon, container, "/rw", make(file("out/y")))
            assert caught.value.status == 403
            assert files.contents(files.get(daemon, container, "/rw/x"), "x") == b"kept"
            assert os.listdir(tmp_path) == []
        finally:
            daemon.request("DELETE", f"/containers/{container}?force=1")
            daemon.request("DELETE", "/volumes/writable")

    def test_the_kernels_files_stay_out(self, daemon: Daemon) -> None:
        container = daemon.create(*SLEEP, host={**HOST, "Privileged": True})
        daemon.post(f"/containers/{container}/start")
        names = files.members(files.get(daemon, container, "/"))
        assert not any(name.startswith(("/proc/", "/sys/", "/dev/")) for name in names)
        for path in ("/proc/sys/kernel", "/sys/kernel"):
            with pytest.raises(RequestError) as caught:
                files.put(daemon, container, path, make(file("core_pattern", b"|/evil")))
            assert caught.value.status == 403
        with pytest.raises(RequestError):
            files.put(daemon, container, "/", make(file("proc/sys/kernel/core_pattern", b"|/evil")))
        assert b"evil" not in Path("/proc/sys/kernel/core_pattern").read_bytes()

    def test_the_engines_own_files_can_be_replaced(self, daemon: Daemon) -> None:
        container = daemon.create(*SLEEP, host=HOST)
        daemon.post(f"/containers/{container}/start")
        files.put(daemon, container, "/etc", make(file("hosts", b"1.2.3.4 other\n")))
        assert files.contents(files.get(daemon, container, "/etc/hosts"), "hosts") == b"1.2.3.4 other\n"


class TestCommand:
    @pytest.fixture
    def target(self, home: Home) -> Iterator[str]:
        container = home.detached("busybox:test", *SLEEP)
        yield container
        home.run("rm", "-f", container)

    def test_a_tree_both_ways(self, home: Home, target: str, tmp_path: Path) -> None:
        source = tree_of(tmp_path / "source")
        home.run("cp", f"{source}", f"{target}:/tmp")
        home.run("cp", f"{target}:/tmp/source", f"{tmp_path}/back")
        same(source, tmp_path / "back")
        home.run("cp", f"{source}/.", f"{target}:/tmp/contents")
        home.run("cp", f"{target}:/tmp/contents/.", f"{tmp_path}/again")
        same(source, tmp_path / "again")
        assert int(home.text("exec", target, "stat", "-c", "%b", "/tmp/source/sparse")) < 2000
        assert (tmp_path / "back" / "file").samefile(tmp_path / "back" / "sub" / "hard")

    def test_without_the_local_short_cut(self, home: Home, target: str, tmp_path: Path) -> None:
        source = tree_of(tmp_path / "source")
        tar = subprocess.run(["tar", "-c", "-C", tmp_path, "source"], capture_output=True, check=True).stdout
        home.run("cp", "-", f"{target}:/tmp", stdin=tar)
        out = home.run("cp", f"{target}:/tmp/source", "-").stdout
        (tmp_path / "back").mkdir()
        subprocess.run(["tar", "-x", "-C", tmp_path / "back"], input=out, check=True)
        same(source, tmp_path / "back" / "source")

    def test_tars_as_files(self, home: Home, target: str, tmp_path: Path) -> None:
        tar = tmp_path / "in.tar"
        tar.write_bytes(make(file("a", b"1"), file("b", b"2")))
        with tar.open("rb") as given:
            subprocess.run(
                [*COMMAND, "cp", "-", f"{target}:/tmp"],
                stdin=given,
                env=home.environment,
                check=True,
            )
        assert home.text("exec", target, "cat", "/tmp/a", "/tmp/b") == "12"

    def test_names_and_links(self, home: Home, target: str, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"file")
        os.symlink("f", tmp_path / "l")
        home.run("cp", f"{tmp_path}/f", f"{target}:/tmp/renamed")
        assert home.text("exec", target, "cat", "/tmp/renamed") == "file"
        home.run("cp", f"{tmp_path}/l", f"{target}:/tmp")
        assert home.text("exec", target, "readlink", "/tmp/l") == "f"
        home.run("cp", "-L", f"{tmp_path}/l", f"{target}:/tmp/followed")
        assert home.text("exec", target, "cat", "/tmp/followed") == "file"
        home.run("exec", target, "ln", "-s", "renamed", "/tmp/link")
        home.run("cp", f"{target}:/tmp/link", f"{tmp_path}/as-link")
        assert os.readlink(tmp_path / "as-link") == "renamed"
        home.run("cp", "-L", f"{target}:/tmp/link", f"{tmp_path}/as-file")
        assert (tmp_path / "as-file").read_bytes() == b"file"

    @pytest.mark.parametrize(
        ("source", "destination", "text"),
        [
            ("one:/x", "two:/y", "copying between containers is not supported"),
            ("/x", "/y", "must specify at least one container source"),
            ("", "two:/y", "source can not be empty"),
            ("one:/x", "", "destination can not be empty"),
            ("/no-such-file", "{}:/tmp", "no such file or directory"),
            ("{}:/no-such-file", "/tmp", "Could not find the file /no-such-file in container"),
            ("{}:/etc", "/no/such/place", 'invalid output path: directory "/no/such" does not exist'),
            ("/etc/passwd", "{}:/no/such", "Could not find the file /no in container"),
            ("/etc", "{}:/etc/passwd", "cannot copy directory"),
            ("/etc/passwd", "{}:/tmp/new/", "no such directory"),
            ("/etc/passwd", "{}:/dev/null", "must be a directory or a regular file: got a device"),
            ("-", "{}:/etc/passwd", "must be a directory"),
            ("/etc/passwd", "no-such:/tmp", "No such container: no-such"),
        ],
    )
    def test_what_cannot_be(self, home: Home, target: str, source: str, destination: str, text: str) -> None:
        done = home.run("cp", source.format(target), destination.format(target), code=1)
        assert text in done.stderr.decode()

    def test_quiet_unless_at_a_terminal(self, home: Home, target: str, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"x" * 1536)
        done = home.run("cp", f"{tmp_path}/f", f"{target}:/tmp/f")
        assert (done.stdout, done.stderr) == (b"", b"")
        done = home.run("cp", "--quiet=false", f"{tmp_path}/f", f"{target}:/tmp/f")
        assert b"Successfully copied 1.54kB" in done.stderr
        assert f"to {target}:/tmp/f".encode() in done.stderr
        done = home.run("cp", "--quiet=false", f"{target}:/tmp/f", f"{tmp_path}/g")
        assert b"Successfully copied 1.54kB" in done.stderr
