"""A TLS front for a unix socket, in a thread: what a daemon's TLS listener does, half-closes included."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from pathlib import Path


class TlsProxy:
    """Listens at 127.0.0.1:`port`; `folder` holds ca.pem, cert.pem and key.pem of the server."""

    def __init__(self, folder: Path, target: str, *, mutual: bool = True) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        if mutual:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(folder / "ca.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(plain,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(40)
        try:
            with (
                self._context.wrap_socket(plain, server_side=True) as near,
                socket.socket(socket.AF_UNIX) as far,
            ):
                far.connect(self._target)
                _relay(near, far)
        except OSError:
            plain.close()

    def close(self) -> None:
        """Stop listening and wait for every connection; clients must have closed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(40)


def _relay(near: ssl.SSLSocket, far: socket.socket) -> None:
    watched: list[socket.socket] = [near, far]
    while True:
        ready = [near] if near.pending() else select.select(watched, [], [], 20)[0]
        if not ready:
            return
        if near in ready:
            data = near.recv(1 << 16)
            if data:
                far.sendall(data)
            else:
                watched.remove(near)
                far.shutdown(socket.SHUT_WR)
        if far in ready:
            data = far.recv(1 << 16)
            if not data:
                return
            near.sendall(data)
