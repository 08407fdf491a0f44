"""What a container has changed: `GET /containers/{id}/changes` and `carboy diff`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.commands import Home, home, until
from support.daemon import Daemon, RequestError, busybox_tar, daemon
from support.files import put
from support.tars import file, make

__all__ = ["daemon", "home"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
HOST = {"NetworkMode": "none"}
SCRIPT = """
echo new > /new; mkdir -p /made/deep; touch /made/deep/f
echo more >> /etc/passwd; rm /data/old; rm -r /data/folder
mv /data/kept /data/moved; ln -s x /link; chmod 700 /root
"""
CHANGES = {
    "/data": 0,
    "/data/folder": 2,
    "/data/kept": 2,
    "/data/moved": 1,
    "/data/old": 2,
    "/etc": 0,
    "/etc/passwd": 0,
    "/link": 1,
    "/made": 1,
    "/made/deep": 1,
    "/made/deep/f": 1,
    "/new": 1,
    "/root": 0,
}


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "daemon" in request.fixturenames:
        request.getfixturevalue("daemon").remove_all()


def changes(daemon: Daemon, container: str) -> dict[str, int]:
    found = daemon.get(f"/containers/{container}/changes")
    assert [one["Path"] for one in found] == sorted(one["Path"] for one in found)
    return {one["Path"]: one["Kind"] for one in found}


def test_every_kind_of_change(daemon: Daemon) -> None:
    files = {"data/old": b"", "data/kept": b"k", "data/folder/f": b"", "etc/hosts": b"", "etc/hostname": b""}
    extra = {name: (0o644, data) for name, data in {**files, "etc/resolv.conf": b""}.items()}
    daemon.make_image("changes:1", busybox_tar(extra))
    body = {"Image": "changes:1", "Cmd": ["sh", "-c", SCRIPT + "sleep 1000"], "HostConfig": HOST}
    container = daemon.post("/containers/create", body)["Id"]
    assert changes(daemon, container) == {}
    daemon.post(f"/containers/{container}/start")
    execute = daemon.post(
        f"/containers/{container}/exec", {"Cmd": ["sh", "-c", "until [ -e /link ]; do :; done"]}
    )
    daemon.request("POST", f"/exec/{execute['Id']}/start", {"Detach": True})
    until(lambda: changes(daemon, container) == CHANGES)
    assert changes(daemon, container) == CHANGES
    daemon.post(f"/containers/{container}/kill")
    assert changes(daemon, container) == CHANGES


def test_what_the_engine_puts_there_does_not_count(daemon: Daemon) -> None:
    container = daemon.create("sleep", "1000", host={**HOST, "Binds": ["/usr:/place/for/mount:ro"]})
    daemon.post(f"/containers/{container}/start")
    assert changes(daemon, container) == {"/place": 1, "/place/for": 1, "/place/for/mount": 1}
    daemon.request("DELETE", f"/containers/{container}?force=1")
    container = daemon.create("true", host=HOST)
    put(daemon, container, "/etc", make(file("hosts", b"mine")))
    assert changes(daemon, container) == {"/etc": 0, "/etc/hosts": 1}


def test_no_such_container(daemon: Daemon) -> None:
    with pytest.raises(RequestError) as caught:
        daemon.get("/containers/none/changes")
    assert (caught.value.status, caught.value.message) == (404, "No such container: none")


def test_the_command(home: Home) -> None:
    container = home.text("create", "--network", "none", "busybox:test", "true")
    assert home.text("diff", container) == ""
    home.run("cp", "/etc/hostname", f"{container}:/tmp/here")
    assert home.text("diff", container) == "C /tmp\nA /tmp/here"
    assert home.text("container", "diff", container) == "C /tmp\nA /tmp/here"
    home.run("rm", container)
    assert "No such container" in home.run("diff", container, code=1).stderr.decode()
