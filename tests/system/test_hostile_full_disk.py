"""A disk that is full, at every use: a clear error, nothing half-made, and all is well once there is space.

The daemon's root lies on an ext4 filesystem of 64 MB in a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.archives import docker_archive, make_tar
from support.buildclient import build
from support.daemon import IMAGE, Daemon, RequestError
from support.tars import file, make

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="needs mkfs.ext4"),
]


class Disk:
    """A small filesystem that can be filled and emptied."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._filler = mount / "filler"

    def fill(self, *, leave: int = 0) -> None:
        """Leave that many bytes, and few inodes' worth of directory blocks."""
        with open(self._filler, "wb", buffering=0) as out:
            status = os.statvfs(self.mount)
            wanted = max(0, status.f_bavail * status.f_frsize - leave)
            try:
                os.posix_fallocate(out.fileno(), 0, wanted)
                while not leave:
                    out.write(bytes(4096))
            except OSError:
                pass

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk() -> Iterator[Disk]:
    home = Path(tempfile.mkdtemp(prefix="carboy-disk-"))
    mount = home / "root"
    mount.mkdir()
    with open(home / "image", "wb") as image:
        image.truncate(64 << 20)
    run: Callable[..., object] = subprocess.run
    run(["mkfs.ext4", "-q", "-m", "0", f"{home}/image"], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", f"{home}/image", str(mount)], check=False)
    try:
        if mounted.returncode:
            pytest.skip("needs a loop device")
        yield Disk(mount)
    finally:
        run(["umount", "-l", str(mount)], check=False)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def daemon(disk: Disk) -> Iterator[Daemon]:
    home = tempfile.mkdtemp(prefix="carboy-test-")
    running = Daemon(home)
    running.root = f"{disk.mount}/state"
    try:
        running.start()
        running.make_image()
        yield running
        disk.empty()
        running.close()
    finally:
        if running.process is not None and running.process.poll() is None:
            running.kill()
        shutil.rmtree(home, ignore_errors=True)


def listing(daemon: Daemon) -> list[str]:
    """Everything in the root that is not the database's, the log's or the filler's."""
    found = []
    for path, _, files in os.walk(daemon.root):
        found += [path, *(f"{path}/{name}" for name in files if not name.startswith("db.sqlite"))]
    return sorted(found)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as error:
        work()
    assert error.value.status in (500, 503)
    text = error.value.message.lower()
    assert "internal error" not in text, text
    assert "no space left" in text or "full" in text, text
    assert "free" in text or "remove" in text, f"it does not say what to do: {text}"
    return text


def works(daemon: Daemon) -> None:
    assert daemon.run_container("echo", "works") == (0, b"works\n", b"")


def test_nothing_is_half_made_on_a_full_disk(daemon: Daemon, disk: Disk) -> None:
    works(daemon)
    before = listing(daemon)
    layer = make(file("f", os.urandom(3 << 20)))
    archive = make_tar(docker_archive([layer], ["big:1"]))
    for leave in (0, 8 << 10, 1 << 20):
        disk.fill(leave=leave)
        refused(lambda: daemon.make_image("big:1", layer))
        refused(lambda: daemon.request("POST", "/images/load", archive))
        assert [one["RepoTags"] for one in daemon.get("/images/json?all=1")] == [[IMAGE]]
        assert not daemon.get("/containers/json?all=1")
        disk.empty()
        assert listing(daemon) == before
    works(daemon)
    daemon.make_image("big:1", layer)


def test_create_and_start_on_a_full_disk(daemon: Daemon, disk: Disk) -> None:
    works(daemon)
    before = listing(daemon)
    ready = daemon.create("echo", "later", host={"NetworkMode": "none"})
    disk.fill()
    refused(lambda: daemon.create("true", host={"NetworkMode": "none", "Binds": ["new:/data"]}))
    assert len(daemon.get("/containers/json?all=1")) == 1
    try:
        daemon.post(f"/containers/{ready}/start")
    except RequestError as error:
        started, text = False, error.message
    else:
        started, text = True, "no space left: free some"  # its files were there already
    assert "internal error" not in text
    assert "no space left" in text.lower()
    if not started:
        assert daemon.get(f"/containers/{ready}/json")["State"]["Status"] == "created"
    daemon.get("/info")
    daemon.request("GET", "/events?until=1")
    disk.empty()
    if not started:
        daemon.post(f"/containers/{ready}/start")
    assert daemon.wait(ready) == 0
    assert daemon.output(ready) == b"later\n"
    daemon.request("DELETE", f"/containers/{ready}?v=1")
    assert listing(daemon) == before
    works(daemon)


def test_a_container_that_fills_the_disk(daemon: Daemon, disk: Disk) -> None:
    container = daemon.create(
        "sh", "-c", "dd if=/dev/zero of=/big bs=1M; echo $?", host={"NetworkMode": "none"}
    )
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 0
    shown = daemon.get(f"/containers/{container}/json")
    assert shown["State"]["Status"] == "exited"
    refused(lambda: daemon.post(f"/commit?container={container}&repo=full&tag=1"))
    assert [one["RepoTags"] for one in daemon.get("/images/json?all=1")] == [[IMAGE]]
    assert not os.listdir(f"{daemon.root}/ingest")
    # Removing must work when nothing else does.
    daemon.request("DELETE", f"/containers/{container}?v=1")
    works(daemon)


def test_a_log_that_fills_the_disk(daemon: Daemon, disk: Disk) -> None:
    disk.fill(leave=4 << 20)
    # The log takes the disk's last byte; the program must not be stopped by it.
    container = daemon.create("sh", "-c", "yes | head -c 20000000; exit 7", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    assert daemon.wait(container) == 7
    assert daemon.output(container, query="&tail=1").startswith(b"y")
    daemon.get("/containers/json?all=1")
    disk.empty()
    works(daemon)
    assert daemon.get(f"/containers/{container}/json")["State"]["ExitCode"] == 7
    daemon.request("DELETE", f"/containers/{container}?v=1")


def test_an_exit_on_a_full_disk_is_known_after_a_restart(daemon: Daemon, disk: Disk) -> None:
    container = daemon.create("sh", "-c", "read x; exit 9", OpenStdin=True, host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    disk.fill()
    daemon.kill()
    daemon.start()
    assert daemon.get(f"/containers/{container}/json")["State"]["Status"] == "running"
    disk.empty()
    daemon.request("DELETE", f"/containers/{container}?force=1&v=1")
    works(daemon)


def test_a_build_on_a_full_disk(daemon: Daemon, disk: Disk) -> None:
    """The context, a COPY and a RUN that do not fit are told, and leave nothing."""
    text = f"FROM {IMAGE}\nCOPY big /big\n".encode()
    disk.fill(leave=6 << 20)
    before = os.listdir(f"{daemon.root}/layers/sha256")
    with pytest.raises(RequestError, match="no space left"):
        build(daemon, {"Dockerfile": text, "big": os.urandom(8 << 20)})
    copied = build(daemon, {"Dockerfile": text, "big": os.urandom(2 << 20)})
    assert "no space left" in copied.error or copied.id
    run = build(daemon, f"FROM {IMAGE}\nRUN head -c 30000000 /dev/urandom > /z\n")
    assert run.error
    limit = time.monotonic() + 10
    while os.listdir(f"{daemon.root}/ingest") or os.listdir(f"{daemon.root}/containers"):
        assert time.monotonic() < limit
        time.sleep(0.05)
    if copied.error:
        assert os.listdir(f"{daemon.root}/layers/sha256") == before
    disk.empty()
    assert build(daemon, {"Dockerfile": text, "big": b"fits"}).id


DATABASE = """
import sys
from carboy.store.metadata import Database

path, filler = sys.argv[1:]
database = Database(path)
with open(filler, "wb", buffering=0) as out:
    try:
        while True:
            out.write(bytes(512))
    except OSError:
        pass
for number in range(100):
    with database.write(durable=False) as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('key', ?)", ("x" * number,))
"""


def test_the_database_has_room_when_nobody_has(disk: Disk) -> None:
    """To remove something it has to be written, too: and SQLite's index has holes where blocks are small."""
    for _ in range(2):  # the second one finds its database there
        arguments = [f"{disk.mount}/db.sqlite", f"{disk.mount}/filler"]
        done = subprocess.run(
            [sys.executable, "-c", DATABASE, *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        disk.empty()
