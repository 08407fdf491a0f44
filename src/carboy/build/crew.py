"""Threads that do jobs in turn, for all builds of a daemon.

A thread comes when there is a job and none is idle, up to the crew's size, and goes when it has been
idle for a while.  A job that has not begun can be taken back.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)
_PATIENCE = 20.0
"""Seconds: a thread that has come keeps its connection to the database for the next build."""


class Ticket:
    """A job that was given to a crew."""

    __slots__ = ("job", "waits")

    def __init__(self, job: Callable[[], None]) -> None:
        self.job = job
        self.waits = False
        """It was given while all threads were busy."""


class Crew:
    """Up to `size` threads."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def close(self, patience: float = 20.0) -> bool:
        """Do what waits, then let all threads go; False: after `patience` seconds one is still busy."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._threads, patience)

    def submit(self, job: Callable[[], None]) -> Ticket:
        """Have the job done; it must not raise."""
        ticket = Ticket(job)
        with self._changed:
            self._waiting.append(ticket)
            if self._idle >= len(self._waiting):
                self._changed.notify(len(self._waiting) if not self._closed else self._size + 1)
                return ticket
            if self._threads == self._size:
                ticket.waits = True
                return ticket
            self._threads += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return ticket

    def take_back(self, ticket: Ticket) -> bool:
        """Whether the job had not begun, and now never will."""
        with self._changed:
            try:
                self._waiting.remove(ticket)
            except ValueError:
                return False
            return True

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                ticket.job()
            except Exception:  # a bug; but the crew is everybody's
                _log.exception("a job of %s", self._name)
            del ticket  # with all that the job holds

    def _next(self) -> Ticket | None:
        with self._changed:
            while not self._waiting:
                self._idle += 1
                told = not self._closed and self._changed.wait(_PATIENCE)
                self._idle -= 1
                if (self._closed or not told) and not self._waiting:
                    self._threads -= 1
                    self._changed.notify_all()
                    return None
            return self._waiting.popleft()
