"""Copying between the terminal and a hijacked connection: one loop, big buffers.

    stdin ──────▶ pending ──▶ connection          end of stdin: half-close
    connection ──▶ raw (tty), or stdcopy frames [stream 0 0 0 len32be] ──▶ stdout, stderr
    signals ────▶ the caller's `on_signal`

Sends never block: a program that prints before it reads its input must not stop us from
reading its output.  Frames are written from the receive buffer without a copy, runs of
small ones of one stream by a single writev.
"""

from __future__ import annotations

import _socket
import os
import select

from carboy.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.signals import Watcher
    from carboy.cli.terminal import DetachScanner
    from carboy.client.transport import Connection

RECEIVE = 1 << 20
READ_STDIN = 64 * 1024
_MAX_IOV = 512
_SIGWINCH = 28


class Demultiplexer:
    """Writes stdcopy frames to the descriptors of their streams; a frame may arrive in pieces."""

    def __init__(self, stdout: int, stderr: int) -> None:
        self._targets = (stdout, stdout, stderr)
        self._head = bytearray()
        self._target = stdout
        self._left = 0

    def write(self, data: memoryview) -> None:
        """Take bytes from the connection and write what they complete."""
        position, end = 0, len(data)
        run: list[memoryview] = []
        run_target = self._target
        while position < end:
            if not self._left:
                position = self._read_head(data, position)
                continue
            if self._target != run_target or len(run) == _MAX_IOV:
                _write_run(run_target, run)
                run, run_target = [], self._target
            size = min(self._left, end - position)
            run.append(data[position : position + size])
            position += size
            self._left -= size
        _write_run(run_target, run)

    def _read_head(self, data: memoryview, position: int) -> int:
        if not self._head and len(data) - position >= 8:
            head = data[position : position + 8]
            position += 8
        else:
            missing = 8 - len(self._head)
            self._head += data[position : position + missing]
            position += min(missing, len(data) - position)
            if len(self._head) < 8:
                return position
            head = memoryview(bytes(self._head))
            self._head.clear()
        kind = head[0]
        self._left = int.from_bytes(head[4:8], "big")
        if kind == 3:
            raise Unavailable("the daemon reported an error inside the output stream")
        if kind > 3:
            raise Unavailable("the daemon's output is not multiplexed as its API says")
        self._target = self._targets[kind]
        return position


def _write_run(target: int, run: list[memoryview]) -> None:
    if not run:
        return
    written = os.writev(target, run)
    for piece in run:
        if written >= len(piece):
            written -= len(piece)
            continue
        piece = piece[written:]
        written = 0
        while piece:
            piece = piece[os.write(target, piece) :]


def copy(
    connection: Connection,
    *,
    tty: bool,
    stdin: int | None = None,
    stdout: int = 1,
    stderr: int = 2,
    scanner: DetachScanner | None = None,
    watcher: Watcher | None = None,
    on_signal: Callable[[int], None] | None = None,
) -> bool:
    """Copy until the server ends the stream; False when the user detached."""
    stream = connection.socket
    demultiplexer = None if tty else Demultiplexer(stdout, stderr)
    buffer = bytearray(RECEIVE)
    whole = memoryview(buffer)
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    if stdin is not None:
        poll.register(stdin, select.POLLIN)
    if watcher is not None:
        poll.register(watcher, select.POLLIN)
    pending = b""

    def deliver(data: memoryview) -> None:
        if demultiplexer is not None:
            demultiplexer.write(data)
        else:
            _write_run(stdout, [data])

    if connection.rest:
        rest, connection.rest = connection.rest, b""
        deliver(memoryview(rest))
    while True:
        for descriptor, event in poll.poll():
            if watcher is not None and descriptor == watcher.fileno():
                for number in watcher.take():
                    if on_signal is not None:
                        on_signal(number)
            elif descriptor == stdin:
                typed = _read(stdin)
                if not typed:
                    poll.unregister(stdin)
                    stdin = None
                    _half_close(stream)
                    continue
                if scanner is not None and scanner.seen(typed):
                    _send_some(stream, typed)
                    return False
                pending = _send_some(stream, typed)
                if pending:
                    poll.unregister(stdin)
                    poll.register(stream, select.POLLIN | select.POLLOUT)
            else:
                if event & select.POLLOUT and pending:
                    pending = _send_some(stream, pending)
                    if not pending and stdin is not None:
                        poll.register(stream, select.POLLIN)
                        poll.register(stdin, select.POLLIN)
                if event & ~select.POLLOUT:
                    try:
                        count = stream.recv_into(buffer)
                    except ConnectionResetError:
                        count = 0
                    if not count:
                        return True
                    deliver(whole[:count])


def wait_readable(
    connection: Connection, watcher: Watcher | None, on_signal: Callable[[int], None] | None
) -> None:
    """Wait until a connection has something to read, passing signals on meanwhile."""
    if connection.rest or watcher is None:
        return
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    poll.register(watcher, select.POLLIN)
    while True:
        for descriptor, _event in poll.poll():
            if descriptor != watcher.fileno():
                return
            for number in watcher.take():
                if on_signal is not None:
                    on_signal(number)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_STDIN)
    except OSError:
        return b""  # a terminal that hung up


def _send_some(stream: _socket.socket, data: bytes) -> bytes:
    """Send what fits; the rest."""
    try:
        return data[stream.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL) :]
    except BlockingIOError:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return b""  # the reading side reports the end


def _half_close(stream: _socket.socket) -> None:
    try:
        stream.shutdown(_socket.SHUT_WR)
    except OSError:
        pass
