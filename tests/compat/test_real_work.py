"""Real clients, real work: each of them, through the unix socket and through TCP with mutual TLS."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from support.certificates import Authority
from support.clients.aio import AioDocker
from support.clients.cli import DockerCommand, Whales
from support.clients.dockerpy import DockerPy
from support.clients.tars import describe, make_tree, unpack
from support.clients.work import BUNDLES, Endpoint, Happening, Work
from support.daemon import IMAGE, Daemon, _running

REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(120),
    # Some of the clients leave sockets and loops to the garbage collector, and use what Python deprecates.
    pytest.mark.filterwarnings("ignore"),
]


def programs() -> list[str]:
    """Debian's client, and another one that is first on PATH."""
    found = [path for path in ("/usr/bin/docker", shutil.which("docker")) if path and os.path.exists(path)]
    return list(dict.fromkeys(os.path.realpath(path) for path in found))


CLIENTS: dict[str, Callable[[Endpoint], Work]] = {"docker-py": DockerPy, "aiodocker": AioDocker}
for _number, _program in enumerate(programs()):
    CLIENTS[f"docker-{_number}"] = partial(DockerCommand, program=_program)
    CLIENTS.setdefault("python-on-whales", partial(Whales, program=_program))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority("carboy tests")
    authority.issue(folder / "server", "server", server=True)
    authority.issue(folder / "client", "client")
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number


@pytest.fixture(scope="module")
def daemon(certificates: Path, port: int) -> Iterator[Daemon]:
    """One daemon that listens in both ways."""
    server = certificates / "server"
    yield from _running(
        f"--host=tcp://127.0.0.1:{port}",
        "--tlsverify",
        f"--tlscacert={server / 'ca.pem'}",
        f"--tlscert={server / 'cert.pem'}",
        f"--tlskey={server / 'key.pem'}",
    )


@pytest.fixture(scope="module", params=["unix", "tls"])
def endpoint(request: pytest.FixtureRequest, daemon: Daemon, certificates: Path, port: int) -> Endpoint:
    if request.param == "unix":
        return Endpoint(daemon.host)
    return Endpoint(f"tcp://127.0.0.1:{port}", certificates / "client")


@pytest.fixture(params=sorted(CLIENTS))
def client(
    request: pytest.FixtureRequest, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Work]:
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    made = CLIENTS[request.param](endpoint)
    yield made
    made.close()


@pytest.fixture
def subject(client: Work) -> Iterator[str]:
    """A container that the client started."""
    client.run(IMAGE, ["sleep", "1000"], name="subject")
    yield "subject"
    client.remove("subject")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "tree"
    make_tree(root)
    return root


def test_a_shell_that_is_written_to(client: Work, subject: str) -> None:
    assert client.shell(subject, "echo $((6*7))\nexit 3") == (3, "42\n")


def test_a_hundred_thousand_lines(client: Work, subject: str) -> None:
    client.run(IMAGE, ["seq", "100000"], name="lines")
    try:
        lines = client.follow("lines").decode().split()
    finally:
        client.remove("lines")
    assert lines == [str(number) for number in range(1, 100_001)]


def test_a_tree_there_and_back(client: Work, subject: str, tree: Path, tmp_path: Path) -> None:
    client.copy_in(tree, subject, "/copied")
    client.copy_out(subject, "/copied", tmp_path / "back")
    assert describe(tmp_path / "back") == describe(tree)


def test_events_while_twenty_containers_start(client: Work, daemon: Daemon) -> None:
    names = [f"event-{number}" for number in range(20)]
    with client.watch() as seen, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: client.run(IMAGE, ["true"], name=name), names))
        for name in names:
            daemon.wait(name)
            client.remove(name)
    check_events(seen, names)


def check_events(seen: list[Happening], names: list[str]) -> None:
    for name in names:
        actions = [one.action for one in seen if (one.kind, one.name) == ("container", name)]
        assert actions == ["create", "start", "die", "destroy"], (name, actions)


def test_statistics(client: Work, subject: str) -> None:
    samples = client.statistics(subject)
    assert len(samples) == 2
    assert all(100_000 < sample < 50_000_000 for sample in samples)


def test_dockerode(endpoint: Endpoint, tree: Path, tmp_path: Path) -> None:
    modules = REPOSITORY / ".venv/dockerode/node_modules"
    node = shutil.which("node", path=f"{REPOSITORY}/.venv/bin:{os.environ['PATH']}")
    if node is None or not modules.is_dir():
        pytest.skip("needs dockerode: run scripts/setup --tests")
    done = subprocess.run(
        [
            node,
            str(REPOSITORY / "tests/compat/dockerode/work.js"),
            IMAGE,
            str(tree),
            str(tmp_path / "back.tar"),
        ],
        capture_output=True,
        env={**endpoint.environment(), "NODE_PATH": str(modules)},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    assert result["shell"] == ["42\n", 3]
    assert result["lines"] == 100_000
    with tarfile.open(tmp_path / "back.tar") as tar:
        unpack(tar, tmp_path / "back")
    assert describe(tmp_path / "back") == describe(tree)
    assert len([sample for sample in result["statistics"] if sample > 100_000]) == 2
    check_events([Happening(*event) for event in result["events"]], [f"js-{number}" for number in range(20)])


TESTCONTAINERS = """
import sys, time, urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

image = sys.argv[1]
server = "mkdir /www; echo served > /www/index.html; echo ready; exec httpd -f -p 8000 -h /www"
box = DockerContainer(image).with_command(["sh", "-c", server]).with_exposed_ports(8000)
with box.with_env("A", "b"):
    wait_for_logs(box, "ready", timeout=40)
    code, output = box.exec("env")
    assert code == 0 and b"A=b" in output, output
    url = f"http://{box.get_container_host_ip()}:{box.get_exposed_port(8000)}/"
    for _ in range(400):
        try:
            body = urllib.request.urlopen(url, timeout=10).read()
            break
        except OSError:
            time.sleep(0.1)
    assert body == b"served\\n", body
    out, err = box.get_logs()
    assert out == b"ready\\n", out
print("passed")
"""


def test_testcontainers(endpoint: Endpoint) -> None:
    """Without Ryuk, its cleaner, which is an image of a registry."""
    done = subprocess.run(
        [sys.executable, "-c", TESTCONTAINERS, IMAGE],
        capture_output=True,
        env={**endpoint.environment(), "TESTCONTAINERS_RYUK_DISABLED": "true"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"passed\n"
