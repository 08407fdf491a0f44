"""Control connections: packets of formats/spawner.py, with descriptors, never blocking."""

from __future__ import annotations

import os
from _socket import MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import CATEGORIES, CarboyError, InvalidArgument, Unsupported
from carboy.formats import spawner as protocol
from carboy.runtime.monitor.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.monitor.loop import Loop

    Handler = Callable[[dict[str, Any], list[int]], dict[str, Any]]

MAX_QUEUE = 1024
"""Packets kept for a daemon that does not read; with more it is hung up, and may connect again."""


def receive(socket: Socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (CLOEXEC); b"" at the end."""
    packet, ancillary, _, _ = socket.recvmsg(
        protocol.MAX_PACKET, 64 + 4 * protocol.MAX_DESCRIPTORS, MSG_CMSG_CLOEXEC
    )
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            usable = len(data) - len(data) % 4
            descriptors += memoryview(data[:usable]).cast("i").tolist()
    return packet, descriptors


def error_message(error: Exception) -> dict[str, Any]:
    """The form of an error in a packet."""
    if isinstance(error, protocol.StepError):
        return error.to_message()
    errno = getattr(error, "errno", 0) or 0
    category = type(error).__name__ if isinstance(error, CarboyError) else "Internal"
    if category not in CATEGORIES:
        category = next(
            (one.__name__ for one in type(error).__mro__ if one.__name__ in CATEGORIES), "Internal"
        )
    return protocol.StepError(category, "monitor", str(error), errno=errno).to_message()


class Connection:
    """One daemon, or the channel of the daemon that asked for this container."""

    __slots__ = ("_gone", "_handle", "_loop", "_queue", "socket")

    def __init__(
        self, loop: Loop, socket: Socket, handle: Handler, gone: Callable[[Connection], None]
    ) -> None:
        self.socket = socket
        self._loop = loop
        self._handle = handle
        self._gone = gone
        self._queue: list[bytes] = []
        socket.setblocking(False)
        loop.watch(socket.fileno(), READ, self._ready)

    def send(self, message: dict[str, Any]) -> None:
        """Queue one packet; what the kernel takes goes at once."""
        if self.socket.fileno() < 0:
            return
        try:
            packet = protocol.encode(message)
        except CarboyError as error:  # nothing that a container prints or is asked may end its monitor
            if "re" not in message:
                return
            packet = protocol.encode({"re": message["re"], "error": error_message(error)})
        self._queue.append(packet)
        if len(self._queue) > MAX_QUEUE:
            self.close()
            return
        self._flush()

    def close(self) -> None:
        """Hang up."""
        if self.socket.fileno() >= 0:
            self._loop.forget(self.socket.fileno())
            self.socket.close()
            self._gone(self)

    def _flush(self) -> None:
        while self._queue:
            try:
                self.socket.send(self._queue[0], MSG_DONTWAIT | MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.change(self.socket.fileno(), READ | WRITE)
                return
            except OSError:
                self.close()
                return
            del self._queue[0]
        self._loop.change(self.socket.fileno(), READ)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
            if self.socket.fileno() < 0:
                return
        if events & ~WRITE:
            self._read()

    def _read(self) -> None:
        try:
            packet, descriptors = receive(self.socket)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if not packet:
            self.close()
            return
        sequence: Any = None
        try:
            message = protocol.decode(packet)
            sequence = message.get("seq")
            if message.get("op") == "large":
                message = _read_large(descriptors)
            reply = self._handle(message, descriptors)
        except Exception as error:  # whatever a packet does, the container's parent lives on
            reply = {"error": error_message(error)}
        finally:
            for fd in descriptors:  # a handler takes a descriptor by removing it from the list
                os.close(fd)
        self.send({"re": sequence, **reply})


def _read_large(descriptors: list[int]) -> dict[str, Any]:
    """The request in the last descriptor, which is closed."""
    if not descriptors:
        raise InvalidArgument("a large request came without its file")
    file = descriptors.pop()
    try:
        size = os.fstat(file).st_size
        if size > protocol.MAX_LARGE:
            raise InvalidArgument(f"a request of {size} bytes is too large")
        return protocol.decode(os.pread(file, size, 0))
    finally:
        os.close(file)


def integer(message: dict[str, Any], key: str, default: int | None = None) -> int:
    """A number of a request; raises InvalidArgument."""
    value = message.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"request {message.get('op')!r}: {key} must be a number, not {value!r}")
    return value


def unknown(operation: object) -> Unsupported:
    """The answer for requests of a newer daemon."""
    return Unsupported(f"this monitor (protocol {protocol.VERSION}) does not know the request {operation!r}")
