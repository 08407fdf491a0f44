"""The client over TLS: requests, raw streams that close one way, and refusals in words."""

from __future__ import annotations

import _socket
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from carboy.cli import streams
from carboy.client import address, transport
from carboy.errors import InvalidArgument, Unavailable
from support.certificates import Authority
from support.fakeserver import FakeServer
from support.tlsproxy import TlsProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Rig:
    """A scripted server behind TLS, and folders of keys."""

    def __init__(self, path: Path) -> None:
        self.server = FakeServer(str(path / "s"))
        authority = Authority("test authority")
        self.client_keys = authority.issue(path / "client", "client")
        self.stranger = Authority("another").issue(path / "stranger", "stranger")
        self.proxy = TlsProxy(authority.issue(path / "server", "server", server=True), self.server.path)
        self.clients: list[transport.Client] = []

    def client(
        self, folder: Path | None = None, *, host: str = "127.0.0.1", cert: bool = True, verify: bool = True
    ) -> transport.Client:
        folder = folder or self.client_keys
        tls = address.Tls(
            ca=str(folder / "ca.pem") if verify else "",
            cert=str(folder / "cert.pem") if cert else "",
            key=str(folder / "key.pem") if cert else "",
            verify=verify,
        )
        made = transport.Client(address.parse(f"tcp://{host}:{self.proxy.port}", tls))
        self.clients.append(made)
        return made

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.proxy.close()
        self.server.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_requests(rig: Rig) -> None:
    rig.server.json("GET /a", {"x": "y" * 300_000})
    client = rig.client()
    assert client.get_object("/a") == {"x": "y" * 300_000}
    assert client.get_object("/a")["x"][:1] == "y"
    assert len(client._opened) == 1


def test_uploads(rig: Rig) -> None:
    rig.server.json("POST /up", {})
    response = rig.client().request("POST", "/up", upload=[b"a" * 300_000, b"b" * 300_000])
    response.read()
    assert rig.server.requests[0][2] == b"a" * 300_000 + b"b" * 300_000


def test_a_stream_that_is_closed_one_way(tmp_path: Path) -> None:
    """`echo data | run -i cat`: our end is told, the answer still arrives."""
    authority = Authority("a")
    keys = authority.issue(tmp_path / "client", "client")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            received = head.partition(b"\r\n\r\n")[2]
            while data := connection.recv(1 << 16):
                received += data
                connection.sendall(data)  # as cat does: it writes before it has read everything
            connection.sendall(b"end of %d" % len(received))

    thread = threading.Thread(target=serve)
    thread.start()
    proxy = TlsProxy(authority.issue(tmp_path / "server", "server", server=True), str(tmp_path / "s"))
    tls = address.Tls(ca=f"{keys}/ca.pem", cert=f"{keys}/cert.pem", key=f"{keys}/key.pem")
    client = transport.Client(address.parse(f"tcp://localhost:{proxy.port}", tls))
    sent = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(sent)
    try:
        connection = client.start_hijack("/attach")
        transport.finish_hijack(connection)
        stdin = os.open(tmp_path / "in", os.O_RDONLY)
        stdout = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        reading, writing = os.pipe()
        feeder = threading.Thread(target=_feed, args=(writing, stdin))
        feeder.start()
        assert streams.copy(connection, tty=True, stdin=reading, stdout=stdout)
        feeder.join()
        for descriptor in (stdin, stdout, reading):
            os.close(descriptor)
        assert (tmp_path / "out").read_bytes() == sent + b"end of 3000000"
    finally:
        client.close()
        thread.join()
        proxy.close()
        listener.close()


def _feed(writing: int, stdin: int) -> None:
    while data := os.read(stdin, 1 << 16):
        os.write(writing, data)
    os.close(writing)


def test_an_untrusted_server_is_refused(rig: Rig) -> None:
    with pytest.raises(Unavailable, match="cannot trust the daemon at tcp://127"):
        rig.client(rig.stranger).get("/a")


def test_a_client_without_a_certificate_is_told_so(rig: Rig) -> None:
    with pytest.raises(Unavailable, match="client certificate"):
        rig.client(cert=False).get("/a")


def test_a_stranger_is_refused_by_the_server(rig: Rig) -> None:
    with pytest.raises(Unavailable, match=r"TLS|daemon"):
        rig.client(rig.stranger, verify=False).get("/a")


def test_verification_can_be_left_out(rig: Rig) -> None:
    rig.server.json("GET /a", {})
    assert rig.client(verify=False).get("/a") == {}


def test_a_server_without_tls(rig: Rig) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    client = transport.Client(
        address.parse(f"tcp://127.0.0.1:{listener.getsockname()[1]}", address.Tls(verify=False))
    )
    with pytest.raises(Unavailable, match="does not speak TLS"):
        client.get("/a")
    thread.join()
    listener.close()


def test_missing_and_broken_files_are_named(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match=r"ca\.pem"):
        rig.client(tmp_path / "empty").get("/a")
    (tmp_path / "empty" / "ca.pem").write_text("nonsense")
    with pytest.raises(InvalidArgument, match=r"ca\.pem"):
        rig.client(tmp_path / "empty", cert=False).get("/a")


def test_sending_never_blocks(tmp_path: Path) -> None:
    """A peer that reads nothing: `send` gives up instead of waiting."""
    keys = Authority("a").issue(tmp_path / "server", "server", server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True):
            done.wait(40)

    thread = threading.Thread(target=serve)
    thread.start()
    client = transport.Client(
        address.parse(f"tcp://127.0.0.1:{listener.getsockname()[1]}", address.Tls(verify=False))
    )
    try:
        connection = client.connect()
        with pytest.raises(BlockingIOError):
            while True:
                connection.socket.send(bytes(1 << 20), _socket.MSG_DONTWAIT)
    finally:
        done.set()
        client.close()
        thread.join()
        listener.close()
