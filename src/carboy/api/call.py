"""One request on its way through the API, whichever server read it.

`Call` hides where a request came from: aiohttp, or a connection that is to be handed over.
Handlers see the path's variables, the query, a bounded body, and the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from carboy.api.backend import Backends
from carboy.api.query import Query
from carboy.api.versions import Version
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi import wire

if TYPE_CHECKING:
    from carboy.api.metrics import Metrics

T = TypeVar("T")

MAX_JSON = 4 * 1024 * 1024

TakeDescriptor = Callable[[socket.socket, int], int]
"""Duplicates a descriptor of the process at the other end of a unix socket."""


class Stream(Protocol):
    """A reply being written piece by piece."""

    async def write(self, data: bytes, /) -> None:
        """Send `data`; waits while the client is slow, raises ConnectionError when it is gone."""

    async def finish(self) -> None:
        """Everything has been written."""


class WebSocket(Protocol):
    """A connection that became a websocket."""

    async def receive(self) -> bytes | None:
        """The next message's content; None when the client has closed."""

    async def send(self, data: bytes | str, /) -> None:
        """A binary message, or one of text; waits for a slow client, raises ConnectionError without one."""

    async def close(self) -> None:
        """Say goodbye; again is harmless."""


class Exchange(Protocol):
    """What the server under a call offers."""

    def header(self, name: str, /) -> str:
        """A header's value, "" when absent."""

    async def read(self, limit: int, /) -> bytes:
        """The whole body; raises InvalidArgument when it is larger than `limit`."""

    async def chunk(self) -> bytes:
        """The next piece of the body, b"" at its end."""

    async def open_stream(self, content_type: str, /, headers: tuple[tuple[str, str], ...] = ()) -> Stream:
        """Send the head of a streamed reply, now."""

    async def open_websocket(self) -> WebSocket:
        """Answer the client's handshake; raises InvalidArgument when there is none."""

    def peer(self) -> socket.socket | None:
        """A duplicate of the client's connection when it is a unix socket."""


class Workers:
    """The threads that run the synchronous engine."""

    def __init__(self) -> None:
        # What takes long (stop waits for the program) must not keep the rest from being served.
        self._quick = ThreadPoolExecutor(16, thread_name_prefix="api")
        self._slow = ThreadPoolExecutor(256, thread_name_prefix="api-slow")
        # What goes at a client's pace: clients that stall must not keep others from `stop` and `rm`.
        self._transfers = ThreadPoolExecutor(256, thread_name_prefix="api-transfer")
        self._streams = ThreadPoolExecutor(256, thread_name_prefix="api-stream")

    async def run(self, work: Callable[[], T], *, slow: bool = False) -> T:
        """Run `work` on a thread.  It goes on when the caller is cancelled."""
        return await asyncio.wrap_future((self._slow if slow else self._quick).submit(work))

    async def transfer(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads or writes as fast as a client lets it."""
        return await asyncio.wrap_future(self._transfers.submit(work))

    async def stream(self, work: Callable[[], T]) -> T:
        """Hand a client to a monitor: not behind those that stall in the middle of a transfer."""
        return await asyncio.wrap_future(self._streams.submit(work))

    async def acquire(self, make: Callable[[], T], release: Callable[[T], None], *, slow: bool = False) -> T:
        """Like `run`, for something that must be released: also when the caller is cancelled meanwhile."""
        future = (self._slow if slow else self._quick).submit(make)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if not future.cancel():
                future.add_done_callback(lambda done: _release(done, release))
            raise

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` some time, for nobody."""
        with contextlib.suppress(RuntimeError):  # the pool has ended: so has the daemon
            self._quick.submit(work)

    def close(self) -> None:
        """No more work; what runs goes on."""
        self._quick.shutdown(wait=False)  # the releases of ended streams are still to run
        self._slow.shutdown(wait=False, cancel_futures=True)
        for pool in (self._transfers, self._streams):
            pool.shutdown(wait=False, cancel_futures=True)


def _release(done: Future[T], release: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        release(done.result())


@dataclass(frozen=True, slots=True)
class Services:
    """What every handler may use."""

    backends: Backends
    workers: Workers
    take_descriptor: TakeDescriptor | None
    stop: Callable[[], None]
    metrics: Metrics
    debug_endpoints: bool = False


@dataclass(slots=True)
class Call:
    """A request that has found its route."""

    services: Services
    exchange: Exchange
    version: Version
    variables: dict[str, str]
    query: Query

    @property
    def backends(self) -> Backends:
        """The engine."""
        return self.services.backends

    def variable(self, name: str) -> str:
        """A variable of the path; its value is any text."""
        return self.variables[name]

    async def run(self, work: Callable[[], T]) -> T:
        """Run something short of the engine's on a thread."""
        return await self.services.workers.run(work)

    async def run_slow(self, work: Callable[[], T]) -> T:
        """Run something of the engine's that may wait, on a thread."""
        return await self.services.workers.run(work, slow=True)

    async def json(self, kind: type[T], *, required: bool = True) -> tuple[T, list[str]]:
        """The body as `kind`, and the fields it does not know; an absent one is all defaults."""
        body = await self.exchange.read(MAX_JSON)
        if not body.strip():
            if required:
                raise InvalidArgument("invalid JSON: got EOF while reading request body")
            return kind(), []
        content_type = self.exchange.header("Content-Type").partition(";")[0].strip().lower()
        if content_type not in ("", "application/json"):
            raise InvalidArgument(
                f"unsupported Content-Type header ({content_type[:80]}): must be 'application/json'"
            )
        return wire.decode(body, kind)

    @contextlib.asynccontextmanager
    async def client_descriptor(self) -> AsyncIterator[int | None]:
        """The descriptor that a client on this machine passed by number (docs/design/0001), or None."""
        unsafe_number = self.exchange.header("X-Carboy-Descriptor")
        if not unsafe_number:
            yield None
            return
        descriptor = await self.take_descriptor(unsafe_number)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    async def take_descriptor(self, unsafe_number: str) -> int:
        """A copy of a descriptor of the client's; the caller closes it."""
        if not (unsafe_number.isascii() and unsafe_number.isdecimal() and len(unsafe_number) <= 9):
            raise InvalidArgument("invalid X-Carboy-Descriptor: not a descriptor's number")
        peer = self.exchange.peer()
        take = self.services.take_descriptor
        if peer is None or take is None:
            if peer is not None:
                peer.close()
            raise Unsupported("X-Carboy-Descriptor works over a unix socket of this machine only")
        with peer:
            try:
                return await self.services.workers.acquire(lambda: take(peer, int(unsafe_number)), os.close)
            except OSError as error:
                raise InvalidArgument(
                    f"cannot take descriptor {unsafe_number} of the client: {error}"
                ) from error
