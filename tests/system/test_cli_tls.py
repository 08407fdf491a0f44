"""`carboy` against a daemon's own TLS port: interactive work, streams, copies, many connections."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.certificates import Authority
from support.daemon import IMAGE, REPOSITORY, running_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]


class Remote:
    """A user whose settings name a daemon behind TLS."""

    def __init__(self, port: int, keys: Path) -> None:
        outer = {
            name: value for name, value in os.environ.items() if not name.startswith(("CARBOY_", "DOCKER_"))
        }
        self.environment = {
            **outer,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "DOCKER_CONFIG": str(keys.parent / "settings"),
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(keys),
        }

    def run(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "bin" / "carboy"), *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=50,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout[-500:], done.stderr[-500:])
        return done.stdout


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    path = tmp_path_factory.mktemp("tls")
    authority = Authority("test")
    keys = authority.issue(path / "client", "client")
    server = authority.issue(path / "server", "server", server=True)
    flags = ["--tlsverify", "--host", "tcp://127.0.0.1:0"]
    for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        flags += [f"--{flag}", str(server / name)]
    with contextlib.contextmanager(running_daemon)(*flags) as daemon:
        found = re.search(r"API listen on tcp://127.0.0.1:(\d+)", daemon.log())
        assert found, daemon.log()
        yield Remote(int(found[1]), keys)


def test_input_and_output_of_run(remote: Remote) -> None:
    data = os.urandom(1_500_000)
    got = remote.run("run", "--rm", "-i", "--network", "none", IMAGE, "cat", stdin=data)
    assert got == data
    assert (
        remote.run("run", "--rm", "-i", "--network", "none", IMAGE, "wc", "-c", stdin=data).strip()
        == b"1500000"
    )
    remote.run("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "exit 9", code=9)


def test_exec_logs_and_copies(remote: Remote, tmp_path: Path) -> None:
    remote.run("run", "-d", "--name", "far", "--network", "none", IMAGE, "sh", "-c", "seq 20000; sleep 1000")
    try:
        assert remote.run("exec", "-i", "far", "cat", stdin=b"x" * 300_000) == b"x" * 300_000
        remote.run("exec", "far", "sh", "-c", "exit 3", code=3)
        assert remote.run("logs", "far").count(b"\n") == 20_000
        (tmp_path / "file").write_bytes(os.urandom(500_000))
        remote.run("cp", str(tmp_path / "file"), "far:/tmp/file")
        remote.run("cp", "far:/tmp/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    finally:
        remote.run("rm", "-f", "far")


def test_images_travel_as_streams(remote: Remote, tmp_path: Path) -> None:
    archive = str(tmp_path / "image.tar")
    remote.run("save", "-o", archive, IMAGE)
    assert b"Loaded image" in remote.run("load", "-i", archive)
    shown = remote.run("events", "--since", "5m", "--until", "0s", "--format", "{{.Action}}")
    assert b"load" in shown


def test_a_stranger_is_refused(remote: Remote, tmp_path: Path) -> None:
    keys = Authority("another").issue(tmp_path / "stranger", "stranger")
    stranger = Remote(0, keys)
    stranger.environment["DOCKER_HOST"] = remote.environment["DOCKER_HOST"]
    stranger.run("ps", code=1)
