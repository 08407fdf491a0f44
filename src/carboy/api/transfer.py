"""Large bodies between the event loop and one thread of the engine.

    client ──▶ loop: pump ──▶ BodySource ──▶ thread: read()         load, import
    client ◀── loop: copy ◀── Outbox     ◀── thread: write()        save, progress

Both hold a bounded number of bytes: the faster side waits for the slower one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable

from carboy.errors import Cancelled, CarboyError

CAPACITY = 1024 * 1024
"""Bytes between the two sides: every client that stalls keeps as many."""

_SLICE = 256 * 1024


class DescriptorSource:
    """A source that is the client's own file."""

    def __init__(self, descriptor: int, read: Callable[[int, int], bytes]) -> None:
        self._descriptor = descriptor
        self._read = read

    def read(self, size: int, /) -> bytes:
        """The next bytes of the file."""
        return self._read(self._descriptor, size)

    def fileno(self) -> int | None:
        """The client's file."""
        return self._descriptor


class BodySource:
    """A request's body, read by a thread while the loop receives it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._condition = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: CarboyError | None = None
        self._room = asyncio.Event()
        self._room.set()

    def fileno(self) -> int | None:
        """None: the bytes come over the wire."""
        return None

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, b"" at the end; raises Cancelled when the client went away."""
        with self._condition:
            while not self._chunks and not self._ended:
                self._condition.wait()
            if not self._chunks:
                if self._error is not None:
                    raise self._error
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            full = self._held >= CAPACITY
            self._held -= len(chunk)
            wake = full and self._held < CAPACITY
        if wake:
            self._loop.call_soon_threadsafe(self._room.set)
        return chunk

    async def pump(self, chunk: Callable[[], Awaitable[bytes]]) -> None:
        """Receive the whole body, in the loop."""
        error: CarboyError | None = Cancelled("the client went away before the upload ended")
        try:
            while data := await chunk():
                await self._room.wait()
                self._put(data)
            error = None
        except CarboyError as reason:
            error = reason
        except ConnectionError:
            pass
        finally:
            self.end(error)

    def end(self, error: CarboyError | None) -> None:
        """No more bytes come; the reader gets `error` after the last one."""
        with self._condition:
            if not self._ended:
                self._ended = True
                self._error = error
            self._condition.notify_all()

    def _put(self, data: bytes) -> None:
        with self._condition:
            # Slices of large chunks would be copied again for each small read.
            for begin in range(0, len(data), _SLICE):
                self._chunks.append(data[begin : begin + _SLICE] if len(data) > _SLICE else data)
            self._held += len(data)
            if self._held >= CAPACITY:
                self._room.clear()
            self._condition.notify_all()


class Outbox:
    """Bytes from a thread to a client; a sink without a descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._condition = threading.Condition()
        self._chunks: list[bytes] = []
        self._held = 0
        self._closed = False
        self._ended = False
        self._more = asyncio.Event()

    def fileno(self) -> int | None:
        """None: the bytes go over the wire."""
        return None

    def write(self, data: bytes | memoryview, /) -> None:
        """Take all of `data`, waiting for a slow client; raises Cancelled when it went away."""
        if not len(data):
            return  # nothing at all would be taken for the end
        view = memoryview(data)
        for begin in range(0, len(view), _SLICE):
            self._put(bytes(view[begin : begin + _SLICE]))

    def _put(self, data: bytes) -> None:
        with self._condition:
            while self._held >= CAPACITY and not self._closed:
                self._condition.wait()
            if self._closed:
                raise Cancelled("the client went away before everything was sent")
            self._chunks.append(data)
            self._held += len(data)
            first = len(self._chunks) == 1
        if first:
            self._wake()

    def end(self) -> None:
        """The thread has written everything."""
        with self._condition:
            self._ended = True
        self._wake()

    def close(self) -> None:
        """The client is gone: the writer is told at its next write."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    async def take(self) -> bytes:
        """Some of what has been written since, waiting for it; b"" at the end."""
        while True:
            self._more.clear()
            with self._condition:
                data = self._take()
                # Looked at together: an end that is seen later may come after further chunks.
                ended = self._ended
                self._held -= len(data)
                self._condition.notify_all()
            if data or ended:
                return data
            await self._more.wait()

    def _take(self) -> bytes:
        """Chunks of a slice together, at the least one: what is sent at once is held twice."""
        size = count = 0
        while count < len(self._chunks) and (not count or size + len(self._chunks[count]) <= _SLICE):
            size += len(self._chunks[count])
            count += 1
        chunks, self._chunks = self._chunks[:count], self._chunks[count:]
        return chunks[0] if count == 1 else b"".join(chunks)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._more.set)
        except RuntimeError as error:  # the loop has ended: so has the connection
            raise Cancelled("the daemon is stopping") from error
