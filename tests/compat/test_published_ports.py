"""Published ports as the docker commands and docker-py ask for them and show them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest

from support.clients.commands import COMMANDS
from support.clients.dockerpy import UNTIDY, connect
from support.reach import free_ports

IMAGE = "compat/ports:1"
SERVER = ["sh", "-c", "mkdir /w; echo hello >/w/index.html; echo ready; exec httpd -f -p 80 -h /w"]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_network,
    pytest.mark.timeout(60),
    *UNTIDY,
]


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[Any]:
    client = connect(host, IMAGE, changes=["EXPOSE 80", "EXPOSE 53/udp"])
    yield client
    client.close()


@pytest.fixture(autouse=True)
def cleaned(client: Any) -> Iterator[None]:
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)


class Cli:
    """One docker command."""

    def __init__(self, command: str, host: str) -> None:
        self.command = command
        self.environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CLI_HINTS": "false"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment,
            timeout=40,
            text=True,
            check=False,
        )

    def out(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()


@pytest.fixture(params=COMMANDS or [""])
def cli(request: pytest.FixtureRequest, host: str, client: Any) -> Cli:
    if not request.param:
        pytest.skip("needs Debian's docker command")
    return Cli(request.param, host)


def fetch(address: str, port: int) -> str:
    """The page that the container serves; it may still be starting."""
    for _ in range(2000):
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            time.sleep(0.02)  # it tells nobody when it listens
    raise AssertionError(f"nothing at {address}:{port}")


def test_docker_run_port_and_ps(cli: Cli) -> None:
    first, second, third = free_ports(3)
    cli.out(
        "run", "-d", "--name", "web", "-p", f"{first}:80", "-p", f"127.0.0.1:{second}:80",
        "-p", f"{third}:53/udp", IMAGE, *SERVER,
    )  # fmt: skip
    assert fetch("127.0.0.1", first) == fetch("127.0.0.1", second) == fetch("[::1]", first) == "hello\n"
    lines = cli.out("port", "web").splitlines()
    assert f"80/tcp -> 0.0.0.0:{first}" in lines
    assert f"80/tcp -> 127.0.0.1:{second}" in lines
    assert f"53/udp -> 0.0.0.0:{third}" in lines
    assert f"0.0.0.0:{third}" in cli.out("port", "web", "53/udp").splitlines()
    assert cli.run("port", "web", "81").returncode == 1
    shown = cli.out("ps", "--format", "{{.Ports}}")
    assert f"0.0.0.0:{first}->80/tcp" in shown
    assert cli.out("ps", "-q", "--filter", f"publish={first}")
    assert cli.out("ps", "-q", "--filter", "expose=80")
    assert not cli.out("ps", "-q", "--filter", "publish=80")


def test_docker_run_says_what_is_in_the_way(cli: Cli) -> None:
    (port,) = free_ports()
    cli.out("run", "-d", "--name", "one", "-p", f"{port}:80", IMAGE, "sleep", "100")
    done = cli.run("run", "--rm", "--name", "two", "-p", f"{port}:80", IMAGE, "true")
    assert done.returncode == 125
    assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in done.stderr
    cli.out("stop", "-t", "0", "one")
    cli.out("run", "--rm", "-p", f"{port}:80", IMAGE, "true")
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = cli.run("start", "one")
        assert done.returncode == 0
        done = cli.run("run", "--rm", "-p", f"{other.getsockname()[1]}:80", IMAGE, "true")
        assert (done.returncode, "address already in use" in done.stderr) == (125, True)
    done = cli.run("run", "--rm", "--network", "host", "-p", "1:80", IMAGE, "true")
    assert done.returncode == 0
    assert "Published ports are discarded when using host network mode" in done.stderr


def test_docker_ranges_and_all_ports(cli: Cli) -> None:
    first, _, third = free_ports(3)
    cli.out("run", "-d", "--name", "range", "-p", f"{first}-{third}:80-82", IMAGE, "sleep", "100")
    assert cli.out("port", "range", "82").splitlines()[0] == f"0.0.0.0:{third}"
    cli.out("rm", "-f", "range")
    span = f"{first}-{third}"
    names = [cli.out("run", "-d", "-p", f"{span}:80", IMAGE, "sleep", "100") for _ in range(2)]
    found = {cli.out("port", name, "80").splitlines()[0] for name in names}
    assert len(found) == 2
    assert found <= {f"0.0.0.0:{port}" for port in range(first, third + 1)}
    name = cli.out("run", "-d", "-P", IMAGE, *SERVER)
    port = int(cli.out("port", name, "80").splitlines()[0].rpartition(":")[2])
    assert 32768 <= port <= 60999
    assert fetch("127.0.0.1", port) == "hello\n"
    assert cli.out("port", name, "53/udp")


def test_docker_py(client: Any) -> None:
    first, second = free_ports(2)
    ports = {"80/tcp": ("127.0.0.1", first), "53/udp": None, 9: [second]}
    container = client.containers.run(IMAGE, SERVER, detach=True, ports=ports)
    container.reload()
    assert container.ports["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(first)}]
    assert {one["HostIp"] for one in container.ports["9/tcp"]} == {"0.0.0.0", "::"}
    assert int(container.ports["53/udp"][0]["HostPort"]) >= 32768
    assert fetch("127.0.0.1", first) == "hello\n"
    assert client.api.port(container.id, 80) == [{"HostIp": "127.0.0.1", "HostPort": str(first)}]
    with pytest.raises(docker.errors.APIError, match=r"already (allocated|in use)") as caught:
        client.containers.run(IMAGE, "true", ports={"80/tcp": first}, remove=True)
    assert caught.value.status_code == 500
    before = container.ports["53/udp"]
    container.restart(timeout=0)
    container.reload()
    assert container.ports["80/tcp"][0]["HostPort"] == str(first)
    assert container.ports["53/udp"] != before
    container.stop(timeout=0)
    container.reload()
    assert container.ports == {}
    assert client.networks.prune() == {"NetworksDeleted": None}
