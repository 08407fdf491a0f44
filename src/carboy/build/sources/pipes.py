"""Pipes and sockets that a client handed over: read so that a silent one keeps nobody waiting for ever.

The open file is shared with the client: it stays as it is (no O_NONBLOCK), and others may read from it,
so that what was there when we looked may be gone when we read.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

_LOOK = 250
"""Milliseconds between two looks at whether somebody still wants it."""


class Pipe:
    """A reader of one; `check` raises when it is time to stop."""

    def __init__(self, descriptor: int, check: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._check = check
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, size: int, /) -> bytes:
        """The next bytes, nothing at the end."""
        buffer = bytearray(size)
        while True:
            self._check()
            if not self._poll.poll(_LOOK):
                continue
            try:
                done = os.preadv(self._descriptor, [buffer], -1, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
            return bytes(memoryview(buffer)[:done])
