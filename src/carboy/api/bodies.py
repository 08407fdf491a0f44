"""Large bodies of requests and replies, for handlers: what a thread of the engine reads and writes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from carboy.api.backend import Sink
from carboy.api.call import Call, Stream
from carboy.api.failure import describe
from carboy.api.reply import Answer, Streamed
from carboy.api.transfer import BodySource, Outbox
from carboy.errors import Cancelled
from carboy.formats.dockerapi.progress import failure, line

Headers = tuple[tuple[str, str], ...]


class DescriptorSink:
    """A sink that is the client's own file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | memoryview, /) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def fileno(self) -> int | None:
        return self._descriptor


def nothing() -> None:
    """No release is needed."""


def receive(call: Call) -> tuple[BodySource, Callable[[], None]]:
    """The request's body for a thread, and what ends it when nobody reads it any more."""
    source = BodySource(asyncio.get_running_loop())
    pump = asyncio.ensure_future(source.pump(call.exchange.chunk))

    def stop() -> None:
        pump.cancel()
        source.end(Cancelled("the client went away before the upload ended"))

    return source, stop


async def download(
    call: Call,
    work: Callable[[Sink], None],
    content_type: str,
    *,
    release: Callable[[], None] = nothing,
    headers: Headers = (),
    messages: bool = False,
) -> Answer:
    """Send what `work` writes.  An error before the first byte is an error's reply.

    A later one ends a stream of messages by a message, and breaks any other stream off.
    `release` makes a `work` end that still waits for its client.
    """
    outbox = Outbox(asyncio.get_running_loop())

    def guarded() -> None:
        try:
            work(outbox)
        finally:
            outbox.end()

    running = asyncio.ensure_future(call.services.workers.transfer(guarded))
    stream: Stream | None = None
    try:
        while data := await outbox.take():
            stream = stream or await call.exchange.open_stream(content_type, headers)
            await stream.write(data)
        try:
            await running
        except Exception as error:
            if stream is None or not messages:
                raise
            status, text = describe(error)
            await stream.write(line(failure(text, code=status)))
        stream = stream or await call.exchange.open_stream(content_type, headers)
        await stream.finish()
    finally:
        outbox.close()
        release()
        await settled(running)
    return Streamed()


async def settled(running: asyncio.Future[None]) -> None:
    """Wait for the thread even when cancelled: it uses descriptors that are closed next."""
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
    if not running.cancelled():
        running.exception()
    if cancelled:
        raise asyncio.CancelledError
