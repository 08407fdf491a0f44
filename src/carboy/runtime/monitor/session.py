"""The streams of one program (the container's or an exec's), its log and its attached clients.

    program ──pipes or terminal──▶ Session ──▶ log
                                      │ └────▶ Client … Client     (stdcopy frames, or raw)
    program ◀──pipe or terminal─── Session ◀── Client … Client

Back-pressure: while some client has more than BUFFER bytes unsent, the program's output is not
read; a client that takes nothing for STALL seconds is dropped.  The log never waits for clients.
"""

from __future__ import annotations

import os
import time
from _socket import SHUT_WR
from _socket import socket as Socket  # noqa: N812 - the C type; the socket module would cost 0.3 MiB
from fcntl import ioctl

from carboy.formats import stdcopy
from carboy.runtime.monitor.detach import Scanner
from carboy.runtime.monitor.loop import GONE, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.monitor.log import Log
    from carboy.runtime.monitor.loop import Loop, Timer

    Message = dict[str, Any]

BUFFER = 1 << 20
PIECES = 4096
"""Pieces unsent that make the program wait: one of a byte takes as much memory as one of hundreds."""
STALL = 10.0
CHUNK = 256 * 1024
INPUT_BUFFER = 64 * 1024
LAST = 1.0
"""Seconds for what is left of the output at the end: a pipe of newlines can become gigabytes of log."""
_FIONREAD = 0x541B


def _left_in(fd: int) -> int:
    """The bytes that a pipe or terminal still holds."""
    try:
        return int.from_bytes(ioctl(fd, _FIONREAD, bytes(4)), "little")
    except OSError:
        return 0


