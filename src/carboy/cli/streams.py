"""Copying between the terminal and a hijacked connection: one loop, big buffers.

    stdin ──────▶ pending ──▶ connection          end of stdin: half-close
    connection ──▶ raw (tty), or stdcopy frames [stream 0 0 0 len32be] ──▶ stdout, stderr
    signals ────▶ the caller's `on_signal`

Sends never block: a program that prints before it reads its input must not stop us from
reading its output.  Large frames are written from the receive buffer without a copy, runs of
small ones of one stream by a single write.
"""

from __future__ import annotations

import _socket
import os
import select
from _struct import Struct

from carboy.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.signals import Watcher
    from carboy.cli.terminal import DetachScanner
    from carboy.client.transport import Connection, Stream

RECEIVE = 1 << 20
READ_STDIN = 64 * 1024
_HEAD = Struct(">BxxxL")
_JOIN = 8192
"""Below this mean size, copying pieces together is cheaper than a write for each."""
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
        position, end, unpack = 0, len(data), _HEAD.unpack_from
        run: list[memoryview] = []
        target = self._target
        while position < end:
            if self._left:  # a frame that began in an earlier piece
                size = min(self._left, end - position)
                self._left -= size
            elif self._head or end - position < 8:
                position = self._read_split_head(data, position)
                size = 0
            else:  # the hot path: two small calls a frame
                kind, size = unpack(data, position)
                position += 8
                self._choose(kind)
                if size > end - position:
                    self._left = size - (end - position)
                    size = end - position
            if self._target != target:
                _write_run(target, run)
                run, target = [], self._target
            run.append(data[position : position + size])
            position += size
        _write_run(target, run)

    def _choose(self, kind: int) -> None:
        if kind > 2:
            raise Unavailable(
                "the daemon reported an error inside the output stream"
                if kind == 3
                else "the daemon's output is not multiplexed as its API says"
            )
        self._target = self._targets[kind]

    def _read_split_head(self, data: memoryview, position: int) -> int:
        """Collect a head that is cut over two pieces; the position after what was taken."""
        taken = data[position : position + 8 - len(self._head)]
        self._head += taken
        if len(self._head) == 8:
            kind, self._left = _HEAD.unpack_from(self._head)
            self._head.clear()
            self._choose(kind)
        return position + len(taken)


def _write_run(target: int, run: list[memoryview]) -> None:
    """Write pieces in order: one of them as it is, many small ones joined."""
    if len(run) > 1 and sum(map(len, run)) < _JOIN * len(run):
        run = [memoryview(b"".join(run))]
    for piece in run:
        written = os.write(target, piece) if piece else 0
        while written < len(piece):
            piece = piece[written:]
            written = os.write(target, piece)


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
    output = _Output(connection, stdout, None if tty else Demultiplexer(stdout, stderr))
    typed = _Input(connection, stdin, scanner)
    poll = typed.poll
    if watcher is not None:
        poll.register(watcher, select.POLLIN)
    if connection.rest:
        rest, connection.rest = connection.rest, b""
        output.deliver(memoryview(rest))
    while True:
        for descriptor, event in poll.poll():
            if watcher is not None and descriptor == watcher.fileno():
                _pass_on(watcher, on_signal)
            elif descriptor == typed.stdin:
                if not typed.take():
                    return False
            else:
                if event & select.POLLOUT:
                    typed.go_on()
                if event & ~select.POLLOUT and not output.take():
                    return True


def _pass_on(watcher: Watcher, on_signal: Callable[[int], None] | None) -> None:
    for number in watcher.take():
        if on_signal is not None:
            on_signal(number)


class _Output:
    """From the stream to our descriptors."""

    __slots__ = ("_buffer", "_demultiplexer", "_stdout", "_stream", "_whole")

    def __init__(self, connection: Connection, stdout: int, demultiplexer: Demultiplexer | None) -> None:
        self._stream = connection.socket
        self._stdout = stdout
        self._demultiplexer = demultiplexer
        self._buffer = bytearray(RECEIVE)
        self._whole = memoryview(self._buffer)

    def take(self) -> bool:
        """Read what is there and write it; False at the end."""
        try:
            count = self._stream.recv_into(self._buffer)
        except ConnectionResetError:
            count = 0
        if count:
            self.deliver(self._whole[:count])
        return count > 0

    def deliver(self, data: memoryview) -> None:
        """Write what came."""
        if self._demultiplexer is not None:
            self._demultiplexer.write(data)
        else:
            _write_run(self._stdout, [data])


class _Input:
    """From our descriptor to the stream; what the stream does not take waits, and nothing more is read."""

    __slots__ = ("_pending", "_scanner", "_stream", "poll", "stdin")

    def __init__(self, connection: Connection, stdin: int | None, scanner: DetachScanner | None) -> None:
        self._stream = connection.socket
        self._scanner = scanner
        self._pending = b""
        self.stdin = stdin
        self.poll = select.poll()
        self.poll.register(self._stream, select.POLLIN)
        if stdin is not None:
            self.poll.register(stdin, select.POLLIN)

    def take(self) -> bool:
        """Read what was typed and send it; False when the user detached."""
        assert self.stdin is not None
        typed = _read(self.stdin)
        if not typed:
            self.poll.unregister(self.stdin)
            self.stdin = None
            _half_close(self._stream)
            return True
        self._pending = _send_some(self._stream, typed)
        if self._scanner is not None and self._scanner.seen(typed):
            return False
        if self._pending:
            self.poll.unregister(self.stdin)
            self.poll.register(self._stream, select.POLLIN | select.POLLOUT)
        return True

    def go_on(self) -> None:
        """The stream takes more."""
        if not self._pending:
            return
        self._pending = _send_some(self._stream, self._pending)
        if not self._pending and self.stdin is not None:
            self.poll.register(self._stream, select.POLLIN)
            self.poll.register(self.stdin, select.POLLIN)


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
            _pass_on(watcher, on_signal)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_STDIN)
    except OSError:
        return b""  # a terminal that hung up


def _send_some(stream: Stream, data: bytes) -> bytes:
    """Send what fits; the rest."""
    try:
        return data[stream.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL) :]
    except BlockingIOError:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return b""  # the reading side reports the end


def _half_close(stream: Stream) -> None:
    try:
        stream.shutdown(_socket.SHUT_WR)
    except OSError:
        pass
