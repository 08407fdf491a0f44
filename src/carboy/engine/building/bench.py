"""Builds that were announced, are under way, or wait for their results to be fetched: in memory only.

begin ─▶ Announced ─(10 minutes)─▶ gone
           │ start
           ▼
        Cancellation while it runs ─▶ Finished outputs ─(fetched, or 10 minutes)─▶ gone
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from carboy.build.progress import Cancellation
from carboy.errors import Conflict, InvalidArgument, NotFound, Unavailable
from carboy.formats.dockerapi.build import BuildOptions
from carboy.store.archiveout import Sink

PATIENCE = 600.0
"""Seconds that a client has for its next request."""
_MOST = 64
_MOST_BYTES = 16 << 20
"""Of all together: secrets, Dockerfiles and the like."""
_MOST_DESCRIPTORS = 512
"""Of all together; the daemon has others to open."""


class Export(Protocol):
    """A result that a client may fetch."""

    def write(self, sink: Sink) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Announced:
    """What `begin` was told; owns its descriptors."""

    options: BuildOptions
    descriptors: dict[int, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    """Tars that came by themselves, by the context's name."""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(msgspec.json.encode(self.options))

    def close(self) -> None:
        """Let go of everything."""
        for descriptor in (*self.descriptors.values(), *self.sent.values()):
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        self.sent.clear()


@dataclass(slots=True)
class _Kept:
    exports: dict[int, Export]
    stack: ExitStack
    busy: int = 0
    over: bool = False


class Bench:
    """See the module."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._announced: dict[str, tuple[float, Announced]] = {}
        self._running: dict[str, Cancellation] = {}
        self._kept: dict[str, tuple[float, _Kept]] = {}
        self._timer: threading.Timer | None = None
        self._closed = False

    def announce(self, announced: Announced) -> str:
        """Keep it, and give it a name."""
        build = secrets.token_hex(16)
        with self._lock:
            waiting = [announced, *(each for _, each in self._announced.values())]
            if (
                len(waiting) > _MOST
                or sum(each.size for each in waiting) > _MOST_BYTES
                or sum(len(each.descriptors) for each in waiting) > _MOST_DESCRIPTORS
            ):
                raise Unavailable(
                    "too many or too large builds have been announced and not started: try again later"
                )
            self._announced[build] = (self._clock() + PATIENCE, announced)
            self._wake()
        return build

    def add_context(self, build: str, name: str, descriptor: int) -> None:
        """A tar has come; owns the descriptor."""
        try:
            with self._lock:
                announced = self._find(build)
                if name in announced.sent:
                    raise Conflict(f"the context {name[:80]!r} of this build has been sent already")
                announced.sent[name] = descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def check(self, build: str, name: str) -> None:
        """Whether a context of that name is awaited: before it is received."""
        with self._lock:
            options = self._find(build).options
        if name:
            known = options.contexts.get(name)
        elif options.context is msgspec.UNSET:
            return  # the main context may come this way, too
        else:
            known = options.context
        if known is None or known.kind != "archive":
            raise InvalidArgument(f"no tar is awaited for the context {name[:80]!r} of this build")

    def take(self, build: str) -> Announced:
        """Begin it: the caller closes what was announced."""
        with self._lock:
            found = self._find(build)
            del self._announced[build]
            return found

    def run(self, build: str, cancellation: Cancellation) -> None:
        """It runs under this name, until `ended`."""
        with self._lock:
            if build in self._running:
                raise Conflict(f"a build with the ID {build} is under way already")
            self._running[build] = cancellation

    def ended(self, build: str) -> None:
        """It runs no more."""
        with self._lock:
            self._running.pop(build, None)

    def cancel(self, unsafe_build: str) -> bool:
        """Ask a build to stop; whether there is one."""
        with self._lock:
            cancellation = self._running.get(unsafe_build)
        if cancellation is None:
            return False
        cancellation.cancel("the build was cancelled")
        return True

    def keep(self, build: str, exports: dict[int, Export], stack: ExitStack) -> None:
        """Hold results; `stack` is closed when they are gone."""
        with self._lock:
            _, older = self._kept.pop(build, (0.0, None))  # a client may use its own name twice
            if older is not None:
                older.over = True
            if not self._closed:
                self._kept[build] = (self._clock() + PATIENCE, _Kept(exports, stack))
                self._wake()
        if older is not None and not older.busy:
            older.stack.close()
        if self._closed:
            stack.close()

    def fetch(self, unsafe_build: str, index: int) -> Fetched:
        """One result: gone when it has been written."""
        with self._lock:
            found = self._kept.get(unsafe_build)
            export = found[1].exports.get(index) if found is not None else None
            if found is None or export is None:
                raise NotFound(
                    f"No such output: {index} of build {unsafe_build[:64]}: it was fetched already?"
                )
            found[1].busy += 1
            return Fetched(self, unsafe_build, index, found[1], export)

    def release(self, build: str, index: int, kept: _Kept, *, done: bool) -> None:
        """A fetch has ended."""
        with self._lock:
            kept.busy -= 1
            if done:
                kept.exports.pop(index, None)
            if not kept.exports or kept.over:
                kept.over = True
                if build in self._kept and self._kept[build][1] is kept:
                    del self._kept[build]
            close = kept.over and not kept.busy
        if close:
            kept.stack.close()

    def close(self) -> None:
        """The daemon ends: stop what runs, forget the rest."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
            announced = [each for _, each in self._announced.values()]
            self._announced.clear()
            idle = self._expire(float("inf"))
            if self._timer is not None:
                self._timer.cancel()
        for cancellation in running:
            cancellation.cancel("the daemon is stopping")
        for each in announced:
            each.close()
        for kept in idle:
            kept.stack.close()

    # Inside

    def _find(self, unsafe_build: str) -> Announced:
        found = self._announced.get(unsafe_build)
        if found is None:
            raise NotFound(f"No such build: {unsafe_build[:64]}: it was started already, or too late")
        return found[1]

    def _expire(self, now: float) -> list[_Kept]:
        """Results whose time is over and that nobody reads just now; with the lock held."""
        idle = []
        for build, (until, kept) in list(self._kept.items()):
            if until <= now:
                del self._kept[build]
                kept.over = True
                if not kept.busy:
                    idle.append(kept)
        return idle

    def _wake(self) -> None:
        """Look again when the first one's time is over; with the lock held."""
        moments = [until for until, _ in (*self._announced.values(), *self._kept.values())]
        if self._timer is not None or not moments or self._closed:
            return
        self._timer = threading.Timer(max(1.0, min(moments) - self._clock()), self._sweep)
        self._timer.daemon = True
        self._timer.start()

    def _sweep(self) -> None:
        with self._lock:
            self._timer = None
            now = self._clock()
            idle = self._expire(now)
            late = [build for build, (until, _) in self._announced.items() if until <= now]
            gone = [self._announced.pop(build)[1] for build in late]
            self._wake()
        for each in gone:
            each.close()
        for kept in idle:
            kept.stack.close()


class Fetched:
    """A result that is being fetched."""

    def __init__(self, bench: Bench, build: str, index: int, kept: _Kept, export: Export) -> None:
        self._bench = bench
        self._build = build
        self._index = index
        self._kept = kept
        self._export = export
        self._done = False

    def write(self, sink: Sink) -> None:
        """Write all of it."""
        self._export.write(sink)
        self._done = True

    def close(self) -> None:
        """Let go; what was written to its end is gone."""
        self._bench.release(self._build, self._index, self._kept, done=self._done)
