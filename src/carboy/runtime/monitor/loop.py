"""The monitor's one loop: descriptors through epoll, and a few timers."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR


class Timer:
    """Something to be done once, later; `cancel` forgets it."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.action = None


FAILURES = 8
"""Failures of one descriptor's callback after which it is no longer watched."""


class Loop:
    """Calls back `(events)` for every descriptor that is ready, in one thread."""

    __slots__ = ("_callbacks", "_epoll", "_failures", "_timers", "running")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._failures: dict[int, int] = {}
        self._timers: list[Timer] = []
        self.running = True

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Begin to watch; `events` 0 still reports that the other side has gone."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Watch for other events."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; before the descriptor is closed. Unknown ones are no error."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do `action` after a while."""
        timer = Timer(time.monotonic() + seconds, action)
        self._timers.append(timer)
        return timer

    def step(self, limit: float | None = None) -> None:
        """Wait for the next events or timers (at most `limit` seconds) and handle them."""
        self._timers = [timer for timer in self._timers if timer.action is not None]
        waits = [max(0.0, timer.at - time.monotonic()) for timer in self._timers]
        if limit is not None:
            waits.append(limit)
        for fd, events in self._epoll.poll(min(waits) if waits else None):
            callback = self._callbacks.get(fd)
            if callback is not None:
                try:
                    callback(events)
                except Exception:  # a bug of ours must not cost the user's container
                    self._failed(fd)
        now = time.monotonic()
        for timer in self._timers:
            action = timer.action
            if action is not None and timer.at <= now:
                timer.action = None
                try:
                    action()
                except Exception:  # noqa: S112 - the same; a monitor has no log
                    continue

    def _failed(self, fd: int) -> None:
        """Try again a few times, then do without this descriptor: a busy loop helps nobody."""
        self._failures[fd] = self._failures.get(fd, 0) + 1
        if self._failures[fd] >= FAILURES:
            self._failures.pop(fd)
            self.forget(fd)

    def run(self) -> None:
        """Go on until `running` is False."""
        while self.running:
            self.step()
