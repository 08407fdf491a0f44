"""A client's connection: aiohttp serves it, until a request asks for a raw stream.

    socket ─▶ Connection ─┬─▶ aiohttp's RequestHandler       everything else
                          └─▶ parse_request ─▶ Dispatcher    attach, exec start: may be hijacked

aiohttp's parser reads what follows a request as a further request, so the requests that can
turn a connection into a stream never reach it: when a new request begins, its first line
decides.  After the head of a hijacked reply the client's descriptor is duplicated and given
away together with the bytes already read past the request; then the transport is aborted,
which closes asyncio's own descriptor and shuts nothing down.  The file description stays
non-blocking: it is shared with the duplicate, and who takes it expects that.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from typing import Protocol

from carboy.api import versions
from carboy.api.call import Stream, WebSocket
from carboy.api.dispatch import Dispatcher
from carboy.api.failure import reply_to
from carboy.api.handlers.streams import RAW, content_type
from carboy.api.reply import Hijack, Reply, Streamed
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.httprequest import Request, parse_request

_MAY_HIJACK = re.compile(rb"POST (?:/v[0-9.]+)?/(?:containers/[^/? ]+/attach|exec/[^/? ]+/start|session)[? ]")

_LONGEST_LINE = 16 * 1024
"""A request line that is longer goes to aiohttp, which refuses it."""

_MOST_AT_ONCE = 64 * 1024
"""What is read at a time: what follows the head of a hijacked request travels on in one packet."""

_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Inner(Protocol):
    """The protocol that serves ordinary requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Body(Protocol):
    """The body of a request that aiohttp reads."""

    def is_eof(self) -> bool: ...


class Activity:
    """Whether aiohttp is in the middle of a request on a connection; its handler tells."""

    __slots__ = ("_body", "_handling")

    def __init__(self) -> None:
        self._handling = False
        self._body: Body | None = None

    @property
    def busy(self) -> bool:
        """Whether bytes that arrive now belong to the request that aiohttp has."""
        return self._handling or not (self._body is None or self._body.is_eof())

    def begin(self) -> None:
        """Bytes of a new request were passed on."""
        self._handling = True

    def end(self, body: Body) -> None:
        """The request has been answered; the rest of its body may still come."""
        self._handling = False
        self._body = body


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, inner: Inner, activity: Activity, dispatcher: Dispatcher, *, local: bool) -> None:
        self._inner = inner
        self._activity = activity
        self._dispatcher = dispatcher
        self._local = local
        self._transport: asyncio.Transport | None = None
        self._pending = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._sniffing = True

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        transport.max_size = _MOST_AT_ONCE  # type: ignore[attr-defined]  # of asyncio's own, on sockets
        self._transport = transport
        self._inner.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended, or was given away."""
        if self._task is not None:
            self._task.cancel()
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """The client sends no more: it is gone."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The client is slow."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes of a client."""
        if self._task is not None:
            self._pending += data  # reading is paused: at most what was on its way
        elif self._activity.busy:
            self._inner.data_received(data)
        else:
            self._pending += data
            self._sniff()

    def _sniff(self) -> None:
        """At the beginning of a request: whose is it?"""
        line_end = self._pending.find(b"\r\n")
        if line_end < 0 and len(self._pending) < _LONGEST_LINE and b"POST "[:5].startswith(self._pending[:5]):
            return
        if not _MAY_HIJACK.match(self._pending):
            if line_end < 0 and self._pending.startswith(b"POST ") and len(self._pending) < _LONGEST_LINE:
                return
            data, self._pending = bytes(self._pending), bytearray()
            self._activity.begin()
            self._inner.data_received(data)
            return
        self._take_request()

    def _take_request(self) -> None:
        assert self._transport is not None
        try:
            found = parse_request(self._pending)
        except InvalidArgument as error:
            self._write(reply_to(error), keep_alive=False)
            return
        if found is None:
            return
        request, end = found
        del self._pending[:end]
        # What the client sends from now on may belong to the stream: it stays in the kernel.
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._serve(request))

    # -- one request of our own

    async def _serve(self, request: Request) -> None:
        exchange = _Exchange(request)
        answer = await self._dispatcher.answer(request.method, request.target, exchange)
        match answer:
            case Hijack():
                await self._give_away(request, answer)
            case Reply():
                self._write(answer, keep_alive=request.keep_alive)
            case Streamed():
                self._write(
                    reply_to(Unsupported("this stream needs an ordinary connection")), keep_alive=False
                )

    def _write(self, reply: Reply, *, keep_alive: bool) -> None:
        assert self._transport is not None
        self._transport.write(self._head(reply, keep_alive=keep_alive) + reply.body)
        self._task = None
        if not keep_alive:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._pending:
            self._sniff()

    def _head(self, reply: Reply, *, keep_alive: bool) -> bytes:
        headers = self._dispatcher.headers | dict(reply.headers)
        if reply.content_type:
            headers["Content-Type"] = reply.content_type
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(len(reply.body))
        if not keep_alive:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def _give_away(self, request: Request, answer: Hijack) -> None:
        """Send the head, then hand the client's descriptor over."""
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            self._dispatcher.services.workers.submit(answer.handover.abandon)
            return
        version, _ = versions.split(request.target.partition("?")[0])
        transport.write(_stream_head(request, content_type(version, multiplexed=answer.multiplexed)))
        if transport.get_write_buffer_size():
            # A client that does not even read a few bytes of head gets no stream.
            self._dispatcher.services.workers.submit(answer.handover.abandon)
            transport.abort()
            return
        client = os.dup(transport.get_extra_info("socket").fileno())
        initial = bytes(self._pending)
        self._task = None  # connection_lost, which follows, must not cancel this
        transport.abort()
        # At the client's pace when a log is replayed first.
        await self._dispatcher.services.workers.stream(lambda: answer.handover.hand_over(client, initial))


def _stream_head(request: Request, kind: str) -> bytes:
    """Docker's two heads: a switch of protocols, or the raw form of clients that do not ask for one."""
    if "upgrade" in request.headers:  # Docker asks for no more
        return (
            f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        ).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n".encode()


class _Exchange:
    """The exchange under a request that was read here."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._body = request.body

    def header(self, name: str, /) -> str:
        return self._request.headers.get(name.lower(), "")

    async def read(self, limit: int, /) -> bytes:
        body, self._body = self._body, b""
        if len(body) > limit:
            raise InvalidArgument(f"the request's body is larger than {limit} bytes")
        return body

    async def chunk(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def open_stream(self, content_type: str, /, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        del content_type, headers
        raise Unsupported("this connection serves no streams of its own")

    async def open_websocket(self) -> WebSocket:
        raise Unsupported("this connection serves no websockets")

    def peer(self) -> socket.socket | None:
        return None
