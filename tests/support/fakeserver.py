"""A scripted HTTP server on a unix socket: says what a test tells it, remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class FakeServer:
    """Answers `METHOD /path` (query left out) with prepared bytes; one thread per connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.replies: dict[str, bytes] = {}
        self.streams: dict[str, bytes] = {}
        self.held: set[str] = set()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def json(self, route: str, value: Any, status: int = 200) -> None:
        """Answer a route with a JSON document."""
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.replies[route] = head.encode() + body

    def hijack(self, route: str, stream: bytes, *, held: bool = False) -> None:
        """Answer a route with 101 and these bytes, then end the stream; held: when the client does."""
        self.held |= {route} if held else set()
        self.replies[route] = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        self.streams[route] = stream

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._answer(connection)
        except ConnectionError:
            pass  # a client need not read everything

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            while line := file.readline():
                method, target, _version = line.decode().split(" ")
                headers = {}
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = _body(file, headers)
                self.requests.append((f"{method} {target}", headers, body))
                route = f"{method} {target.partition('?')[0]}"
                missing = b"HTTP/1.1 404 X\r\nContent-Length: 21\r\n\r\n" + b'{"message":"missing"}'
                connection.sendall(self.replies.get(route, missing))
                if route in self.streams:
                    connection.sendall(self.streams[route])
                    if route in self.held:
                        file.read()
                    return

    def close(self) -> None:
        """Stop listening and wait for every thread; clients must have closed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(40)


def _body(file: Any, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        pieces = []
        while size := int(file.readline(), 16):
            pieces.append(file.read(size))
            file.readline()
        file.readline()
        return b"".join(pieces)
    length = int(headers.get("content-length", 0))
    data: bytes = file.read(length)
    return data


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """One for a test, and a command line without settings of its user."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "settings"))
    server = FakeServer(str(tmp_path / "s"))
    yield server
    server.close()
