"""The figures of a container, as long as a client listens.

A client gets the newest frame that there is when it has taken the last one: a slow one misses
some, and holds nobody up.
"""

from __future__ import annotations

import asyncio

from carboy.api.call import Call
from carboy.api.reply import Answer, Streamed, json_reply
from carboy.errors import NotFound
from carboy.formats.dockerapi.stats import ContainerStats
from carboy.formats.dockerapi.wire import encode


class _Newest:
    """The newest frame, between the thread that takes them and the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frame: ContainerStats | None = None
        self._ended = False
        self._more = asyncio.Event()

    def deliver(self, frame: ContainerStats | None) -> None:
        """Called from any thread."""
        if frame is None:
            self._ended = True
        else:
            self._frame = frame
        self._loop.call_soon_threadsafe(self._more.set)

    async def next(self) -> ContainerStats | None:
        """Wait for a frame that was not given yet; None when the container was removed."""
        while not self._has_come():
            self._more.clear()
            if not self._has_come():
                await self._more.wait()
        frame, self._frame = self._frame, None
        return frame

    def _has_come(self) -> bool:
        return self._frame is not None or self._ended


async def stats(call: Call) -> Answer:
    """`GET /containers/{id}/stats`"""
    ref, stream = call.variable("id"), call.query.boolean("stream", default=True)
    one_shot = call.version >= (1, 41) and call.query.boolean("one-shot")
    newest = _Newest(asyncio.get_running_loop())
    workers, upkeep = call.services.workers, call.backends.upkeep
    cancel = await workers.acquire(
        lambda: upkeep.stats(ref, stream=stream, one_shot=one_shot, deliver=newest.deliver),
        lambda cancel: cancel(),
    )
    try:
        if not stream:
            frame = await newest.next()
            if frame is None:
                raise NotFound(f"No such container: {ref[:200]}")
            return json_reply(frame)
        reply = await call.exchange.open_stream("application/json")
        while (frame := await newest.next()) is not None:
            await reply.write(encode(frame) + b"\n")
        await reply.finish()
    finally:
        workers.submit(cancel)
    return Streamed()
