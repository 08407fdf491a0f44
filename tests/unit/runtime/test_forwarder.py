"""The forwarder in this process: what it holds, what it forwards, when it lets go."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from carboy.formats import spawner as protocol
from carboy.runtime.forwarder.service import Forwarder

TIMEOUT = 5.0


class Client:
    """A daemon of one test: packets and descriptors out, replies in."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(path)

    def ask(self, operation: str, *descriptors: int, **fields: object) -> dict[str, object]:
        packet = protocol.encode({"op": operation, "seq": 1, **fields})
        socket.send_fds(self.sock, [packet], list(descriptors))
        return protocol.decode(self.sock.recv(protocol.MAX_PACKET))


class Running:
    """A forwarder in a thread, and one client of it."""

    def __init__(self, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen()
        self.thread = threading.Thread(target=Forwarder(listener).run, daemon=True)
        self.thread.start()
        self.listener = listener
        self.client = Client(path)
        self.program = subprocess.Popen(["sleep", "1000"])  # stands for a container's init

    def open(self, sock: socket.socket, inside: int, target: str = "127.0.0.1") -> tuple[str, int]:
        """Hand a bound socket over; where it is."""
        address: tuple[str, int] = sock.getsockname()[:2]
        pidfd = os.pidfd_open(self.program.pid)
        reply = self.client.ask("open", pidfd, sock.fileno(), id="c1", target=target, ports=[inside])
        assert "error" not in reply
        os.close(pidfd)
        sock.close()
        return address

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        with contextlib.suppress(OSError):
            self.client.ask("release", id="c1")
        self.client.sock.close()
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        self.listener.close()


@pytest.fixture
def running(tmp_path: object) -> Iterator[Running]:
    made = Running(f"{tmp_path}/s")
    yield made
    made.close()


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """Sends back what it gets, and ends when the client's side has ended."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = server.accept()
                with accepted:
                    while part := accepted.recv(65536):
                        accepted.sendall(part)

    with listening() as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)


def send_and_end(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def test_a_connection_goes_both_ways_and_ends_one_side_at_a_time(running: Running) -> None:
    data = os.urandom(3 << 20)
    with echo_server() as port:
        place = running.open(listening(), port)
        with socket.create_connection(place, timeout=TIMEOUT) as client:
            sender = threading.Thread(target=send_and_end, args=(client, data))
            sender.start()
            received = bytearray()
            while part := client.recv(65536):
                received += part
            sender.join()
    assert bytes(received) == data


def test_many_connections_at_once(running: Running) -> None:
    with echo_server() as port:
        place = running.open(listening(), port)
        for _ in range(20):
            with socket.create_connection(place, timeout=TIMEOUT) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"


def test_nobody_inside_means_a_reset(running: Running) -> None:
    with listening() as unused:
        port = unused.getsockname()[1]
    place = running.open(listening(), port)
    with pytest.raises(ConnectionResetError), socket.create_connection(place, timeout=TIMEOUT) as client:
        client.recv(1)


def test_a_server_that_resets_is_passed_on(running: Running) -> None:
    with listening() as server:
        place = running.open(listening(), server.getsockname()[1])
        with socket.create_connection(place, timeout=TIMEOUT) as client:
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            accepted.close()
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_datagrams_come_back_to_their_senders(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(TIMEOUT)
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.bind(("127.0.0.1", 0))
        place = running.open(held, server.getsockname()[1])
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for number, client in enumerate(clients):
            client.settimeout(TIMEOUT)
            client.connect(place)
            client.send(b"%d" % number)
            data, sender = server.recvfrom(100)
            server.sendto(b"re " + data, sender)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"re %d" % number
            client.close()


def test_the_end_of_init_frees_the_port_and_ends_connections(running: Running) -> None:
    with listening() as server:
        place = running.open(listening(), server.getsockname()[1])
        with socket.create_connection(place, timeout=TIMEOUT) as client:
            accepted, _ = server.accept()
            running.program.kill()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            accepted.close()
        assert running.client.ask("list")["held"] == {}
        socket.create_server(place).close()


def test_a_release_frees_the_port(running: Running) -> None:
    place = running.open(listening(), 9)
    assert running.client.ask("list")["held"] == {"c1": 1}
    running.client.ask("release", id="c1")
    socket.create_server(place).close()
    running.client.ask("release", id="never")


def test_broken_requests_are_answered_with_errors(running: Running) -> None:
    for operation, fields in (
        ("open", {"id": "x"}),
        ("hold", {"id": "x", "ports": [1]}),
        ("guard", {"name": "x"}),
        ("frob", {}),
    ):
        assert "error" in running.client.ask(operation, **fields)
    assert running.client.ask("hello")["version"] == protocol.VERSION
