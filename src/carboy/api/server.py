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
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from carboy.api.backend import Backends
from carboy.api.call import Exchange, Services, Stream, TakeDescriptor, WebSocket, Workers
from carboy.api.connection import Activity, Connection
from carboy.api.dispatch import Dispatcher
from carboy.api.failure import reply_to
from carboy.api.listeners import BACKLOG, Listener
from carboy.api.metrics import CONTENT_TYPE, Metrics
from carboy.api.reply import Hijack, Reply, Streamed
from carboy.api.tls import Identity, Terminator
from carboy.api.web import hdrs, web
from carboy.errors import Cancelled, InvalidArgument, PermissionDenied
from carboy.formats.dockerapi.filters import Filters

HEAD_SECONDS = 30.0
"""A request that has begun must have its head here by then."""

INTRODUCTION_SECONDS = 60.0
"""On TCP, a new connection must have begun its first request by then."""

_LARGEST_MESSAGE = 1 << 20
_READ_AHEAD = 512 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "host.docker.internal"})


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve, besides where and what."""

    take_descriptor: TakeDescriptor | None = None
    tls: Identity | None = None
    metrics: socket.socket | None = None
    reload: Callable[[], None] = _nothing
    grace: Callable[[], float] = lambda: 10.0
    debug_endpoints: bool = False
    head_seconds: float = HEAD_SECONDS


def serve(
    listeners: Sequence[Listener],
    backends: Backends,
    *,
    on_ready: Callable[[Callable[[], None]], None],
    serving: Serving | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT, a reset, or a call of the function given to `on_ready`.

    That function may be called from any thread, and again.  The listeners are closed at the end.
    SIGHUP calls `serving.reload` on a worker.
    """
    asyncio.run(_serve(listeners, backends, on_ready, serving or Serving()))


async def _serve(
    listeners: Sequence[Listener],
    backends: Backends,
    on_ready: Callable[[Callable[[], None]], None],
    serving: Serving,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopped.set)

    workers = Workers()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, workers.submit, serving.reload)
    server = Server(
        Services(
            backends, workers, serving.take_descriptor, stop, Metrics(backends), serving.debug_endpoints
        ),
        serving.head_seconds,
    )
    try:
        for listener in listeners:
            await server.listen(listener, serving.tls)
        if serving.metrics is not None:
            await server.listen_for_metrics(serving.metrics)
        on_ready(stop)
        await stopped.wait()
    finally:
        await server.close(listeners, serving.grace())


class Server:
    """Listening sockets, connections and the requests under way."""

    def __init__(self, services: Services, head_seconds: float = HEAD_SECONDS) -> None:
        self._services = services
        self._head_seconds = head_seconds
        self._servers: list[asyncio.AbstractServer] = []
        self._streaming: set[asyncio.Task[object]] = set()
        self._factories: list[web.Server] = []

    async def listen(self, listener: Listener, tls: Identity | None = None) -> None:
        """Accept the connections of a listener."""
        loop = asyncio.get_running_loop()
        activities: dict[object, Activity] = {}
        guard = None if listener.local else _refuse_browsers if listener.tls else _refuse_strangers
        dispatcher = Dispatcher(self._services, guard)
        handler = functools.partial(
            self._handle, local=listener.local, activities=activities, dispatcher=dispatcher
        )
        factory = web.Server(
            handler,
            handler_cancellation=True,
            access_log=None,
            logger=_logger(),
            max_line_size=1 << 20,  # as servers in Go: build arguments are in it
            max_field_size=64 * 1024,
            read_bufsize=_READ_AHEAD,
            auto_decompress=False,
            tcp_keepalive=not (listener.local or listener.tls),
        )
        self._factories.append(factory)

        def connect() -> Connection:
            inner, activity = factory(), _Deadline(self._head_seconds)
            connection = _Tracked(inner, activity, dispatcher, activities, local=listener.local)
            if not (listener.local or listener.tls):
                connection.barred = self._is_of_a_container
            return connection

        def terminate() -> asyncio.Protocol:
            assert tls is not None
            return Terminator(tls.context, connect)

        if listener.local:
            server: asyncio.AbstractServer = await loop.create_unix_server(
                connect, sock=listener.socket, backlog=BACKLOG
            )
        else:
            accept = terminate if listener.tls else connect
            server = await loop.create_server(accept, sock=listener.socket, backlog=BACKLOG)
        self._servers.append(server)

    def _is_of_a_container(self, address: str) -> bool:
        """Whether an address belongs to a container: it would be root on the host without a certificate."""
        client = ip_address(address.partition("%")[0])
        client = getattr(client, "ipv4_mapped", None) or client
        for network in self._services.backends.networks.list(Filters()):
            for one in network.ipam.config:
                if one.subnet and client in ip_network(one.subnet) and str(client) != one.gateway:
                    return True
        return False

    async def listen_for_metrics(self, listening: socket.socket) -> None:
        """Serve `/metrics`, and nothing else, to whoever reaches this address."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if request.method not in ("GET", "HEAD") or request.path != "/metrics":
                return web.Response(status=404, text="404 page not found\n")
            page = await self._services.workers.run(self._services.metrics.page)
            return web.Response(body=page, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

        factory = web.Server(answer, access_log=None, logger=_logger(), keepalive_timeout=75)
        self._factories.append(factory)
        self._servers.append(await asyncio.get_running_loop().create_server(factory, sock=listening))

    async def close(self, listeners: Sequence[Listener], grace: float) -> None:
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
        await asyncio.gather(*(factory.shutdown(grace) for factory in self._factories))
        self._services.workers.close()

    async def _handle(
        self,
        request: web.BaseRequest,
        *,
        local: bool,
        activities: dict[object, Activity],
        dispatcher: Dispatcher,
    ) -> web.StreamResponse:
        activity = activities[request.protocol]
        assert isinstance(activity, _Deadline)
        activity.met()
        try:
            exchange = _Exchange(request, dispatcher.headers, self._streaming, local=local)
            try:
                answer = await dispatcher.answer(request.method, request.raw_path, exchange)
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
            return _response(answer, dispatcher.headers)
        finally:
            activity.end(request.content)


def _response(reply: Reply, headers: dict[str, str]) -> web.Response:
    # No body, no type: aiodocker cannot read an empty reply that has one.
    response = web.Response(status=reply.status, body=reply.body or None, headers=headers)
    if reply.headers:
        response.headers.update(reply.headers)
    if reply.content_type:
        response.headers[hdrs.CONTENT_TYPE] = reply.content_type
    return response


class _Deadline(Activity):
    """An activity that also knows by when the head of a request must be here."""

    __slots__ = ("_timer", "head_seconds")

    def __init__(self, head_seconds: float) -> None:
        super().__init__()
        self.head_seconds = head_seconds
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """From now on, unless time runs already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, otherwise)

    def met(self) -> None:
        """The head is here, or nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Tracked(Connection):
    """A connection whose requests must begin in time, and whose activity aiohttp's handler finds."""

    def __init__(
        self,
        inner: web.RequestHandler,
        activity: _Deadline,
        dispatcher: Dispatcher,
        activities: dict[object, Activity],
        *,
        local: bool,
    ) -> None:
        super().__init__(inner, activity, dispatcher, local=local)
        activities[inner] = activity
        self._forget = lambda: activities.pop(inner, None)
        self._deadline = activity
        self._lonely = not local
        self.barred: Callable[[str], bool] | None = None
        self._abort: Callable[[], None] = _nothing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._abort = transport.abort
        super().connection_made(transport)
        if self.barred is not None and self.barred(transport.get_extra_info("peername")[0]):
            _logger().warning("a container was refused: the API is not for containers")
            transport.abort()
            return
        if self._lonely:
            self._deadline.expect(INTRODUCTION_SECONDS, self._abort)

    def data_received(self, data: bytes) -> None:
        if self._lonely:
            self._lonely = False
            self._deadline.met()
        if not self._deadline.busy and self._task is None:
            self._deadline.expect(self._deadline.head_seconds, self._abort)
        super().data_received(data)
        if self._task is not None:
            self._deadline.met()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._deadline.met()
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


