"""`GET /containers/{id}/attach/ws`: a container's streams in the messages of a websocket.

    client ◀──messages──▶ aiohttp ◀──socketpair──▶ monitor

The one place where the daemon relays output: the monitor speaks no websocket.  What the client
does not take stays in the socketpair, so the monitor's rules for slow clients hold here as well.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import socket

from carboy.api.call import Call, WebSocket
from carboy.api.handlers.streams import abandon
from carboy.api.reply import Answer, Streamed
from carboy.formats.dockerapi.streams import AttachOptions
from carboy.formats.stdcopy import Decoder

_PIECE = 64 * 1024


async def attach(call: Call) -> Answer:
    """The streams that the query names (all of them before API 1.42), without frames of their own."""
    ref, query = call.variable("id"), call.query
    everything = call.version < (1, 42)
    options = AttachOptions(
        stdin=everything or query.boolean("stdin"),
        stdout=everything or query.boolean("stdout"),
        stderr=everything or query.boolean("stderr"),
        stream=query.boolean("stream"),
        logs=query.boolean("logs"),
        detach_keys=query.optional("detachKeys"),
    )
    workers = call.services.workers
    handover = await workers.acquire(lambda: call.backends.containers.attach(ref, options), abandon)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            client = await call.exchange.open_websocket()
        except BaseException:
            workers.submit(handover.abandon)
            raise
        descriptor = theirs.detach()
        handing = asyncio.ensure_future(workers.stream(lambda: handover.hand_over(descriptor, b"")))
        try:
            await _relay(ours, client, tty=handover.tty, binary=call.version >= (1, 28))
        finally:
            ours.close()  # a replay that is still being written ends with this
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(handing)
        await client.close()
    return Streamed()


async def _relay(stream: socket.socket, client: WebSocket, *, tty: bool, binary: bool) -> None:
    """Copy both ways until either side ends."""
    stream.setblocking(False)
    tasks = [
        asyncio.ensure_future(_output(stream, client, tty=tty, binary=binary)),
        asyncio.ensure_future(_input(stream, client)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _output(stream: socket.socket, client: WebSocket, *, tty: bool, binary: bool) -> None:
    loop = asyncio.get_running_loop()
    frames = None if tty else Decoder()
    text = None if binary else codecs.getincrementaldecoder("utf-8")("replace")
    while data := await loop.sock_recv(stream, _PIECE):
        pieces = [data] if frames is None else [payload for _, payload in frames.feed(data)]
        for piece in pieces:
            await client.send(piece if text is None else text.decode(piece))


async def _input(stream: socket.socket, client: WebSocket) -> None:
    loop = asyncio.get_running_loop()
    while (data := await client.receive()) is not None:
        try:
            await loop.sock_sendall(stream, data)
        except ConnectionError:
            return
