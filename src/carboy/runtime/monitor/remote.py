"""Logs that are sent to another service line by line: syslog and journald.

    program ──▶ Lines ──▶ message ──▶ queue ──▶ socket

The monitor never waits for the service.  What the socket does not take is queued: with the mode
`non-blocking` up to `buffer` bytes, and further lines are dropped; else `full` has the program
wait while the service is there and slow.  A service that went away is tried again every second,
and the program does not wait for it: lines beyond the buffer are lost then.
"""

from __future__ import annotations

import os
import time
from _socket import AF_INET, AF_INET6, AF_UNIX, SO_ERROR, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - the C type
from collections import deque
from errno import ECONNREFUSED, EINPROGRESS, EMSGSIZE, ENOBUFS

from carboy.errors import Unsupported
from carboy.formats import jsonlog, logmessage
from carboy.runtime.monitor.log import READ_SIZE, most_at_once
from carboy.runtime.monitor.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.monitor.loop import Loop

    Format = Callable[[int, bytes, bool, int], bytes]

BUFFER = 1 << 20
CONNECT = 5.0
AGAIN = 1.0
FINISH = 1.0
"""Seconds: for the first connection, until the next one, for what is left at the end."""

_JOIN = 64 * 1024

SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
JOURNAL_SOCKET = "/run/systemd/journal/socket"


class Lines:
    """One stream cut into lines without their newlines; long ones in pieces of 16 KiB."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """(text, whether more of its line follows)."""
        found: list[tuple[bytes, bool]] = []
        *lines, pending = (self.pending + data).split(b"\n")
        for line in lines:
            found.append((_cut(line, found), False))
        self.pending = _cut(pending, found)
        return found


def _cut(line: bytes, found: list[tuple[bytes, bool]]) -> bytes:
    """Put a long line's pieces into `found`; what is left of it."""
    while len(line) > jsonlog.MAX_LINE:
        cut = jsonlog.cut_of(line)
        found.append((line[:cut], True))
        line = line[cut:]
    return line


class Target:
    """Where a service listens: addresses to be tried in order."""

    __slots__ = ("addresses", "kind")

    def __init__(self, kind: int, addresses: list[tuple[int, Any]]) -> None:
        """kind: SOCK_DGRAM, SOCK_STREAM, or 0 for either (a unix socket that may be of both)."""
        self.kind = kind
        self.addresses = addresses

    def connect(self, timeout: float | None) -> tuple[Socket, bool]:
        """(socket, whether it is a stream); None never waits for the connection."""
        last: OSError | None = None
        for family, address in self.addresses:
            for kind in (self.kind,) if self.kind else (SOCK_DGRAM, SOCK_STREAM):
                connection = Socket(family, kind | SOCK_CLOEXEC)
                try:
                    connection.settimeout(timeout or 0.0)
                    error = connection.connect_ex(address)
                    if error and not (error == EINPROGRESS and timeout is None):
                        raise OSError(error, os.strerror(error))
                    connection.setblocking(False)
                except OSError as failed:
                    connection.close()
                    last = failed
                else:
                    return connection, kind == SOCK_STREAM
        raise last or OSError("no address")