def _refuse_browsers(exchange: Exchange) -> None:
    """A web page must not reach a port that its reader's browser can reach."""
    if exchange.header(hdrs.ORIGIN) or exchange.header("Sec-Fetch-Site"):
        raise PermissionDenied("requests from web pages are refused on TCP")


def _refuse_strangers(exchange: Exchange) -> None:
    """Without certificates the name counts, too: a page may let any name point here (DNS rebinding)."""
    _refuse_browsers(exchange)
    host = exchange.header(hdrs.HOST)
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    if name not in _LOOPBACK and not _is_address(name):
        raise PermissionDenied(
            f"requests for the host {name[:80]!r} are refused on TCP without certificates: use an address"
        )


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


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
        self._invited = False
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
        if not self._invited:
            self._invite()
        try:
            return await self._request.content.readany()
        except web.RequestPayloadError as error:
            raise Cancelled(f"the request's body broke off: {error}") from error

    def _invite(self) -> None:
        """Tell a client that waits for it (curl: a second) to send its body."""
        self._invited = True
        transport = self._request.transport
        if transport is not None and self.header("Expect").lower() == "100-continue":
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def open_stream(self, content_type: str, /, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        response = web.StreamResponse(headers=self._headers)
        response.headers[hdrs.CONTENT_TYPE] = content_type
        response.headers.update(headers)
        task = asyncio.current_task()
        if task is not None:
            self._task = task
            self._streaming.add(task)
        self.stream = _Stream(response)
        await response.prepare(self._request)
        return self.stream

    async def open_websocket(self) -> WebSocket:
        response = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE, compress=False)
        if not response.can_prepare(self._request).ok:
            raise InvalidArgument("this request must be a websocket's handshake (RFC 6455)")
        response.headers.update(self._headers)
        task = asyncio.current_task()
        if task is not None:
            self._task = task
            self._streaming.add(task)
        self.stream = _Stream(response)
        await response.prepare(self._request)
        return _WebSocket(response)

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


class _WebSocket:
    """aiohttp's, which answers pings and closes by itself."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self._response = response

    async def receive(self) -> bytes | None:
        message = await self._response.receive()
        if message.type is web.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        return message.data.encode() if message.type is web.WSMsgType.TEXT else None

    async def send(self, data: bytes | str, /) -> None:
        if isinstance(data, bytes):
            await self._response.send_bytes(data)
        else:
            await self._response.send_str(data)

    async def close(self) -> None:
        await self._response.close()


class _Stream:
    """A chunked reply of aiohttp's."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def write(self, data: bytes, /) -> None:
        await self.response.write(data)

    async def finish(self) -> None:
        await self.response.write_eof()
