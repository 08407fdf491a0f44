"""The API over TCP with mutual TLS: all that works on the unix socket, nobody without a certificate."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from carboy.formats import stdcopy
from support.certificates import Authority
from support.daemon import IMAGE, REPOSITORY, Daemon, running_daemon
from support.hijack import streams

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_network,
    # Clients of these tests leave TLS sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Remote:
    """A daemon with a TLS port, and the folders of certificates."""

    def __init__(self, daemon: Daemon, home: Path, authority: Authority) -> None:
        self.daemon = daemon
        self.home = home
        self.authority = authority
        found = re.search(r"API listen on tcp://127.0.0.1:(\d+)", daemon.log())
        assert found, daemon.log()
        self.port = int(found[1])

    def context(self, folder: str | None = "client") -> ssl.SSLContext:
        """What a client with the certificates of `folder` uses."""
        context = ssl.create_default_context(cafile=str(self.home / "client" / "ca.pem"))
        if folder is not None:
            context.load_cert_chain(self.home / folder / "cert.pem", self.home / folder / "key.pem")
        return context

    def dial(self) -> ssl.SSLSocket:
        """A connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=40)
        return self.context().wrap_socket(plain, server_hostname="127.0.0.1")

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context(), timeout=40)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def hijack(self, path: str, body: Any = None) -> ssl.SSLSocket:
        """POST with an upgrade."""
        connection = self.dial()
        data = json.dumps(body).encode() if body is not None else b""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        assert b" 101 " in answer.splitlines()[0], answer
        return connection


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    home = tmp_path_factory.mktemp("tls")
    authority = Authority("Carboy's tests")
    server = authority.issue(home / "server", "daemon", server=True)
    authority.issue(home / "client", "client")
    Authority("somebody else").issue(home / "stranger", "stranger", trusted=authority)
    options = ["--host", "tcp://127.0.0.1:0", "--tlsverify"]
    for name, file in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        options.append(f"--{name}={server / file}")
    with contextlib.contextmanager(running_daemon)(*options) as daemon:
        yield Remote(daemon, home, authority)
        assert "Traceback" not in daemon.log(), daemon.log()


def test_a_client_with_a_certificate_is_served(remote: Remote) -> None:
    assert remote.request("GET", "/_ping") == (200, b"OK")
    status, data = remote.request("GET", "/info")
    assert (status, json.loads(data)["OSType"]) == (200, "linux")


@pytest.mark.parametrize("folder", [None, "stranger"])
def test_others_are_refused_in_the_handshake(remote: Remote, folder: str | None) -> None:
    context = remote.context(folder)
    with (
        socket.create_connection(("127.0.0.1", remote.port), timeout=40) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not tls.recv(100), "an answer without a certificate"
        raise ConnectionError


def test_plain_http_and_nonsense_get_nothing(remote: Remote) -> None:
    for data in (b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300), b"\0" * 64):
        with socket.create_connection(("127.0.0.1", remote.port), timeout=40) as plain:
            plain.sendall(data)
            with contextlib.suppress(ConnectionError):
                assert b"HTTP/1.1 200" not in plain.recv(4096)
    with socket.create_connection(("127.0.0.1", remote.port), timeout=40):
        pass  # and gone
    assert remote.request("GET", "/_ping")[0] == 200


def test_web_pages_are_refused(remote: Remote) -> None:
    assert remote.request("GET", "/info", Origin="https://example.com")[0] == 403
    assert remote.request("GET", "/info", **{"Sec-Fetch-Site": "cross-site"})[0] == 403


def test_descriptors_of_this_machine_are_not_taken(remote: Remote) -> None:
    status, data = remote.request("POST", "/images/load", b"", **{"X-Carboy-Descriptor": "0"})
    assert (status, b"unix socket" in data) == (501, True)


def test_an_exec_with_standard_input_that_ends(remote: Remote) -> None:
    """The client says that it has nothing more to say (close_notify), and still gets its answer."""
    container = remote.daemon.create("sleep", "100", host={"NetworkMode": "none"})
    remote.daemon.post(f"/containers/{container}/start")
    body = {"Cmd": ["sh", "-c", "sleep 0.1; wc -c"], "AttachStdin": True, "AttachStdout": True}
    exec_id = json.loads(remote.request("POST", f"/containers/{container}/exec", body)[1])["Id"]
    connection = remote.hijack(f"/exec/{exec_id}/start", {"Detach": False})
    connection.sendall(b"x" * 300_000)
    end_output(connection)
    assert streams(read_all(connection)) == {1: b"300000\n"}
    connection.close()
    status, answer = remote.request("GET", f"/exec/{exec_id}/json")
    assert (status, json.loads(answer)["ExitCode"]) == (200, 0)
    remote.daemon.remove_all()


def end_output(connection: ssl.SSLSocket) -> None:
    """Send close_notify, and go on reading: what Go's tls.Conn.CloseWrite does."""
    connection.settimeout(0.01)
    with contextlib.suppress(ssl.SSLError, TimeoutError):
        connection._sslobj.shutdown()  # type: ignore[attr-defined]  # Python has no public way
    connection.settimeout(40)


