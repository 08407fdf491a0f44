"""What a RUN prints, from the monitor's frames to the console: streamed, and bounded.

The monitor makes the program wait while we take nothing, so memory is bounded.  What goes to clients
is bounded as well: after `limit` bytes only the last ones are kept, and told at the end, because
the reason of a failure stands there.
"""

from __future__ import annotations

from collections import deque

from carboy.build.progress import Console
from carboy.formats.stdcopy import Decoder

LIMIT = 16 << 20
"""Bytes of one step that are told; 0 for no limit."""
TAIL = 1 << 16


class Output:
    """One step's output."""

    def __init__(self, console: Console, *, limit: int = LIMIT) -> None:
        self._console = console
        self._decoder = Decoder()
        self._limit = limit
        self._told = 0
        self._skipped = 0
        self._last: deque[tuple[int, bytes]] = deque()
        self._kept = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the monitor."""
        for stream, piece in self._decoder.feed(data):
            room = len(piece) if not self._limit else min(len(piece), self._limit - self._told)
            if room > 0:
                self._told += room
                self._console.output(stream, piece[:room])
            if room < len(piece):
                self._keep(stream, piece[max(room, 0) :])

    def finish(self) -> None:
        """The program has ended: tell what was kept back."""
        if not self._last:
            return
        if self._skipped:
            text = f"\n[output clipped: {self._skipped} bytes are left out here]\n"
            self._console.output(2, text.encode())
        while self._last:
            stream, piece = self._last.popleft()
            self._console.output(stream, piece)

    def _keep(self, stream: int, piece: bytes) -> None:
        if len(piece) > TAIL:
            self._skipped += len(piece) - TAIL
            piece = piece[-TAIL:]
        self._last.append((stream, piece))
        self._kept += len(piece)
        while self._kept - len(self._last[0][1]) >= TAIL:
            dropped = len(self._last.popleft()[1])
            self._kept -= dropped
            self._skipped += dropped
        if len(self._last) > 1024:  # lines of a byte each
            kept = list(self._last)
            self._last = deque(
                (stream, b"".join(piece for one, piece in kept if one == stream)) for stream in (1, 2)
            )
