"""The API over a backend, in a thread, on a unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

from carboy.api.backend import Backends
from carboy.api.call import TakeDescriptor
from carboy.api.listeners import listen
from carboy.api.server import Serving, serve


@contextlib.contextmanager
def running_api(
    path: str,
    backends: Backends,
    *,
    take_descriptor: TakeDescriptor | None = None,
    serving: Serving | None = None,
) -> Iterator[None]:
    """Serve on a unix socket while the block runs."""
    listener = listen(f"unix://{path}")
    ready = threading.Event()
    stop: list[Callable[[], None]] = []

    def on_ready(function: Callable[[], None]) -> None:
        stop.append(function)
        ready.set()

    thread = threading.Thread(
        target=lambda: serve(
            [listener],
            backends,
            on_ready=on_ready,
            serving=serving or Serving(take_descriptor=take_descriptor),
        )
    )
    thread.start()
    assert ready.wait(40)
    try:
        yield
    finally:
        stop[0]()
        thread.join(40)
        assert not thread.is_alive()
        assert not os.path.exists(path)


class UnixConnection(HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=40)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = dial(self._path)


def dial(path: str) -> socket.socket:
    """A plain connection."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(40)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class Client:
    """Requests, each on a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    def call(
        self,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body; one that is given in pieces is sent in chunks."""
        connection = UnixConnection(self.path)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, method: str, target: str, document: object = None) -> tuple[int, Any]:
        """Status and decoded body."""
        body = None if document is None else json.dumps(document).encode()
        status, _, data = self.call(
            method, target, body, {"Content-Type": "application/json"} if body else None
        )
        return status, json.loads(data) if data.strip() else None