class Client:
    """One attached socket, handed over by the daemon."""

    __slots__ = (
        "_left",
        "_outgoing",
        "_session",
        "_timer",
        "_watched",
        "closed",
        "finishing",
        "held",
        "input_ended",
        "scanner",
        "socket",
        "stdin",
        "streams",
    )

    def __init__(
        self, session: Session, fd: int, *, stdin: bool, stdout: bool, stderr: bool, detach_keys: bytes
    ) -> None:
        self.socket = Socket(fileno=fd)
        self.socket.setblocking(False)
        self.stdin = stdin
        self.streams = {1: stdout, 2: stderr}
        self.scanner = Scanner(detach_keys)
        self.closed = False
        self.finishing = False
        self.held = -1
        self.input_ended = False
        self._session = session
        self._outgoing: list[memoryview] = []
        self._left = 0
        self._timer: Timer | None = None
        self._watched = READ
        session.loop.watch(fd, READ, self._ready)

    @property
    def full(self) -> bool:
        """Whether it makes the program wait."""
        return self._left > BUFFER or len(self._outgoing) > PIECES

    def send(self, stream: int, data: bytes) -> None:
        """Send now what the socket takes, the rest when it takes more."""
        if self.closed or not self.streams[stream]:
            return
        if not self._session.terminal:
            self._outgoing.append(memoryview(stdcopy.header(stream, len(data))))
            self._left += stdcopy.HEADER_BYTES
        self._outgoing.append(memoryview(data))
        self._left += len(data)
        self._flush()

    def hold(self, fd: int) -> None:
        """Send nothing while the other end of a pipe is open: somebody still writes to the socket.

        Owns `fd`.  A client for which that takes too long is dropped.
        """
        self.held = fd
        self._session.loop.watch(fd, READ, self._release)
        self._timer = self._session.loop.later(self._session.stall, self.close)

    def _release(self, events: int = 0) -> None:
        """Send what has come since `hold`, and go on."""
        del events
        fd, self.held = self.held, -1
        if fd >= 0:
            self._session.loop.forget(fd)
            os.close(fd)
            if not self.closed:
                self._flush()

    def finish(self) -> None:
        """Close when everything is sent."""
        self.finishing = True
        self._flush()

    def close(self) -> None:
        """Close now."""
        if self.closed:
            return
        self.closed = True
        self._release()
        if self._timer is not None:
            self._timer.cancel()
        self._session.loop.forget(self.socket.fileno())
        try:
            self.socket.shutdown(SHUT_WR)
        except OSError:
            pass
        self.socket.close()
        self._outgoing.clear()
        self._left = 0
        self._session.client_gone(self)

    def watch_input(self) -> None:
        """Read from the client again, or stop it, as the program takes its input."""
        self._watch()

    def _watch(self) -> None:
        if self.closed:
            return
        events = WRITE if self._outgoing and self.held < 0 else 0
        if not self.input_ended and not self._session.input_full:
            events |= READ
        if events != self._watched:
            self._watched = events
            self._session.loop.change(self.socket.fileno(), events)

    def _ready(self, events: int) -> None:
        if events & READ or (events & GONE and not self.input_ended):
            self._read()
        elif events & GONE:
            self.close()
            return
        if not self.closed and events & WRITE:
            self._flush()

    def _read(self) -> None:
        try:
            data = self.socket.recv(INPUT_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self.input_ended = True
            self._session.client_input_ended(self)
            self._watch()
            return
        self.take_input(data)

    def take_input(self, data: bytes) -> None:
        """What the client typed."""
        if not self.stdin:
            return
        data, detached = self.scanner.feed(data)
        self._session.put_input(data)
        if detached:
            self._session.detached(self)

    def _flush(self) -> None:
        if self.held >= 0:
            return
        progressed = False
        while self._outgoing and not self.closed:
            piece = self._outgoing[0]
            try:
                sent = self.socket.send(piece)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            progressed = True
            self._left -= sent
            if sent == len(piece):
                del self._outgoing[0]
            else:
                self._outgoing[0] = piece[sent:]
        if self.closed:
            return
        if not self._outgoing:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self.finishing:
                self.close()
                return
        elif progressed or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._session.loop.later(self._session.stall, self.close)
        self._watch()
        self._session.pace()


class Session:
    """See the drawing above. `drained` is called once, when all output has ended and is logged."""

    def __init__(
        self,
        loop: Loop,
        *,
        terminal: bool,
        outputs: dict[int, int],
        stdin: int | None,
        log: Log | None,
        stdin_once: bool,
        drained: Callable[[], None],
        detached: Callable[[], None],
        stall: float = STALL,
    ) -> None:
        """outputs: stream number (1, 2) by descriptor.  stdin: where input goes.  Owns them all."""
        self.loop = loop
        self.terminal = terminal
        self.clients: list[Client] = []
        self.stall = stall
        self._outputs = outputs
        self._stdin = stdin
        self._stdin_once = stdin_once
        self._input: list[memoryview] = []
        self._input_left = 0
        self._input_ends = False
        self._log = log
        self._most = CHUNK
        if log is not None:
            log.on_room = self.pace
            self._most = log.most
        self._drained: Callable[[], None] | None = drained
        self._on_detached = detached
        self._paused = False
        for fd in outputs:
            os.set_blocking(fd, False)
            loop.watch(fd, READ, lambda events, fd=fd: self._output(fd, events))  # type: ignore[misc]  # bound now
        if stdin is not None:
            os.set_blocking(stdin, False)

    # Output

    def _output(self, fd: int, events: int) -> None:
        try:
            data = os.read(fd, self._most)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last holder of the terminal has gone
            data = b""
        if not data:
            self._end_output(fd)
            return
        del events
        stream = self._outputs[fd]
        if self._log is not None:
            self._log.write(stream, data, time.time_ns())
        for client in list(self.clients):
            client.send(stream, data)
        self.pace()

    def pace(self) -> None:
        """Read the program's output, or let it wait, as the clients take theirs."""
        waits_for_log = self._log is not None and self._log.full
        paused = waits_for_log or any(client.full for client in self.clients)
        if paused != self._paused:
            self._paused = paused
            for fd in self._outputs:
                # Out of the set altogether: a pipe whose writer has gone would spin at 0 events.
                if paused:
                    self.loop.forget(fd)
                else:
                    self.loop.watch(fd, READ, lambda events, fd=fd: self._output(fd, events))  # type: ignore[misc]  # bound now

    def _end_output(self, fd: int) -> None:
        self.loop.forget(fd)
        del self._outputs[fd]
        os.close(fd)
        if not self._outputs:
            self._finish_output()

    def _finish_output(self) -> None:
        if self._drained is None:
            return
        if self._log is not None:
            self._log.finish(time.time_ns())
        drained, self._drained = self._drained, None
        drained()

    def stop_output(self) -> None:
        """Take what is there now, and stop: somebody outside keeps the pipe open."""
        end = time.monotonic() + LAST
        for fd in list(self._outputs):
            for _ in range(64):
                if fd in self._outputs and time.monotonic() < end:
                    self._output(fd, READ)
            if fd in self._outputs:
                if self._log is not None and time.monotonic() >= end:
                    self._log.lost += _left_in(fd)
                self.loop.forget(fd)
                del self._outputs[fd]
                os.close(fd)
        self._finish_output()

    # Input

    @property
    def input_full(self) -> bool:
        """Whether the program is behind with its input."""
        return self._input_left >= INPUT_BUFFER

    def put_input(self, data: bytes) -> None:
        """Give input to the program, in order."""
        if self._stdin is None or not data or self._input_ends:
            return
        self._input.append(memoryview(data))
        self._input_left += len(data)
        self._write_input(WRITE)

    def _write_input(self, events: int) -> None:
        if self._stdin is None:
            return
        blocked = False
        while self._input:
            try:
                written = os.write(self._stdin, self._input[0])
            except BlockingIOError:
                blocked = True
                break
            except OSError:
                self._close_stdin()
                return
            self._input_left -= written
            self._input[0] = self._input[0][written:]
            if not self._input[0]:
                del self._input[0]
        if not blocked and events & GONE:
            self._close_stdin()
            return
        self.loop.forget(self._stdin)
        if blocked:
            self.loop.watch(self._stdin, WRITE, self._write_input)
        elif self._input_ends:
            self._close_stdin()
        for client in self.clients:
            client.watch_input()

    def end_input(self) -> None:
        """The program's stdin ends, after everything that was put before."""
        self._input_ends = True
        self._write_input(WRITE)

    def _close_stdin(self) -> None:
        if self._stdin is not None:
            self.loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = None
        self._input.clear()
        self._input_left = 0

    def end_of_program(self) -> None:
        """Nobody reads input any more."""
        self._input_ends = True
        self._close_stdin()

    @property
    def lost(self) -> int:
        """Bytes that the log could not take: a full disk."""
        return 0 if self._log is None else self._log.lost

    # Clients

    def attach(
        self,
        fd: int,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        detach_keys: bytes,
        initial: bytes,
        hold: int = -1,
    ) -> None:
        """One more client; owns `fd`.

        hold: the end of a pipe of somebody who replays the log to it first, up to `log_position` of
        this moment; the beginnings of lines that are not in the log yet come next, then what follows.
        """
        client = Client(self, fd, stdin=stdin, stdout=stdout, stderr=stderr, detach_keys=detach_keys)
        self.clients.append(client)
        if hold >= 0:
            client.hold(hold)
            for stream in (1, 2):
                text = b"" if self._log is None else self._log.unwritten(stream)
                if text:
                    client.send(stream, text)
        if initial:
            client.take_input(initial)
        if self._drained is None:
            client.finish()

    def log_position(self) -> Message:
        """Where the log ends now."""
        return {} if self._log is None else self._log.position()

    def client_input_ended(self, client: Client) -> None:
        """The client has shut down its sending side."""
        if client.stdin and self._stdin_once and not self.terminal:
            self.end_input()

    def client_gone(self, client: Client) -> None:
        """The client is closed."""
        if client in self.clients:
            self.clients.remove(client)
        if client.stdin and self._stdin_once and not self.terminal and not client.input_ended:
            self.end_input()
        self.pace()

    def detached(self, client: Client) -> None:
        """The client typed its detach keys."""
        client.stdin = False  # its going is no end of input
        client.close()
        self._on_detached()

    def finish_clients(self) -> None:
        """Nothing more will come: close each client when it has taken everything."""
        for client in list(self.clients):
            client.finish()

    def close(self) -> None:
        """Close everything, sent or not."""
        for client in list(self.clients):
            client.close()
        for fd in list(self._outputs):
            self.loop.forget(fd)
            os.close(fd)
        self._outputs.clear()
        self._close_stdin()

    def reopen_log(self) -> None:
        """Somebody else has renamed the log."""
        if self._log is not None and self._drained is not None:
            self._log.reopen()
