"""What is told while a build runs, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from carboy.build.graph import Vertex
from carboy.errors import Cancelled


class Cancellation:
    """Asked for from outside; steps look, or are called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason = ""
        self._subscriptions: set[_Subscription] = set()

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return bool(self._reason)

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self._reason

    def cancel(self, reason: str) -> None:
        """Ask everything to stop; `reason` is for people.  Only the first one counts."""
        with self._lock:
            if self._reason:
                return
            self._reason = reason
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.call()

    def check(self) -> None:
        """Raise Cancelled when it is time to stop."""
        if self._reason:
            raise Cancelled(self._reason)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once (from any thread, perhaps at once); gives what ends that.

        When that has returned, the callback neither runs nor will: what it uses can be closed.
        """
        subscription = _Subscription(callback)
        with self._lock:
            self._subscriptions.add(subscription)
        if self._reason:
            subscription.call(wait=False)

        def unsubscribe() -> None:
            with self._lock:
                self._subscriptions.discard(subscription)
            subscription.end()

        return unsubscribe


class _Subscription:
    """A callback that is called once, or not any more."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback
        self._lock = threading.RLock()  # it may end its own subscription

    def call(self, *, wait: bool = True) -> None:
        """Call it; wait=False: unless somebody does just now, who may wait for locks of ours."""
        if not self._lock.acquire(blocking=wait):
            return
        try:
            callback, self._callback = self._callback, None
            if callback is not None:
                callback()
        finally:
            self._lock.release()

    def end(self) -> None:
        """Have it called no more, and wait while it is."""
        with self._lock:
            self._callback = None


class Reporter(Protocol):
    """Told of everything in a build; called from several threads."""

    def started(self, vertex: Vertex) -> None: ...

    def cached(self, vertex: Vertex) -> None: ...

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None:
        """Why it is taken from the cache, or is not."""
        ...

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """What a program printed: stream 1 or 2."""
        ...

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None:
        """Bytes of a transfer; total 0: not known."""
        ...

    def finished(self, vertex: Vertex, error: str) -> None:
        """It ended; error is empty when well."""
        ...

    def warning(self, vertex: Vertex | None, text: str) -> None: ...


class Console:
    """One step's view of the reporter."""

    def __init__(self, reporter: Reporter, vertex: Vertex, cancellation: Cancellation) -> None:
        self._reporter = reporter
        self.vertex = vertex
        self.cancellation = cancellation

    def output(self, stream: int, data: bytes) -> None:
        """Pass on what a program printed."""
        self._reporter.output(self.vertex, stream, data)

    def progress(self, what: str, current: int, total: int) -> None:
        """Say how far a transfer is."""
        self._reporter.progress(self.vertex, what, current, total)

    def warning(self, text: str) -> None:
        """Something to be known, that is no error."""
        self._reporter.warning(self.vertex, text)
