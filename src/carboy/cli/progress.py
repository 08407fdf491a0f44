"""A line that shows how far a transfer is: on a terminal's standard error, gone when it is done.

    Loading  [##########              ]  45%  72.1MB / 160MB  80.3MB/s

Drawn ten times a second at most, and not at all for what takes less than half a second.
"""

from __future__ import annotations

import os
import select
import time

from carboy.formats import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carboy.client.transport import Connection

INTERVAL = 0.1
PATIENCE = 0.5
_WIDTH = 24


class Progress:
    """One transfer; `total` 0 when nobody knows it. Does nothing where standard error is no terminal."""

    def __init__(self, label: str, total: int = 0, *, quiet: bool = False) -> None:
        self.active = not quiet and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
        self._label = label
        self._total = total
        self._began = time.monotonic()
        self._drawn = 0.0
        self._count = 0

    def reach(self, count: int) -> None:
        """So many bytes are done."""
        self._count = count
        now = time.monotonic()
        if not self.active or now - self._began < PATIENCE or now - self._drawn < INTERVAL:
            return
        self._drawn = now
        os.write(2, f"\r{line(self._label, count, self._total, now - self._began)}\033[K".encode())

    def count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass pieces on, counting them."""
        for piece in pieces:
            yield piece
            self.reach(self._count + len(piece))

    def watch(self, connection: Connection, measure: Callable[[], int]) -> None:
        """Wait for the daemon's answer, showing what `measure` says meanwhile."""
        if not self.active:
            return
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        while not poll.poll(int(INTERVAL * 1000)):
            self.reach(measure())

    def finish(self) -> None:
        """Leave the line empty for what comes next."""
        if self._drawn:
            os.write(2, b"\r\033[K")
            self._drawn = 0.0


def line(label: str, count: int, total: int, seconds: float) -> str:
    """What is shown."""
    if not count:  # the daemon reads a descriptor of ours, and where it is is not told
        return f"{label}  {human.size(total) + '  ' if total else ''}{seconds:.0f}s"
    rate = human.size(count / seconds if seconds else 0) + "/s"
    if total <= 0:
        return f"{label}  {human.size(count)}  {rate}"
    share = min(count / total, 1.0)
    bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH)
    return f"{label}  [{bar}]  {share:4.0%}  {human.size(count)} / {human.size(total)}  {rate}"
