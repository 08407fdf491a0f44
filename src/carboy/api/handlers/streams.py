"""What goes on for as long as a client listens: wait, logs, attach, events.

None of them holds a worker, and a client that vanishes leaves nothing behind: its task is
cancelled, and what it had registered is released.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

from carboy.api.backend import Handover, LogReader
from carboy.api.call import Call, Stream
from carboy.api.reply import Answer, Hijack, Streamed
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import WaitResponse
from carboy.formats.dockerapi.streams import AttachOptions, LogOptions
from carboy.formats.dockerapi.system import Event
from carboy.formats.dockerapi.times import parse_moment
from carboy.formats.dockerapi.wire import encode

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

CHUNK = 16 << 10
"""Bytes of a log in one HTTP chunk: docker-modem recurses over a chunk's frames, and fails with thousands."""

MAX_EVENTS = 16 * 1024
"""Events that may wait for one client; a slower one is dropped."""

_CONDITIONS = frozenset({"not-running", "next-exit", "removed"})


def content_type(version: tuple[int, int], *, multiplexed: bool) -> str:
    """The content type of a stream of a container: older clients know one only."""
    return MULTIPLEXED if multiplexed and version >= (1, 42) else RAW


async def wait(call: Call) -> Answer:
    """`POST /containers/{id}/wait`: the head at once, the body when it has happened."""
    ref = call.variable("id")
    condition = call.query.text("condition") if call.version >= (1, 30) else ""
    condition = condition or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition[:80]}"')
    loop = asyncio.get_running_loop()
    happened: asyncio.Future[WaitResponse] = loop.create_future()

    def settle(response: WaitResponse) -> None:
        if not happened.done():
            happened.set_result(response)

    def done(response: WaitResponse) -> None:
        loop.call_soon_threadsafe(settle, response)

    workers = call.services.workers
    cancel = await workers.acquire(
        lambda: call.backends.containers.wait(ref, condition, done), lambda cancel: cancel()
    )
    try:
        stream = await call.exchange.open_stream("application/json")
        await stream.write(encode(await happened) + b"\n")
        await stream.finish()
    finally:
        workers.submit(cancel)
    return Streamed()


async def logs(call: Call) -> Answer:
    """`GET /containers/{id}/logs`"""
    ref, options = call.variable("id"), _log_options(call)
    workers = call.services.workers
    reader = await workers.acquire(
        lambda: call.backends.containers.logs(ref, options), lambda reader: reader.close()
    )
    try:
        stream = await call.exchange.open_stream(content_type(call.version, multiplexed=not reader.tty))
        await _copy_log(call, reader, stream, CHUNK if reader.tty or not options.joined else sys.maxsize)
        await stream.finish()
    finally:
        workers.submit(reader.close)
    return Streamed()


def _log_options(call: Call) -> LogOptions:
    query = call.query
    stdout, stderr = query.boolean("stdout"), query.boolean("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    now = time.time_ns()
    since, until = (query.text(name) for name in ("since", "until"))
    return LogOptions(
        stdout=stdout,
        stderr=stderr,
        follow=query.boolean("follow"),
        timestamps=query.boolean("timestamps"),
        details=query.boolean("details"),
        since=parse_moment(since, now=now) if since not in ("", "0") else None,
        until=parse_moment(until, now=now) if until not in ("", "0") else None,
        tail=_tail(query.text("tail")),
        joined=query.boolean("joined"),
    )


def _tail(unsafe_text: str) -> int | None:
    # Docker takes whatever is not a number for "all".
    if unsafe_text.isascii() and unsafe_text.isdecimal() and len(unsafe_text) <= 15:
        return int(unsafe_text)
    return None


async def _copy_log(call: Call, reader: LogReader, stream: Stream, size: int) -> None:
    """Read ahead by one piece while the last one is sent, `size` bytes to a chunk."""
    ahead = asyncio.ensure_future(call.run(reader.read))
    try:
        while (data := await ahead) is not None:
            if not data:
                await _readable(reader.fileno())
            ahead = asyncio.ensure_future(call.run(reader.read))
            for start in range(0, len(data), size):
                await stream.write(data[start : start + size])
    finally:
        # The thread must have left the reader before it is closed.
        while not ahead.done():
            try:
                await asyncio.shield(asyncio.wait([ahead]))
            except asyncio.CancelledError:
                continue
        if not ahead.cancelled():
            ahead.exception()


async def _readable(descriptor: int) -> None:
    """Return when the descriptor can be read."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


async def attach(call: Call) -> Answer:
    """`POST /containers/{id}/attach`"""
    ref, query = call.variable("id"), call.query
    options = AttachOptions(
        stdin=query.boolean("stdin"),
        stdout=query.boolean("stdout"),
        stderr=query.boolean("stderr"),
        stream=query.boolean("stream"),
        logs=query.boolean("logs"),
        detach_keys=query.optional("detachKeys"),
    )
    handover = await call.services.workers.acquire(
        lambda: call.backends.containers.attach(ref, options), abandon
    )
    return Hijack(handover, multiplexed=not handover.tty)


def abandon(handover: Handover | None) -> None:
    """The client went away before it got its stream."""
    if handover is not None:
        handover.abandon()


class EventQueue:
    """Events between the engine's threads and the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Event] = deque()
        self._more = asyncio.Event()
        self._overflowed = False

    def deliver(self, event: Event) -> None:
        if len(self._waiting) >= MAX_EVENTS:
            self._overflowed = True
        else:
            self._waiting.append(event)
        self._loop.call_soon_threadsafe(self._more.set)

    async def batch(self, deadline: float | None) -> list[Event]:
        """What has come, waiting for it until the deadline of the loop's clock; [] then."""
        try:
            async with asyncio.timeout_at(deadline):
                # Not `if`: what was taken already may still have its call of `set` on the way.
                while not self._waiting:
                    self._more.clear()
                    if not self._waiting:
                        await self._more.wait()
        except TimeoutError:
            return []
        if self._overflowed:
            raise ConnectionAbortedError("the client reads events too slowly")
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


async def events(call: Call) -> Answer:
    """`GET /events`"""
    now = time.time_ns()
    since_text, until_text = call.query.text("since"), call.query.text("until")
    since = parse_moment(since_text, now=now) if since_text else None
    until = parse_moment(until_text, now=now) if until_text else None
    if since is not None and until is not None and since > until:
        raise InvalidArgument(
            f"`since` time ({since_text[:60]}) cannot be after `until` time ({until_text[:60]})"
        )
    filters = call.query.filters()
    loop = asyncio.get_running_loop()
    deadline = None if until is None else loop.time() + (until - now) / 1e9
    queue = EventQueue(loop)
    workers = call.services.workers
    cancel = await workers.acquire(
        lambda: call.backends.events.subscribe(since, until, filters, queue.deliver), lambda cancel: cancel()
    )
    try:
        stream = await call.exchange.open_stream("application/json")
        while batch := await queue.batch(deadline):
            await stream.write(b"".join(encode(event) + b"\n" for event in batch))
        await stream.finish()
    finally:
        workers.submit(cancel)
    return Streamed()
