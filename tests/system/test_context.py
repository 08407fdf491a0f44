"""Contexts: one store for Carboy and Docker, endpoints over unix sockets, ssh and TLS, config.json."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.certificates import Authority
from support.commands import COMMAND, Home, home
from support.daemon import IMAGE, REPOSITORY
from support.tlsproxy import TlsProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["home"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]
DOCKER = shutil.which("docker")


class Client:
    """A user elsewhere: no daemon of their own, a directory of settings, programs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.programs = folder / "bin"
        self.programs.mkdir()
        outer = {
            name: value for name, value in os.environ.items() if not name.startswith(("CARBOY_", "DOCKER_"))
        }
        self.environment = {
            **outer,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "CARBOY_ROOT": str(folder / "none"),
            "CARBOY_RUN": str(folder / "none"),
            "DOCKER_CONFIG": str(self.config),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def run(
        self, *arguments: str, stdin: bytes = b"", code: int | None = 0, command: list[str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*(command or COMMAND), *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=50,
            check=False,
        )
        assert code in (None, done.returncode), (arguments, done)
        return done

    def text(self, *arguments: str, stdin: bytes = b"") -> str:
        return self.run(*arguments, stdin=stdin).stdout.decode().strip()

    def error(self, *arguments: str, code: int = 1) -> str:
        return self.run(*arguments, code=code).stderr.decode().strip()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def socket(home: Home) -> str:
    return f"unix://{home.run_directory}/carboy.sock"


# ssh


@pytest.fixture
def far(home: Home, client: Client, tmp_path: Path) -> Client:
    """An `ssh` that runs the far command here, in the environment of the daemon's own machine."""
    client.program(
        "ssh",
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/ssh.log
for last; do :; done
export CARBOY_ROOT={home.root} CARBOY_RUN={home.run_directory} PATH={tmp_path}/far:/usr/bin:/bin
exec sh -c "$last"
""",
    )
    (tmp_path / "far").mkdir()
    program = tmp_path / "far" / "carboy"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/bin/carboy "$@"\n')
    program.chmod(0o755)
    return client


def test_a_daemon_through_ssh(far: Client, tmp_path: Path) -> None:
    far.text("context", "create", "lab", "--docker", "host=ssh://me@lab.example:2222")
    assert IMAGE in far.text("-c", "lab", "images", "--format", "{{.Repository}}:{{.Tag}}")
    log = (tmp_path / "ssh.log").read_text()
    assert log.startswith("-o ConnectTimeout=30 -T -l me -p 2222 -- lab.example sh -c")
    data = os.urandom(300_000)
    done = far.run("-c", "lab", "run", "--rm", "-i", "--network", "none", IMAGE, "cat", stdin=data)
    assert done.stdout == data
    done = far.run("-c", "lab", "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "exit 4", code=4)
    assert not done.stderr


def test_a_socket_of_ones_own_through_ssh(home: Home, far: Client) -> None:
    host = f"ssh://lab{home.run_directory}/carboy.sock"
    assert far.text("-H", host, "ps", "-q") == ""


def test_the_far_side_may_have_docker_only(far: Client, tmp_path: Path) -> None:
    (tmp_path / "far" / "carboy").rename(tmp_path / "far" / "docker")
    assert IMAGE in far.text("-H", "ssh://lab", "images", "--format", "{{.Repository}}:{{.Tag}}")


def test_an_ssh_that_fails_is_said(client: Client) -> None:
    client.program("ssh", "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    said = client.error("-H", "ssh://lab", "ps")
    assert "Permission denied" in said
    assert "ssh://lab" in said or "connection" in said
    client.environment["PATH"] = str(client.config)
    assert "ssh cannot be run" in client.error("-H", "ssh://lab", "ps")


def test_dial_stdio_joins_both_ways(home: Home) -> None:
    request = b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    process = home.start("system", "dial-stdio")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    process.stdin.flush()
    answer = process.stdout.read()  # to its end: the daemon closes
    process.communicate(timeout=40)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"OK")
    assert process.returncode == 0


# TLS


@pytest.fixture
def tls(home: Home, tmp_path: Path) -> Iterator[tuple[TlsProxy, Path]]:
    authority = Authority("test")
    keys = authority.issue(tmp_path / "keys", "client")
    proxy = TlsProxy(
        authority.issue(tmp_path / "server", "server", server=True), f"{home.run_directory}/carboy.sock"
    )
    yield proxy, keys
    proxy.close()


def test_a_context_with_keys(client: Client, tls: tuple[TlsProxy, Path]) -> None:
    proxy, keys = tls
    endpoint = f"host=tcp://127.0.0.1:{proxy.port},ca={keys}/ca.pem,cert={keys}/cert.pem,key={keys}/key.pem"
    client.text("context", "create", "far", "--docker", endpoint)
    data = os.urandom(300_000)
    done = client.run("-c", "far", "run", "--rm", "-i", "--network", "none", IMAGE, "cat", stdin=data)
    assert done.stdout == data
    client.text("context", "export", "far", str(client.config / "far.tar"))
    client.text("context", "rm", "far")
    client.text("context", "import", "again", str(client.config / "far.tar"))
    assert client.text("-c", "again", "version", "--format", "{{.Server.Os}}") == "linux"
    for path in (client.config / "contexts" / "tls").rglob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_tls_by_environment_and_flags(client: Client, tls: tuple[TlsProxy, Path]) -> None:
    proxy, keys = tls
    host = f"tcp://127.0.0.1:{proxy.port}"
    files = ("--tlscacert", f"{keys}/ca.pem", "--tlscert", f"{keys}/cert.pem", "--tlskey", f"{keys}/key.pem")
    assert client.text("-H", host, "--tlsverify", *files, "ps", "-q") == ""
    client.environment.update(DOCKER_HOST=host, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(keys))
    assert client.text("ps", "-q") == ""
    client.environment["DOCKER_CERT_PATH"] = "/nonexistent"
    assert "ca.pem" in client.error("ps")
    del client.environment["DOCKER_TLS_VERIFY"], client.environment["DOCKER_CERT_PATH"]
    client.error("ps")  # plain HTTP to a TLS port


# The store


def test_the_current_context(home: Home, client: Client) -> None:
    client.text("context", "create", "here", "--docker", "host=" + socket(home))
    client.text("context", "use", "here")
    assert client.text("context", "show") == "here"
    assert IMAGE in client.text("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert client.text("version", "--format", "{{.Client.Context}}") == "here"
    client.environment["DOCKER_HOST"] = "unix:///nonexistent"
    assert "/nonexistent" in client.error("ps")
    assert client.text("--context", "here", "ps", "-q") == ""
    assert "overrides the active context" in client.run("context", "use", "here").stderr.decode()
    del client.environment["DOCKER_HOST"]
    assert "is in use" in client.error("context", "rm", "here")
    client.text("context", "rm", "-f", "here")
    assert client.text("context", "show") == "default"
    client.environment["DOCKER_CONTEXT"] = "gone"
    assert 'context "gone": context not found' in client.error("ps")


@pytest.mark.needs_docker
@pytest.mark.skipif(not DOCKER, reason="needs Debian's docker command")
def test_docker_and_carboy_see_the_same_contexts(home: Home, client: Client) -> None:
    docker = [str(DOCKER)]
    client.text("context", "create", "ours", "--description", "made here", "--docker", "host=" + socket(home))
    client.run("context", "create", "theirs", "--docker", "host=" + socket(home), command=docker)
    for command in (COMMAND, docker):
        done = client.run("context", "ls", "-q", command=command)
        assert done.stdout.split() == [b"default", b"ours", b"theirs"]
        document = json.loads(client.run("context", "inspect", "ours", command=command).stdout)[0]
        assert (document["Name"], document["Metadata"]) == ("ours", {"Description": "made here"})
        assert client.run("-c", "ours", "ps", "-q", command=command).stdout == b""
        assert client.run("-c", "theirs", "ps", "-q", command=command).stdout == b""
    client.text("context", "use", "ours")
    assert client.run("ps", "-q", command=docker).stdout == b""
    client.run("context", "use", "theirs", command=docker)
    assert client.text("context", "show") == "theirs"
    path = str(client.config / "x.tar")
    client.run("context", "export", "theirs", path, command=docker)
    client.text("context", "import", "copied", path)
    assert client.text("-c", "copied", "ps", "-q") == ""
    client.text("context", "export", "ours", path + "2")
    client.run("context", "import", "again", path + "2", command=docker)
    client.run("context", "use", "default", command=docker)
    assert client.text("context", "show") == "default"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b", "x", ".hidden", "default", "a\nb", "-x"])
def test_names_that_are_no_plain_words_are_refused(client: Client, name: str) -> None:
    client.run("context", "create", "--docker", "host=unix:///x", "--", name, code=1)
    assert not client.config.exists() or not list(client.config.rglob("meta.json"))


def test_hostile_archives_are_refused(client: Client, tmp_path: Path) -> None:
    import io
    import tarfile

    meta = b'{"Name":"x","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///x"}}}'
    for name, kind in (
        ("../../evil", tarfile.REGTYPE),
        ("tls/docker/../../../evil", tarfile.REGTYPE),
        ("tls/docker/ca.pem", tarfile.SYMTYPE),
        ("other", tarfile.REGTYPE),
    ):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for member, data, type_ in (("meta.json", meta, tarfile.REGTYPE), (name, b"evil", kind)):
                info = tarfile.TarInfo(member)
                info.type, info.linkname = type_, "/etc/passwd"
                info.size = len(data) if type_ == tarfile.REGTYPE else 0
                tar.addfile(info, io.BytesIO(data))
        client.run("context", "import", "xx", "-", stdin=out.getvalue(), code=1)
        assert client.text("context", "ls", "-q") == "default"
    for data in (b"", b"nonsense" * 1000, b"PK\x03\x04 broken", meta):
        client.run("context", "import", "xx", "-", stdin=data, code=1)
    assert not (tmp_path / "evil").exists()


# config.json


def test_settings_are_honoured(home: Home, client: Client) -> None:
    client.environment["DOCKER_HOST"] = socket(home)
    settings = {
        "psFormat": "table {{.Names}}",
        "imagesFormat": "{{.Repository}}",
        "detachKeys": "ctrl-x",
        "HttpHeaders": {"X-Meta": "yes"},
        "proxies": {"default": {"httpProxy": "http://proxy:1", "noProxy": "a,b"}},
    }
    client.config.mkdir()
    (client.config / "config.json").write_text(json.dumps(settings))
    assert client.text("ps", "-a") == "NAMES"
    assert client.text("images") == IMAGE.partition(":")[0]
    shown = client.text("run", "--rm", "--network", "none", "-e", "no_proxy=mine", IMAGE, "env").splitlines()
    assert {"HTTP_PROXY=http://proxy:1", "http_proxy=http://proxy:1", "NO_PROXY=a,b"} <= set(shown)
    assert "no_proxy=mine" in shown
    (client.config / "config.json").write_text("{")
    done = client.run("ps", "-q")
    assert b"WARNING: Error parsing config file" in done.stderr
