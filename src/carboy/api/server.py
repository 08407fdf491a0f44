"""The HTTP server: aiohttp under the dispatcher, and its life from ready to stopped.

serve(listeners, backends, on_ready=…)    blocks; `on_ready` gets the function that ends it
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence

from carboy.api.backend import Backends
from carboy.api.call import Services, Stream, TakeDescriptor, Workers
from carboy.api.connection import Activity, Connection
from carboy.api.dispatch import Dispatcher
from carboy.api.failure import reply_to
from carboy.api.listeners import BACKLOG, Listener
from carboy.api.reply import Hijack, Reply, Streamed
from carboy.api.web import hdrs, web
from carboy.errors import Cancelled, InvalidArgument, PermissionDenied

GRACE = 10.0
"""Seconds that requests under way may take when the daemon stops; streams end at once."""

_READ_AHEAD = 512 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def serve(
    listeners: Sequence[Listener],
    backends: Backends,
    *,
    on_ready: Callable[[Callable[[], None]], None],
    take_descriptor: TakeDescriptor | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT, a reset, or a call of the function given to `on_ready`.

    That function may be called from any thread, and again.  The listeners are closed at the end.
    """
    asyncio.run(_serve(listeners, backends, on_ready, take_descriptor))


async def _serve(
    listeners: Sequence[Listener],
    backends: Backends,
    on_ready: Callable[[Callable[[], None]], None],
    take_descriptor: TakeDescriptor | None,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopped.set)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
    server = Server(Services(backends, Workers(), take_descriptor, stop))
    try:
        for listener in listeners:
            await server.listen(listener)
        on_ready(stop)
        await stopped.wait()
    finally:
        await server.close(listeners)


class Server:
    """Listening sockets, connections and the requests under way."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._dispatcher = Dispatcher(services)
        self._servers: list[asyncio.AbstractServer] = []
        self._streaming: set[asyncio.Task[object]] = set()
        self._factories: list[web.Server] = []

    async def listen(self, listener: Listener) -> None:
        """Accept the connections of a listener."""
        loop = asyncio.get_running_loop()
        activities: dict[object, Activity] = {}
        handler = functools.partial(self._handle, local=listener.local, activities=activities)
        factory = web.Server(
            handler,
            handler_cancellation=True,
            access_log=None,
            logger=_logger(),
            max_line_size=128 * 1024,
            max_field_size=64 * 1024,
            read_bufsize=_READ_AHEAD,
            auto_decompress=False,
            tcp_keepalive=not listener.local,
        )
        self._factories.append(factory)

        def connect() -> Connection:
            inner, activity = factory(), Activity()
            return _Tracked(inner, activity, self._dispatcher, activities, local=listener.local)

        if listener.local:
            server: asyncio.AbstractServer = await loop.create_unix_server(
                connect, sock=listener.socket, backlog=BACKLOG
            )
        else:
            server = await loop.create_server(connect, sock=listener.socket, backlog=BACKLOG)
        self._servers.append(server)

    async def close(self, listeners: Sequence[Listener]) -> None:
        """Accept no more, end streams, let other requests finish."""
        for listener in listeners:
            listener.unlink()
        for server in self._servers:
            server.close()
        for listener in listeners:
            listener.close()
        for factory in self._factories:
            factory.pre_shutdown()
        for task in list(self._streaming):
            task.cancel()
        await asyncio.gather(*(factory.shutdown(GRACE) for factory in self._factories))
        self._services.workers.close()

    async def _handle(
        self, request: web.BaseRequest, *, local: bool, activities: dict[object, Activity]
    ) -> web.StreamResponse:
        activity = activities[request.protocol]
        try:
            exchange = _Exchange(request, self._dispatcher.headers, self._streaming, local=local)
            try:
                if not local:
                    _refuse_browsers(request)
                answer = await self._dispatcher.answer(request.method, request.raw_path, exchange)
            except PermissionDenied as error:
                answer = reply_to(error)
            finally:
                exchange.end()
            if exchange.stream is not None:
                if not isinstance(answer, Streamed):
                    exchange.break_off()
                return exchange.stream.response
            if isinstance(answer, Hijack):
                self._services.workers.submit(answer.handover.abandon)
                answer = reply_to(
                    InvalidArgument("this request must be the connection's next one, in plain form")
                )
            assert isinstance(answer, Reply)
            return self._response(answer)
        finally:
            activity.end(request.content)

    def _response(self, reply: Reply) -> web.Response:
        response = web.Response(status=reply.status, body=reply.body, headers=self._dispatcher.headers)
        if reply.headers:
            response.headers.update(reply.headers)
        if reply.content_type:
            response.headers[hdrs.CONTENT_TYPE] = reply.content_type
        elif not reply.body:
            response.headers[hdrs.CONTENT_TYPE] = "application/octet-stream"
        return response


class _Tracked(Connection):
    """A connection that tells aiohttp's handler whose activity it is."""

    def __init__(
        self,
        inner: web.RequestHandler,
        activity: Activity,
        dispatcher: Dispatcher,
        activities: dict[object, Activity],
        *,
        local: bool,
    ) -> None:
        super().__init__(inner, activity, dispatcher, local=local)
        activities[inner] = activity
        self._forget = lambda: activities.pop(inner, None)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        # The handler's task may still look its activity up.
        asyncio.get_running_loop().call_later(1, self._forget)


