"""Attach and exec as a client of the API sees them: a socket after the 101 answer."""

from __future__ import annotations

import json
import socket
from typing import Any

from carboy.formats import stdcopy
from support.daemon import Daemon


def open_hijacked(daemon: Daemon, path: str, body: Any = None) -> socket.socket:
    """POST with an upgrade; the socket carries the streams from here on."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(40)
    connection.connect(daemon.socket)
    data = json.dumps(body).encode() if body is not None else b""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(1)
        assert piece, answer
        answer += piece
    assert b" 101 " in answer.splitlines()[0], answer
    return connection


def attach(daemon: Daemon, container: str, query: str = "stdin=1&stdout=1&stderr=1") -> socket.socket:
    """Join a container's streams."""
    return open_hijacked(daemon, f"/containers/{container}/attach?stream=1&{query}")


def run_exec(daemon: Daemon, container: str, *command: str, **config: Any) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of an exec without a terminal."""
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **config}
    exec_id = daemon.post(f"/containers/{container}/exec", body)["Id"]
    with open_hijacked(daemon, f"/exec/{exec_id}/start", {"Detach": False, "Tty": False}) as connection:
        out = streams(read_all(connection))
    code: int = daemon.get(f"/exec/{exec_id}/json")["ExitCode"]
    return code, out.get(1, b""), out.get(2, b"")


def read_all(connection: socket.socket) -> bytes:
    """Until the monitor closes."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """Until `wanted` has come."""
    data = b""
    while wanted not in data:
        piece = connection.recv(1 << 16)
        assert piece, data
        data += piece
    return data


def streams(data: bytes) -> dict[int, bytes]:
    """What stdcopy frames carry, by stream."""
    found: dict[int, bytes] = {}
    for number, piece in stdcopy.Decoder().feed(data):
        found[number] = found.get(number, b"") + piece
    return found
