"""`docker build` and the libraries' builds against a real daemon, through `POST /build`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from support.archives import make_tar
from support.clients.commands import COMMANDS
from support.clients.dockerpy import UNTIDY, connect

IMAGE = "compat/build:base"

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60), *UNTIDY]


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[Any]:
    client = connect(host, IMAGE)
    yield client
    client.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE} AS base\nARG WHO=nobody\nCOPY . /context\n"
        'RUN echo "hello $WHO" > /greeting; echo loud\n'
        'FROM base\nLABEL made=here\nCMD ["cat", "/greeting"]\n'
    )
    (tmp_path / ".dockerignore").write_text("hidden\n*.log\n")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "secret").write_text("no")
    (tmp_path / "seen").write_text("yes")
    (tmp_path / "a.log").write_text("no")
    return tmp_path


# Docker's command


class Command:
    """One docker command, without BuildKit."""

    def __init__(self, command: str, host: str) -> None:
        self._command = command
        self._environment = {
            **os.environ,
            "DOCKER_HOST": host,
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CLI_HINTS": "false",
        }

    def run(
        self, *arguments: str, stdin: bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """What it did."""
        return subprocess.run(
            [self._command, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**self._environment, **environment},
            timeout=40,
            check=False,
        )

    def out(self, *arguments: str, stdin: bytes | None = None) -> str:
        """What it printed; it has to succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.decode()


@pytest.fixture(scope="module", params=COMMANDS or [""])
def command(request: pytest.FixtureRequest, host: str, client: object) -> Command:
    del client  # it has imported the base image
    if not request.param:
        pytest.skip("needs Debian's docker command")
    return Command(request.param, host)


def test_a_directory_is_built_and_runs(command: Command, context: Path, tmp_path: Path) -> None:
    iid = tmp_path.parent / f"{tmp_path.name}-iid"
    told = command.out(
        "build", "-t", "compat/one:1", "-t", "compat/two", "--build-arg", "WHO=me", "--label", "more=1",
        "--iidfile", str(iid), str(context),
    )  # fmt: skip
    assert "Step 1/" in told
    assert "loud" in told
    assert "Successfully tagged compat/one:1\n" in told
    assert "Successfully tagged compat/two:latest\n" in told
    found = json.loads(command.out("image", "inspect", "compat/two"))[0]
    assert found["Id"] == iid.read_text().strip()
    assert found["Config"]["Labels"] == {"made": "here", "more": "1"}
    assert command.out("run", "--rm", "--network", "none", "compat/one:1") == "hello me\n"
    names = command.out("run", "--rm", "--network", "none", "compat/one:1", "ls", "-A", "/context")
    assert names.split() == [".dockerignore", "Dockerfile", "seen"]
    assert "Using cache" in command.out("build", "--build-arg", "WHO=me", str(context))


def test_quiet_standard_input_and_targets(command: Command, context: Path) -> None:
    image_id = command.out("build", "-q", "--target", "base", str(context)).strip()
    assert image_id.startswith("sha256:")
    assert not json.loads(command.out("image", "inspect", image_id))[0]["Config"]["Labels"]
    lone = command.out("build", "-q", "-", stdin=f"FROM {IMAGE}\nLABEL a=b\n".encode()).strip()
    assert json.loads(command.out("image", "inspect", lone))[0]["Config"]["Labels"] == {"a": "b"}
    sent = make_tar({"other": f"FROM {IMAGE}\nCOPY f /f\n".encode(), "f": b"x"})
    assert command.out("build", "-q", "-f", "other", "-", stdin=sent).startswith("sha256:")


def test_options_reach_the_steps(command: Command, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN cat /etc/hosts; ulimit -n; df -k /dev/shm; echo proxy=$http_proxy\n"
    )
    told = command.out(
        "build", "--no-cache", "--add-host", "far:192.0.2.7", "--ulimit", "nofile=55:66", "--network", "none",
        "--memory", "64m", "--shm-size", "8m", "--build-arg", "http_proxy=http://p:1", str(tmp_path),
    )  # fmt: skip
    assert "192.0.2.7" in told
    assert "\n55\n" in told
    assert " 8192 " in told
    assert "proxy=http://p:1" in told


