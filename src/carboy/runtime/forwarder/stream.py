"""TCP: each connection to a held port is continued to the container.

    client ──▶ near ══ Half ══▶ far ──▶ container
           ◀──      ══ Half ══          ◀──

A Half moves bytes one way: it reads only when the other side has taken what was read before, so a
slow reader slows the writer.  An end of one direction is passed on and leaves the other open.
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    SHUT_WR,
    SO_ERROR,
    SO_LINGER,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
)
from _socket import socket as Socket  # noqa: N812 - the C type
from errno import EINPROGRESS
from select import EPOLLERR

from carboy.runtime.monitor.loop import GONE, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.monitor.loop import Loop

CHUNK = 64 * 1024
_RESET = bytes((1, 0, 0, 0, 0, 0, 0, 0))
"""struct linger: close with a reset."""


class Streams:
    """One listening socket and its connections."""

    __slots__ = ("_loop", "_socket", "_target", "connections", "paused")

    def __init__(self, loop: Loop, socket: Socket, target: tuple[str, int]) -> None:
        self._loop = loop
        self._socket = socket
        self._target = target
        self.connections: set[Stream] = set()
        self.paused = False
        loop.watch(socket.fileno(), READ, self._accept)

    def close(self) -> None:
        """Free the port and end its connections."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for one in list(self.connections):
            one.close(reset=True)

    def forget(self, stream: Stream) -> None:
        """A connection has ended: there may be descriptors again."""
        self.connections.discard(stream)
        if self.paused and self._socket.fileno() >= 0:
            self.paused = False
            self._loop.change(self._socket.fileno(), READ)

    def _accept(self, _events: int) -> None:
        near = far = None
        try:
            near = Socket(fileno=self._socket._accept()[0])  # type: ignore[attr-defined]  # of the C type
            near.setblocking(False)
            far = Socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionError:
            return
        except OSError:
            # No more descriptors: without this the loop would turn as long as the client waits.
            if near is not None:
                near.close()
            if self.connections:
                self.paused = True
                self._loop.change(self._socket.fileno(), 0)
            return
        Stream(self._loop, near, far, self._target, self)


class Half:
    """One direction."""

    __slots__ = ("ended", "passed_on", "sink", "source", "waiting")

    def __init__(self, source: Socket, sink: Socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting = b""
        self.ended = False
        self.passed_on = False

    def fill(self) -> None:
        """Read, if what was read before is gone."""
        if self.waiting or self.ended:
            return
        try:
            self.waiting = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        self.ended = not self.waiting
        self.drain()

    def drain(self) -> None:
        """Write what waits; pass the end on when there is nothing left."""
        if self.waiting:
            try:
                sent = self.sink.send(self.waiting, MSG_NOSIGNAL)
            except BlockingIOError:
                return
            self.waiting = self.waiting[sent:]
        if self.ended and not self.waiting and not self.passed_on:
            self.passed_on = True
            self.sink.shutdown(SHUT_WR)


class Stream:
    """One connection: two sockets, two directions."""

    __slots__ = ("_connecting", "_far", "_inward", "_loop", "_near", "_outward", "_owner", "_watched")

    def __init__(
        self, loop: Loop, near: Socket, far: Socket, target: tuple[str, int], owner: Streams
    ) -> None:
        self._loop = loop
        self._near = near
        self._far = far
        self._owner = owner
        self._inward = Half(near, far)
        self._outward = Half(far, near)
        self._connecting = True
        self._watched: dict[int, int] = {}
        owner.connections.add(self)
        for one in (near, far):
            one.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        error = far.connect_ex(target)
        if error not in (0, EINPROGRESS):
            self.close(reset=True)
            return
        self._watch(far, WRITE)

    def close(self, *, reset: bool = False) -> None:
        """End it; with `reset` the client learns that it was no orderly end."""
        for one in (self._near, self._far):
            if one.fileno() < 0:
                continue
            self._loop.forget(one.fileno())
            if reset:
                one.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            one.close()
        self._owner.forget(self)

    def _watch(self, socket: Socket, events: int) -> None:
        fd = socket.fileno()
        if fd in self._watched:
            if self._watched[fd] != events:
                self._loop.change(fd, events)
        elif events:
            self._loop.watch(fd, events, lambda happened: self._ready(socket, happened))
        else:
            return
        self._watched[fd] = events

    def _ready(self, socket: Socket, events: int) -> None:
        try:
            if (self._connecting or events & EPOLLERR) and socket.getsockopt(SOL_SOCKET, SO_ERROR):
                self.close(reset=True)
                return
            self._connecting = False
            self._inward.drain()
            self._outward.drain()
            self._inward.fill()
            self._outward.fill()
        except OSError:
            self.close(reset=True)
            return
        if self._inward.passed_on and self._outward.passed_on:
            self.close()
            return
        self._watch(self._near, self._wanted(self._inward, self._outward))
        self._watch(self._far, self._wanted(self._outward, self._inward))
        if events & GONE and not self._watched.get(socket.fileno()):
            # It would report its end for as long as the other side takes to read the rest.
            self._loop.forget(socket.fileno())
            self._watched.pop(socket.fileno(), None)

    @staticmethod
    def _wanted(reads: Half, writes: Half) -> int:
        return (0 if reads.waiting or reads.ended else READ) | (WRITE if writes.waiting else 0)