class _ClientsFaults(logging.Filter):
    """Requests that are no HTTP, and clients that leave: no traceback of each, which would fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return type(error).__module__ != "aiohttp.http_exceptions" and not isinstance(error, ConnectionError)


def _logger() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.http")
    if not logger.filters:
        logger.addFilter(_ClientsFaults())
    return logger


def _refuse_browsers(request: web.BaseRequest) -> None:
    """A web page must not reach a port of this machine (cross-site requests, DNS rebinding)."""
    host = request.headers.get(hdrs.HOST, "").rpartition(":")[0] or request.headers.get(hdrs.HOST, "")
    if hdrs.ORIGIN in request.headers or host not in _LOOPBACK:
        raise PermissionDenied("requests from web pages are refused on TCP")


class _Exchange:
    """The exchange under a request that aiohttp has read."""

    def __init__(
        self,
        request: web.BaseRequest,
        headers: dict[str, str],
        streaming: set[asyncio.Task[object]],
        *,
        local: bool,
    ) -> None:
        self._request = request
        self._headers = headers
        self._streaming = streaming
        self._local = local
        self._task: asyncio.Task[object] | None = None
        self.stream: _Stream | None = None

    def header(self, name: str, /) -> str:
        return self._request.headers.get(name, "")

    async def read(self, limit: int, /) -> bytes:
        if (self._request.content_length or 0) > limit:
            raise InvalidArgument(f"the request's body is larger than {limit} bytes")
        if not self._request.can_read_body:
            return b""
        parts: list[bytes] = []
        size = 0
        while part := await self.chunk():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise InvalidArgument(f"the request's body is larger than {limit} bytes")
        return b"".join(parts)

    async def chunk(self) -> bytes:
        try:
            return await self._request.content.readany()
        except web.RequestPayloadError as error:
            raise Cancelled(f"the request's body broke off: {error}") from error

    async def open_stream(self, content_type: str, /) -> Stream:
        response = web.StreamResponse(headers=self._headers)
        response.headers[hdrs.CONTENT_TYPE] = content_type
        task = asyncio.current_task()
        if task is not None:
            self._task = task
            self._streaming.add(task)
        self.stream = _Stream(response)
        await response.prepare(self._request)
        return self.stream

    def peer(self) -> socket.socket | None:
        transport = self._request.transport
        if not self._local or transport is None:
            return None
        found: socket.socket = transport.get_extra_info("socket").dup()
        return found

    def end(self) -> None:
        if self._task is not None:
            self._streaming.discard(self._task)

    def break_off(self) -> None:
        """End a stream so that its client sees that it is not whole."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()


class _Stream:
    """A chunked reply of aiohttp's."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def write(self, data: bytes, /) -> None:
        await self.response.write(data)

    async def finish(self) -> None:
        await self.response.write_eof()
