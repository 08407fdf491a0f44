"""A web server on loopback that says what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """What is answered."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: bool = True
    """Whether Content-Length is sent."""
    cut: int = -1
    """Only so many bytes of the body are sent, then the connection is closed."""
    wait: threading.Event | None = None
    """Set by the test: nothing but the head is sent until then."""


Answer = Reply | Callable[[Asked], Reply]


class WebServer:
    """Use as a context.  `tls`: a context of the server side."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer] = {}
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.path for asked in self.asked]

    def answer(self, asked: Asked) -> Reply:
        """What is answered: by the path without its query, else by `*`."""
        self.asked.append(asked)
        found = self.answers.get(asked.path.partition("?")[0]) or self.answers.get("*") or Reply(status=404)
        return found if isinstance(found, Reply) else found(asked)

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


def _handler(owner: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def log_message(self, _format: str, *args: object) -> None:
            pass

        def _handle(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = owner.answer(Asked(self.command, self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.length and reply.status != 304:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.flush()
            if reply.wait is not None:
                reply.wait.wait(10)
            self.wfile.write(reply.body if reply.cut < 0 else reply.body[: reply.cut])

        do_GET = do_POST = do_CONNECT = _handle  # noqa: N815 - the library's names

    return Handler
