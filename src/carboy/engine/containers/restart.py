"""Restart policies: whether a container that ended is started again, when, and by what clock.

The daemon does it, not the monitor: a start needs the store, the network and the spawner.  Policy,
count and delay are stored with the end, so that the next daemon goes on with the same delay; what
ended while no daemon lived is started again as soon as one does.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from carboy.engine.containers.document import ContainerDocument
from carboy.formats.dockerapi.times import parse_rfc3339

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
STEADY = 10.0
"""Seconds of running after which the next delay is the first again."""

_log = logging.getLogger(__name__)


def wants_restart(document: ContainerDocument) -> bool:
    """Whether the policy has a container that ended just now started again."""
    policy = document.host.restart_policy
    if document.stopped_by_user:
        return False
    if policy.name == "on-failure":
        most = policy.maximum_retry_count
        return document.exit_code != 0 and (not most or document.restart_count < most)
    return policy.name in ("always", "unless-stopped")


def starts_with_daemon(document: ContainerDocument) -> bool:
    """Whether a container that ended some time ago is started when a daemon starts.

    `always` means it: even one that was stopped by hand, as with Docker.  `on-failure` does not;
    one whose end nobody saw (a reboot) has failed then, and is treated as having ended just now.
    """
    name = document.host.restart_policy.name
    return name == "always" or (name == "unless-stopped" and not document.stopped_by_user)


def next_delay(previous: float, ran: float) -> float:
    """The delay after `previous` one, when it has run for so many seconds in between."""
    if not previous or ran >= STEADY:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


def seconds_run(document: ContainerDocument) -> float:
    """How long the last run was; 0 when that is not known."""
    if not (document.started_at and document.finished_at):
        return 0.0
    return max(0, parse_rfc3339(document.finished_at) - document.started_at) / 1e9


def seconds_left(document: ContainerDocument) -> float:
    """The rest of the delay since the end."""
    if not document.finished_at:
        return 0.0
    passed = (time.time_ns() - parse_rfc3339(document.finished_at)) / 1e9
    return min(max(0.0, document.restart_delay - passed), document.restart_delay)


class Schedule:
    """Does things later, once, in one thread that sleeps while there is nothing to do."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, str]] = []
        self._actions: dict[str, tuple[int, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closing = False

    def later(self, seconds: float, key: str, action: Callable[[], None]) -> None:
        """Do `action` then, instead of what was planned for `key`; it must be quick."""
        with self._condition:
            if self._closing:
                return
            number = next(self._numbers)
            self._actions[key] = (number, action)
            heapq.heappush(self._heap, (time.monotonic() + seconds, number, key))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="restarts", daemon=True)
                self._thread.start()
            self._condition.notify()

    def cancel(self, key: str) -> None:
        """Forget what was planned for `key`."""
        with self._condition:
            self._actions.pop(key, None)

    def close(self) -> None:
        """Forget everything."""
        with self._condition:
            self._closing = True
            self._actions.clear()
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:  # one that fails must not stop the others
                _log.exception("a restart")

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            while not self._closing:
                if not self._heap:
                    self._condition.wait()
                    continue
                at, number, key = self._heap[0]
                wanted = self._actions.get(key)
                if wanted is None or wanted[0] != number:
                    heapq.heappop(self._heap)
                elif at > time.monotonic():
                    self._condition.wait(at - time.monotonic())
                else:
                    heapq.heappop(self._heap)
                    del self._actions[key]
                    return wanted[1]
            return None