class Remote:
    """A log that is somewhere else; see the drawing above."""

    def __init__(
        self,
        loop: Loop,
        target: Target,
        message: Format,
        *,
        blocking: bool,
        buffer: int = BUFFER,
        most: int = READ_SIZE,
    ) -> None:
        """Connects; raises OSError."""
        self.lost = 0
        self.most = most
        self.on_room: Callable[[], None] = lambda: None
        self._loop = loop
        self._target = target
        self._message = message
        self._blocking = blocking
        self._buffer = buffer
        self._lines = {1: Lines(), 2: Lines()}
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._watched = 0
        self._ended = False
        self._socket: Socket | None = None
        self._stream = False
        connection, stream = target.connect(CONNECT)
        self._connected(connection, stream=stream)

    @property
    def full(self) -> bool:
        """Whether the program is to wait for the service."""
        return self._blocking and self._socket is not None and self._queued > self._buffer

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        """Send what is complete of `data`."""
        for text, more in self._lines[stream].feed(data):
            self._put(self._message(stream, text, more, nanoseconds))
        self._flush()

    def finish(self, nanoseconds: int) -> None:
        """Send unfinished lines; what the service does not take soon is lost."""
        for stream, lines in self._lines.items():
            text, lines.pending = lines.pending, b""
            if text:
                self._put(self._message(stream, text, False, nanoseconds))
        self._ended = True
        end = time.monotonic() + FINISH
        self._flush()
        while self._queue and self._socket is not None and time.monotonic() < end:
            try:
                self._socket.settimeout(max(0.01, end - time.monotonic()))
                self._send_first(self._socket)
            except OSError:
                break
        self._give_up()
        if self._blocking:
            self.lost += self._queued

    def reopen(self) -> None:
        """Connect anew."""
        if self._socket is not None:
            self._disconnect()
            self._try_again()

    def position(self) -> dict[str, Any]:
        """Nothing can be read here."""
        return {}

    def unwritten(self, stream: int) -> bytes:
        """What is not sent yet cannot be replayed from elsewhere either."""
        del stream
        return b""

    # The queue

    def _put(self, message: bytes) -> None:
        waits = self._blocking and self._socket is not None
        if not waits and self._queue and self._queued + len(message) > self._buffer:
            if self._blocking:
                self.lost += len(message)
            return
        self._queue.append(message)
        self._queued += len(message)

    def _flush(self) -> None:
        connection = self._socket
        if connection is None or self._watched & WRITE:
            return
        was_full = self.full
        try:
            while self._queue:
                self._send_first(connection)
        except BlockingIOError:
            self._watch(WRITE)
        except OSError as error:
            if error.errno == ENOBUFS:
                self._loop.later(0.05, self._flush)
            else:
                self._disconnect()
                self._loop.later(AGAIN, self._try_again)
        if was_full and not self.full:
            self.on_room()

    def _send_first(self, connection: Socket) -> None:
        message = self._queue[0]
        if self._stream and len(message) < _JOIN and len(self._queue) > 1:
            message = self._joined()
        try:
            sent = connection.send(message)
        except OSError as error:
            refused = error.errno == ECONNREFUSED and connection.family != AF_UNIX
            if error.errno != EMSGSIZE and not refused:
                raise
            sent = len(message)  # longer than this service takes, or an earlier datagram found nobody
        self._queued -= sent
        if sent == len(message):
            self._queue.popleft()
        else:
            self._queue[0] = message[sent:]

    def _joined(self) -> bytes:
        """Many small messages as the first one: a stream has no boundaries."""
        parts, size = [], 0
        while self._queue and size < _JOIN:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        joined = b"".join(parts)
        self._queue.appendleft(joined)
        return joined

    # The connection

    def _connected(self, connection: Socket, *, stream: bool) -> None:
        self._socket, self._stream = connection, stream
        self._watched = READ if stream else 0
        self._loop.watch(connection.fileno(), self._watched, self._ready)

    def _watch(self, more: int) -> None:
        assert self._socket is not None
        self._watched = (READ if self._stream else 0) | more
        self._loop.change(self._socket.fileno(), self._watched)

    def _ready(self, events: int) -> None:
        connection = self._socket
        if connection is None:
            return
        if events & ~WRITE and self._broken(connection):
            self._disconnect()
            self._loop.later(AGAIN, self._try_again)
            return
        if events & WRITE:
            self._watch(0)
            self._flush()

    def _broken(self, connection: Socket) -> bool:
        """A stream's end, or an error; what a service says is read and forgotten."""
        if not self._stream:
            # A datagram that was refused: the next ones may be taken (the service is started anew).
            connection.getsockopt(SOL_SOCKET, SO_ERROR)
            return connection.family == AF_UNIX
        try:
            return not connection.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _disconnect(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            self._loop.forget(connection.fileno())
            connection.close()
        self._watched = 0
        if self._blocking and self._queued > self._buffer:
            self.on_room()

    def _try_again(self) -> None:
        if self._socket is not None or self._ended:
            return
        try:
            connection, stream = self._target.connect(None)
        except OSError:
            self._loop.later(AGAIN, self._try_again)
            return
        self._connected(connection, stream=stream)
        self._watch(WRITE)

    def _give_up(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            self._loop.forget(connection.fileno())
            connection.close()


def open_remote(options: dict[str, Any], loop: Loop) -> Remote:
    """The log of a launch whose driver is syslog or journald; raises OSError, or says why not."""
    if options["driver"] == "journald":
        target = Target(SOCK_DGRAM, [(AF_UNIX, str(options.get("address") or JOURNAL_SOCKET))])
        message = _journal_format(options)
        try:
            return _remote(loop, target, message, options)
        except OSError as error:
            raise OSError(error.errno, "journald is not enabled on this host") from error
    target, message = _syslog_target(options), _syslog_format(options)
    try:
        return _remote(loop, target, message, options)
    except OSError as error:
        if not options.get("transport"):
            raise OSError(error.errno, "Unix syslog delivery error") from error
        where = f"{options['transport']} {options.get('shown') or ''}".strip()
        raise OSError(error.errno, f"dial {where}: {error.strerror or error}") from error


def _remote(loop: Loop, target: Target, message: Format, options: dict[str, Any]) -> Remote:
    return Remote(
        loop,
        target,
        message,
        blocking=not options.get("non_blocking"),
        buffer=int(options.get("buffer") or BUFFER),
        # a message in the queue costs more than its bytes
        most=most_at_once({"tag": options.get("tag") or "", **(options.get("fields") or {})}, 256),
    )


def _syslog_target(options: dict[str, Any]) -> Target:
    match str(options.get("transport") or ""):
        case "":
            return Target(0, [(AF_UNIX, path) for path in SYSLOG_SOCKETS])
        case "unixgram":
            return Target(SOCK_DGRAM, [(AF_UNIX, str(options["path"]))])
        case "unix":
            return Target(0, [(AF_UNIX, str(options["path"]))])
        case "udp" | "tcp" as transport:
            kind = SOCK_DGRAM if transport == "udp" else SOCK_STREAM
            addresses = [
                (AF_INET6 if ":" in host else AF_INET, (host, port)) for host, port in options["addresses"]
            ]
            return Target(kind, addresses)
        case transport:
            raise Unsupported(f"syslog over {transport} is not supported")


def _syslog_format(options: dict[str, Any]) -> Format:
    kind, facility = str(options.get("format") or ""), int(options.get("facility") or 0)
    hostname, tag, pid = os.uname().nodename, str(options.get("tag") or ""), os.getpid()
    heads: dict[int, tuple[int, bytes]] = {}

    def message(stream: int, text: bytes, more: bool, nanoseconds: int) -> bytes:
        del more
        known = heads.get(stream)
        if known is None or known[0] != nanoseconds:
            seconds, rest = divmod(nanoseconds, 10**9)
            head = logmessage.syslog_head(
                kind,
                stream,
                facility=facility,
                moment=time.localtime(seconds),
                microsecond=rest // 1000,
                hostname=hostname,
                tag=tag,
                pid=pid,
            )
            known = heads[stream] = (nanoseconds, head)
        return known[1] + text + b"\n"

    return message


def _journal_format(options: dict[str, Any]) -> Format:
    fields = options.get("fields") or {}
    fixed = b"".join(
        logmessage.journal_field(str(name), str(value).encode("utf-8", "surrogateescape"))
        for name, value in fields.items()
    )

    def message(stream: int, text: bytes, more: bool, nanoseconds: int) -> bytes:
        partial = b"CONTAINER_PARTIAL_MESSAGE=true\n" if more else b""
        return b"%sPRIORITY=%d\nSYSLOG_TIMESTAMP=%s\n%s%s" % (
            *(fixed, logmessage.SEVERITY[stream], jsonlog.timestamp(nanoseconds), partial),
            logmessage.journal_field("MESSAGE", text),
        )

    return message
