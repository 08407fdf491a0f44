"""A small websocket client (RFC 6455) of the tests' own."""

from __future__ import annotations

import base64
import hashlib
import os
import socket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    """One connection, after the handshake."""

    def __init__(self, path: str, target: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(40)
        self.socket.connect(path)
        key = base64.b64encode(os.urandom(16))
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n"
        self.socket.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self.socket.recv(1)
            assert piece, answer
            answer += piece
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        assert base64.b64encode(digest) in answer

    def send(self, data: bytes, kind: int = BINARY) -> None:
        """One masked frame."""
        mask = os.urandom(4)
        size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self.socket.sendall(bytes((0x80 | kind,)) + size + mask + masked)

    def receive(self) -> tuple[int, bytes]:
        """(kind, content) of the next frame; CLOSE at the end of the connection, too."""
        head = self._exactly(2)
        if len(head) < 2:
            return CLOSE, b""
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, self._exactly(size)

    def read_all(self) -> bytes:
        """The content of all frames until the server closes."""
        data = b""
        while True:
            kind, content = self.receive()
            if kind == CLOSE:
                return data
            data += content

    def close(self) -> None:
        """Hang up without a word."""
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data
