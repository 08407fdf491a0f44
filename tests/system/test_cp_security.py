"""Hostile containers, archives and clients of `cp`: nothing of the host is read or written.

The rows of security.md: moby 2018-15664, 2019-14271, 2026-41567, 2026-41568 and 42306, go-archive 2026-17106.
"""

from __future__ import annotations

import http.client
import io
import lzma
import os
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support import files
from support.breakouts import OUTSIDE, SENTINEL, cases
from support.daemon import Daemon, RequestError, busybox_tar, daemon, own_daemon
from support.tars import Member, directory, file, make, symlink

__all__ = ["daemon", "own_daemon"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
HOST = {"NetworkMode": "none"}
SLEEP = ("sleep", "1000")

SWAPPER = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
os.chdir(sys.argv[1])
print(flush=True)
while True:
    exchange(-100, b"place", -100, b"other", 2)
"""


@pytest.fixture(autouse=True)
def clean(daemon: Daemon) -> Iterator[None]:
    yield
    assert daemon.request("GET", "/_ping") == b"OK"
    daemon.remove_all()


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory of the host that nothing may touch, at a path that a container could name."""
    folder = Path(tempfile.mkdtemp(prefix="carboy-outside-")) / OUTSIDE
    folder.mkdir(mode=0o750)
    (folder / "file").write_bytes(SENTINEL)
    os.utime(folder, (1, 1))
    yield folder
    assert (folder / "file").read_bytes() == SENTINEL
    assert os.listdir(folder) == ["file"]
    status = os.lstat(folder)
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o750, 1)
    (folder / "file").unlink()
    folder.rmdir()
    folder.parent.rmdir()


def started(daemon: Daemon, **more: object) -> str:
    container = daemon.create(*SLEEP, host={**HOST, **more})
    daemon.post(f"/containers/{container}/start")
    return container


def pid_of(daemon: Daemon, container: str) -> int:
    pid: int = daemon.get(f"/containers/{container}/json")["State"]["Pid"]
    return pid


@contextmanager
def swapping(root: str) -> Iterator[None]:
    """A process that exchanges `place` and `other` in a directory as fast as it can."""
    process = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, root],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("running", [False, True], ids=["created", "running"])
@pytest.mark.parametrize("name", cases("/x"))
def test_archives_that_want_out(daemon: Daemon, outside: Path, name: str, running: bool) -> None:
    container = started(daemon) if running else daemon.create(*SLEEP, host=HOST)
    tar = make(*cases(str(outside))[name])
    for keep in ("", "&noOverwriteDirNonDir=1"):
        assert _try(lambda keep=keep: files.put(daemon, container, "/tmp", tar, keep)) <= {"ok", "400", "403"}


@pytest.mark.parametrize("target", ["/", "../../../../../..", "relative"])
def test_places_that_are_exchanged_meanwhile(daemon: Daemon, outside: Path, target: str) -> None:
    """CVE-2018-15664: the path is a directory when it is looked at, and a link when it is used."""
    container = started(daemon)
    root = f"/proc/{pid_of(daemon, container)}/root"
    relative = "../" * 12
    link = {"relative": relative + str(outside).lstrip("/")}.get(target, target + str(outside))
    os.makedirs(f"{root}/race/place/deep")
    Path(f"{root}/race/place/file").write_bytes(b"inside")
    os.symlink(link, f"{root}/race/other")
    tar = make(file("file", b"evil"), directory("deep"), file("deep/file", b"evil"))
    seen: set[str] = set()
    with swapping(f"{root}/race"):
        for _ in range(60):
            seen |= _try(lambda: files.put(daemon, container, "/race/place", tar))
            seen |= _try(lambda: files.put(daemon, container, "/race", make(file("place/file", b"evil"))))
            for path in ("/race/place/file", "/race/place/", "/race"):
                seen |= _try(lambda path=path: _refuse_sentinel(files.get(daemon, container, path)))
    assert seen <= {"ok", "400", "404", "403", "409"}, seen
    assert "ok" in seen


def _try(work: object) -> set[str]:
    try:
        work()  # type: ignore[operator]  # a function
    except RequestError as error:
        return {str(error.status)}
    return {"ok"}


def _refuse_sentinel(tar: bytes) -> None:
    assert SENTINEL not in tar


