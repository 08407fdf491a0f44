"""The whole filesystem of a container as a tar: `GET /containers/{id}/export` and `carboy export`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import files
from support.commands import Home, home
from support.daemon import Daemon, RequestError, daemon
from support.tars import file, make

__all__ = ["daemon", "home"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
HOST = {"NetworkMode": "none"}


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon").remove_all()


@pytest.mark.parametrize("running", [False, True], ids=["created", "running"])
def test_what_is_there_without_mounts(daemon: Daemon, tmp_path: Path, running: bool) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    host = {**HOST, "Binds": [f"{tmp_path}:/data", "exported:/volume"], "Tmpfs": {"/scratch": ""}}
    container = daemon.create("sleep", "1000", host=host)
    try:
        if running:
            daemon.post(f"/containers/{container}/start")
        files.put(daemon, container, "/tmp", make(file("changed", b"yes", uid=5, mode=0o4755)))
        files.put(daemon, container, "/volume", make(file("inside")))
        tar = daemon.request("GET", f"/containers/{container}/export")
        found = files.members(tar)
        assert files.contents(tar, "tmp/changed") == b"yes"
        assert (found["tmp/changed"].uid, found["tmp/changed"].mode) == (5, 0o4755)
        assert found["bin/ls"].linkname == "busybox"
        assert found["tmp"].mode == 0o1777
        forbidden = ("data/", "volume/", "scratch/", "proc/", "sys/", "dev/")
        assert not [name for name in found if name.startswith(forbidden)]
        assert b"of the host" not in tar
        assert daemon.request("GET", f"/containers/{container}/export") == tar
    finally:
        daemon.request("DELETE", f"/containers/{container}?force=1")
        daemon.request("DELETE", "/volumes/exported")


def test_no_such_container(daemon: Daemon) -> None:
    with pytest.raises(RequestError) as caught:
        daemon.request("GET", "/containers/none/export")
    assert (caught.value.status, caught.value.message) == (404, "No such container: none")


def test_the_command_and_back(home: Home, tmp_path: Path) -> None:
    container = home.text("create", "--network", "none", "busybox:test", "true")
    output = tmp_path / "out.tar"
    home.run("export", "-o", str(output), container)
    streamed = home.run("export", container).stdout
    assert output.read_bytes() == streamed
    assert os.listdir(tmp_path) == ["out.tar"]
    home.run("import", str(output), "exported:1")
    assert home.text("run", "--rm", "--network", "none", "exported:1", "echo", "works") == "works"
    assert "does not exist" in home.run("export", "-o", "/no/such/dir", container, code=1).stderr.decode()
    home.run("rm", container)
    home.run("export", "-o", str(tmp_path / "none"), container, code=1)
    assert os.listdir(tmp_path) == ["out.tar"]
