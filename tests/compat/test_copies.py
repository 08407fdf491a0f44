"""docker-py and Docker's command lines copy a tree into a container and back, and it is the same."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from support.clients.commands import COMMANDS
from support.clients.dockerpy import UNTIDY, connect
from support.trees import same, tree_of

IMAGE = "compat/copies:1"

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    *UNTIDY,
]


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[Any]:
    client = connect(host, IMAGE)
    yield client
    client.close()


@pytest.fixture(params=["running", "created"])
def container(client: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = client.containers.create(IMAGE, ["sleep", "1000"], network_mode="none")
    if request.param == "running":
        made.start()
    yield made
    made.remove(force=True)


class TestDockerPy:
    def test_both_ways(self, container: Any, tmp_path: Path) -> None:
        source = tree_of(tmp_path / "source")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(source, arcname="source")
        assert container.put_archive("/tmp", buffer.getvalue()) is True
        chunks, found = container.get_archive("/tmp/source")
        assert found["name"] == "source"
        assert found["mode"] & 1 << 31
        (tmp_path / "back").mkdir()
        subprocess.run(["tar", "-x", "-C", tmp_path / "back"], input=b"".join(chunks), check=True)
        same(source, tmp_path / "back" / "source")

    def test_streams_compressed(self, container: Any, tmp_path: Path) -> None:
        container.put_archive("/tmp", io.BytesIO(gzipped_tar(b"from a stream")))
        chunks, found = container.get_archive("/tmp/f", encode_stream=True)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            member = tar.extractfile("f")
            assert member is not None
            assert member.read() == b"from a stream"
        assert (found["name"], found["size"], found["linkTarget"]) == ("f", 13, "")

    def test_errors(self, container: Any) -> None:
        with pytest.raises(docker.errors.NotFound, match="Could not find the file /none in container"):
            container.get_archive("/none")
        with pytest.raises(docker.errors.NotFound, match="Could not find the file /none in container"):
            container.put_archive("/none", gzipped_tar(b""))

    def test_diff_and_export(self, container: Any) -> None:
        container.put_archive("/tmp", gzipped_tar(b"changed"))
        changes = {one["Path"]: one["Kind"] for one in container.diff()}
        assert (changes["/tmp"], changes["/tmp/f"]) == (0, 1)
        with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
            assert "tmp/f" in tar.getnames()


def gzipped_tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("f")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.needs_docker
@pytest.mark.parametrize("command", COMMANDS)
class TestDockerCommand:
    @pytest.fixture(autouse=True)
    def _host(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", host)

    def test_both_ways(self, command: str, container: Any, tmp_path: Path) -> None:
        source = tree_of(tmp_path / "source")
        name = container.name
        run(command, "cp", str(source), f"{name}:/tmp")
        run(command, "cp", f"{name}:/tmp/source", str(tmp_path / "back"))
        same(source, tmp_path / "back")
        run(command, "cp", "-a", f"{source}/.", f"{name}:/tmp/contents")
        run(command, "cp", f"{name}:/tmp/contents/.", str(tmp_path / "again"))
        same(source, tmp_path / "again")
        tar = run(command, "cp", f"{name}:/tmp/source/sub", "-")
        run(command, "cp", "-", f"{name}:/var", stdin=tar)
        run(command, "cp", "-L", f"{name}:/var/sub/link", str(tmp_path / "followed"), code=1)

    def test_diff_and_export(self, command: str, container: Any, tmp_path: Path) -> None:
        run(command, "cp", "/etc/hostname", f"{container.name}:/tmp/h")
        assert b"A /tmp/h" in run(command, "diff", container.name).splitlines()
        run(command, "export", "-o", str(tmp_path / "out.tar"), container.name)
        with tarfile.open(tmp_path / "out.tar") as tar:
            assert "tmp/h" in tar.getnames()


def run(command: str, *arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
    done = subprocess.run([command, *arguments], input=stdin, capture_output=True, check=False, timeout=40)
    assert done.returncode == code, (arguments, done)
    return done.stdout