def test_failures_are_shown_and_have_a_code(command: Command, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo before; exit 9\n")
    done = command.run("build", str(tmp_path))
    assert done.returncode != 0
    assert b"before\n" in done.stdout
    assert b"The command '/bin/sh -c echo before; exit 9' returned a non-zero code: 9" in done.stderr
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPPY a b\n")
    done = command.run("build", str(tmp_path))
    assert done.returncode != 0
    assert b"unknown instruction: COPPY" in done.stderr
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY missing /x\n")
    done = command.run("build", str(tmp_path))
    assert b"missing" in done.stderr
    done = command.run("build", "--squash", str(tmp_path))
    assert done.returncode != 0


def test_buildkit_is_told_how_to_go_on(command: Command, context: Path) -> None:
    done = command.run("build", str(context), DOCKER_BUILDKIT="1")
    if b"buildx" in done.stderr:
        pytest.skip("this client has no BuildKit of its own")
    assert done.returncode != 0
    assert b"DOCKER_BUILDKIT=0" in done.stderr


def test_the_builder_is_pruned(command: Command, context: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN head -c 5000000 /dev/zero > /z\n")
    image_id = command.out("build", "-q", str(context)).strip()
    command.out("rmi", image_id)
    assert "5.00" in command.out("system", "df")
    assert "Total" in command.out("builder", "prune", "-f", "--all")
    assert "Build Cache" in command.out("system", "df")


# docker-py


def test_docker_py_builds_directories_and_files(client: Any, context: Path) -> None:
    image, messages = client.images.build(
        path=str(context),
        tag="py/one:1",
        buildargs={"WHO": "py"},
        labels={"l": "1"},
        rm=True,
        forcerm=True,
        nocache=True,
        pull=False,
        extra_hosts={"far": "192.0.2.1"},
        container_limits={"memory": 1 << 26, "cpushares": 10},
        shmsize=1 << 23,
        network_mode="none",
    )
    assert image.tags == ["py/one:1"]
    assert image.labels == {"made": "here", "l": "1"}
    assert any("loud" in one.get("stream", "") for one in messages)
    assert client.containers.run(image.id, remove=True, network_mode="none") == b"hello py\n"
    lone, _ = client.images.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nLABEL x=y\n".encode()))
    assert lone.labels == {"x": "y"}
    quiet, _ = client.images.build(path=str(context), quiet=True)
    assert quiet.labels == {"made": "here"}
    gone = client.api.prune_builds()
    assert gone["SpaceReclaimed"] >= 0


def test_docker_py_raises_build_errors(client: Any) -> None:
    with pytest.raises(docker.errors.BuildError) as caught:
        client.images.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN exit 3\n".encode()))
    assert "returned a non-zero code: 3" in caught.value.msg
    with pytest.raises(docker.errors.APIError) as refused:
        client.images.build(fileobj=io.BytesIO(b"FROM a\nODD\n"))
    assert refused.value.status_code == 400


# aiodocker, testcontainers


def test_aiodocker_builds(client: Any, host: str) -> None:
    del client
    aiodocker = pytest.importorskip("aiodocker")

    async def work() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with aiodocker.Docker(url=host) as engine:
            tar = make_tar({"Dockerfile": f"FROM {IMAGE}\nCOPY a /a\nRUN cat /a\n".encode(), "a": b"async\n"})
            told = await engine.images.build(fileobj=io.BytesIO(tar), encoding="identity", tag="aio:1")
            return told, await engine.images.inspect("aio:1")

    told, found = asyncio.run(work())
    assert any(one.get("stream") == "async\n" for one in told)
    assert found["Id"] in [one["aux"]["ID"] for one in told if "aux" in one]


def test_testcontainers_builds(
    client: Any, host: str, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del client
    image = pytest.importorskip("testcontainers.core.image")
    monkeypatch.setenv("DOCKER_HOST", host)
    with image.DockerImage(path=str(context), tag="testcontainers/built:1", clean_up=True) as built:
        assert str(built) == "testcontainers/built:1"
        assert any("loud" in json.dumps(one) or "Using cache" in json.dumps(one) for one in built.get_logs())