def test_links_into_the_host_lead_into_the_container(daemon: Daemon, outside: Path) -> None:
    for container in (started(daemon), daemon.create(*SLEEP, host=HOST)):
        files.put(
            daemon,
            container,
            "/tmp",
            make(symlink("l", str(outside)), symlink("r", "../" * 9 + str(outside))),
        )
        for path in ("/tmp/l/", "/tmp/r/", "/tmp/l/file", f"/tmp/../../../..{outside}/file"):
            with pytest.raises(RequestError) as caught:
                files.get(daemon, container, path)
            assert caught.value.status == 404
        assert SENTINEL not in files.get(daemon, container, "/tmp")


def test_no_program_or_library_of_the_container_is_used(daemon: Daemon, outside: Path) -> None:
    """CVE-2019-14271 (libnss after a chroot) and 2026-41567 (xz of the container, run by the daemon)."""
    evil = f"#!/bin/sh\necho evil > {outside}/file\n".encode()
    names = ["usr/bin/xz", "bin/xz", "usr/bin/unxz", "usr/bin/unpigz", "usr/bin/zstd"]
    names += [f"{folder}/libnss_files.so.2" for folder in ("lib", "lib64", "lib/x86_64-linux-gnu", "usr/lib")]
    daemon.make_image("evil:1", busybox_tar(dict.fromkeys(names, (0o755, evil))))
    created = daemon.post("/containers/create", {"Image": "evil:1", "Cmd": ["sleep", "9"], "User": "me"})
    try:
        packed = lzma.compress(make(file("f", b"data", uid=1, gid=1)))
        files.put(daemon, created["Id"], "/tmp", packed, "&copyUIDGID=1")
        assert files.contents(files.get(daemon, created["Id"], "/tmp/f"), "f") == b"data"
        assert daemon.process is not None
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert daemon.paths.containers not in maps
        assert "libnss_files.so.2" not in maps or "/containers/" not in maps
    finally:
        daemon.request("DELETE", f"/containers/{created['Id']}?force=1")


@pytest.mark.parametrize("running", [False, True], ids=["created", "running"])
def test_mounts_behind_links_of_the_image(
    daemon: Daemon, outside: Path, tmp_path: Path, running: bool
) -> None:
    """CVE-2026-41568, 42306: a link at the mount's place leads inside; what is meant still works."""
    image = make(
        *_image_members(),
        directory("real"),
        symlink("absolute", "/real"),
        symlink("away", str(outside)),
    )
    daemon.make_image("links:1", image)
    binds = [f"{tmp_path}:/absolute/data", f"{tmp_path}:/away/data"]
    body = {"Image": "links:1", "Cmd": list(SLEEP), "HostConfig": {**HOST, "Binds": binds}}
    container = daemon.post("/containers/create", body)["Id"]
    if running:
        daemon.post(f"/containers/{container}/start")
    files.put(daemon, container, "/absolute/data", make(file("one", b"1")))
    files.put(daemon, container, "/", make(file("absolute/data/two", b"2"), file("away/data/three", b"3")))
    assert sorted(os.listdir(tmp_path)) == ["one", "three", "two"]
    assert files.contents(files.get(daemon, container, "/real/data/one"), "one") == b"1"


def _image_members() -> list[Member]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(busybox_tar())) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isreg() else None
            found.append(
                Member(member.name, member.type, data.read() if data else b"", member.linkname, member.mode)
            )
    return found


def test_devices_and_pipes_are_never_read(daemon: Daemon) -> None:
    """A pipe without a writer would hang the reader, a device could do anything."""
    container = started(daemon)
    root = f"/proc/{pid_of(daemon, container)}/root"
    os.mkfifo(f"{root}/tmp/place")
    Path(f"{root}/tmp/other").write_bytes(b"x")
    with swapping(f"{root}/tmp"):
        for _ in range(100):
            assert len(files.get(daemon, container, "/tmp/place")) >= 1536