def read_all(connection: ssl.SSLSocket) -> bytes:
    """Until the other side's farewell."""
    pieces = []
    with contextlib.suppress(ssl.SSLZeroReturnError):  # how it is told to whoever has said farewell before
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def test_a_large_output_arrives_whole(remote: Remote) -> None:
    container = remote.daemon.create("sh", "-c", "seq 200000", host={"NetworkMode": "none"})
    connection = remote.hijack(f"/containers/{container}/attach?stream=1&stdout=1")
    remote.daemon.post(f"/containers/{container}/start")
    time.sleep(0.2)  # the client is slow
    output = streams(read_all(connection))[1]
    connection.close()
    assert output == b"".join(b"%d\n" % number for number in range(1, 200_001))
    remote.daemon.wait(container)
    status, log = remote.request("GET", f"/containers/{container}/logs?stdout=1")
    pieces = [piece for number, piece in stdcopy.Decoder().feed(log) if number == 1]
    assert (status, b"".join(pieces)) == (200, output)
    remote.daemon.remove_all()


def test_a_client_that_vanishes_leaves_its_container_alone(remote: Remote) -> None:
    container = remote.daemon.create("cat", host={"NetworkMode": "none"}, OpenStdin=True)
    remote.daemon.post(f"/containers/{container}/start")
    before = len(remote.daemon.descriptors())
    for _ in range(5):
        connection = remote.hijack(f"/containers/{container}/attach?stream=1&stdin=1&stdout=1")
        connection.sendall(b"hello\n")
        seen = b""
        while len(seen) < len(b"........hello\n"):
            seen += connection.recv(100)
        assert streams(seen) == {1: b"hello\n"}
        connection.close()
    deadline = time.monotonic() + 40
    while len(remote.daemon.descriptors()) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(remote.daemon.descriptors()) <= before
    assert remote.daemon.get(f"/containers/{container}/json")["State"]["Running"]
    remote.daemon.remove_all()


def test_docker_py_works_over_tls(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they win over what docker-py is told
        monkeypatch.delenv(name, raising=False)
    folder = remote.home / "client"
    tls = docker.tls.TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
        ca_cert=str(folder / "ca.pem"),
        verify=True,
    )
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{remote.port}", tls=tls, timeout=40)
    try:
        seen: list[str] = []
        events = client.events(decode=True, filters={"type": "container"})
        thread = threading.Thread(target=lambda: seen.extend(one["Action"] for one in events))
        thread.start()
        assert client.containers.run(IMAGE, ["echo", "hi"], remove=True, network_mode="none") == b"hi\n"
        container = client.containers.run(IMAGE, ["sleep", "100"], detach=True, network_mode="none")
        assert container.exec_run(["echo", "inside"]).output == b"inside\n"
        assert container.put_archive("/tmp", tar_of("x", b"data")) is True
        pieces, _ = container.get_archive("/tmp/x")
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            member = tar.extractfile("x")
            assert member is not None
            assert member.read() == b"data"
        container.remove(force=True)
        deadline = time.monotonic() + 40
        while seen.count("destroy") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        events.close()
        thread.join(40)
        assert [seen.count(action) for action in ("create", "start", "die", "destroy")] == [2, 2, 2, 2]
    finally:
        client.close()


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.needs_docker
@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker command")
def test_the_docker_command_works_over_tls(remote: Remote) -> None:
    folder = remote.home / "client"
    command = ["docker", "-H", f"tcp://127.0.0.1:{remote.port}", "--tlsverify"]
    command += [
        f"--tls{what}={folder}/{file}.pem"
        for what, file in (("cacert", "ca"), ("cert", "cert"), ("key", "key"))
    ]
    done = subprocess.run(
        [*command, "run", "-i", "--rm", "--network", "none", IMAGE, "sh", "-c", "cat; exit 7"],
        input=b"through and back\n",
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, b"through and back\n"), done.stderr


def test_uploads_are_read_at_the_clients_pace(remote: Remote) -> None:
    """An archive in slow pieces; others are served meanwhile."""
    connection = remote.dial()
    connection.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(5):
        connection.sendall(b"8\r\n" + bytes(8) + b"\r\n")
        assert remote.request("GET", "/_ping")[0] == 200
    connection.sendall(b"0\r\n\r\n")
    assert b" 400 " in connection.recv(4096).splitlines()[0]
    connection.close()


def test_certificates_are_renewed_by_sighup(remote: Remote) -> None:
    """A new one counts for new connections; a broken one leaves the old one in place."""
    assert remote.daemon.process is not None
    before = serial(remote)
    fresh = remote.authority.issue(remote.home / "fresh", "daemon", server=True)
    for name in ("cert.pem", "key.pem"):
        os.replace(fresh / name, remote.home / "server" / name)
    remote.daemon.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 40
    while serial(remote) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    now = serial(remote)
    (remote.home / "server" / "cert.pem").write_text("nonsense")
    remote.daemon.process.send_signal(signal.SIGHUP)
    while "the settings were not reloaded" not in remote.daemon.log():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert serial(remote) == now


def serial(remote: Remote) -> object:
    with remote.dial() as connection:
        certificate = connection.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_the_daemon_refuses_tcp_without_certificates(tmp_path: Path) -> None:
    for options, words in (
        ([], "whoever reaches this port is root here"),
        (["--tls"], "tls without tlsverify lets everybody in"),
        (["--tlsverify", f"--tlscert={tmp_path}/none"], "could not load X509 key pair"),
    ):
        command = [sys.executable, "-m", "carboy.daemon", f"--root={tmp_path}/root", f"--run={tmp_path}/run"]
        done = subprocess.run(
            [*command, "--host=tcp://127.0.0.1:0", *options],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