class TestClientsThatVanish:
    @staticmethod
    def connect(daemon: Daemon, method: str, container: str, path: str) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(40)
        client.connect(daemon.socket)
        head = f"{method} /containers/{container}/archive?path={path} HTTP/1.1\r\nHost: x\r\n"
        client.sendall(
            head.encode() + (b"Transfer-Encoding: chunked\r\n\r\n" if method == "PUT" else b"\r\n")
        )
        return client

    @pytest.mark.parametrize("running", [False, True], ids=["created", "running"])
    def test_in_the_middle_of_a_copy(self, daemon: Daemon, running: bool) -> None:
        container = started(daemon) if running else daemon.create(*SLEEP, host=HOST)
        tar = make(file("whole", b"x" * 100), file("half", b"y" * 3_000_000))
        client = self.connect(daemon, "PUT", container, "/tmp")
        client.sendall(b"%x\r\n" % 1_000_000 + tar[:1_000_000] + b"\r\n")
        client.close()
        # The whole file is there, the half one is not any more, and the next copy may come.
        whole = {"tmp", "tmp/whole"}
        _eventually(lambda: set(files.members(files.get(daemon, container, "/tmp"))) == whole)
        files.put(daemon, container, "/tmp", make(file("next")))
        client = self.connect(daemon, "GET", container, "/")
        client.recv(1000)
        client.close()
        daemon.request("DELETE", f"/containers/{container}?force=1")

    def test_in_the_middle_of_many(self, daemon: Daemon) -> None:
        container = started(daemon)
        before = len(daemon.descriptors())
        clients = []
        for number in range(20):
            client = self.connect(daemon, "PUT" if number % 2 else "GET", container, "/tmp")
            if number % 2:
                client.sendall(b"200\r\n" + make(file("f", b"x" * 5000))[:512] + b"\r\n")
            clients.append(client)
        for client in clients:
            client.close()
        _eventually(lambda: len(daemon.descriptors()) <= before)

    def test_a_client_that_stalls_holds_nothing_up(self, daemon: Daemon) -> None:
        container = daemon.create(*SLEEP, host=HOST)
        client = self.connect(daemon, "PUT", container, "/tmp")
        client.sendall(b"200\r\n" + make(file("f", b"x" * 5000))[:512] + b"\r\n")
        _eventually(lambda: "tmp/f" in files.members(files.get(daemon, container, "/tmp")))
        assert files.stat(daemon, container, "/tmp")["name"] == "tmp"
        daemon.request("DELETE", f"/containers/{container}")
        client.close()

    def test_a_daemon_that_is_killed_leaves_no_mount(self, own_daemon: Daemon, daemon: Daemon) -> None:
        del daemon
        container = own_daemon.create(*SLEEP, host={**HOST, "Binds": ["killed:/data"]})
        before = Path("/proc/self/mountinfo").read_text().count(own_daemon.home)
        client = self.connect(own_daemon, "PUT", container, "/data")
        tar = make(file("f", b"x" * 3_000_000))
        client.sendall(b"%x\r\n" % 1_000_000 + tar[:1_000_000] + b"\r\n")
        volume = Path(own_daemon.paths.volume_data("killed"))
        _eventually(lambda: (volume / "f").exists())
        own_daemon.kill()
        client.close()
        assert Path("/proc/self/mountinfo").read_text().count(own_daemon.home) == before
        own_daemon.start()
        files.put(own_daemon, container, "/data", tar)
        own_daemon.post(f"/containers/{container}/start")
        own_daemon.request("DELETE", f"/containers/{container}?force=1")
        own_daemon.request("DELETE", "/volumes/killed")


def _eventually(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come in time")


def test_a_full_filesystem(daemon: Daemon) -> None:
    container = started(daemon, Tmpfs={"/small": "size=1m"})
    with pytest.raises(RequestError) as caught:
        files.put(daemon, container, "/small", make(file("fits", b"x" * 1000), file("large", bytes(3 << 20))))
    assert caught.value.status == 503
    assert "No space left on device: free some space" in caught.value.message
    names = files.members(files.get(daemon, container, "/small"))
    assert set(names) == {"small", "small/fits"}
    files.put(daemon, container, "/small", make(file("large", bytes(900_000))))


def test_a_bomb(daemon: Daemon) -> None:
    container = started(daemon, Tmpfs={"/small": "size=60m"})
    bomb = lzma.compress(make(file("f", bytes(50 << 20))))
    with suppress(RequestError):
        files.put(daemon, container, "/small", bomb)
    assert len(bomb) < 10_000
    found = files.members(files.get(daemon, container, "/small"))
    assert "small/f" not in found


def test_deep_trees_are_refused(daemon: Daemon) -> None:
    container = started(daemon)
    files.put(daemon, container, "/tmp", make(file("d/" * 300 + "f", b"deep")))
    assert b"deep" in files.get(daemon, container, "/tmp/d")
    inner = os.open(f"/proc/{pid_of(daemon, container)}/root/tmp/{'d/' * 300}", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    with pytest.raises((RequestError, http.client.HTTPException)):
        files.get(daemon, container, "/tmp/d")
