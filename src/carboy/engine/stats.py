"""The figures of all watched containers, taken by one thread once a second.

    watch ─▶ a frame at once ─▶ a frame a second, to every watcher of the container ─▶ None: it was removed

The thread lives while somebody watches, so that an idle daemon does not wake up.  A frame's
`precpu_stats` are those of the frame before it that the same watcher was given.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from carboy.engine.statsfiles import Budget, recorded_groups
from carboy.engine.statsreader import Machine, Reader
from carboy.formats.dockerapi.stats import ContainerStats

INTERVAL = 1.0
_LEAST = 0.5
"""Seconds between the two looks of somebody who wants one frame with a difference in it."""

Deliver = Callable[[ContainerStats | None], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """A container as the sampler sees it; `pid` is 0 while nothing runs."""

    name: str
    pid: int = 0
    started_at: int = 0
    run_directory: str = ""
    own_network: bool = True
    """Whether the interfaces that its process sees are a container's, not the machine's."""


Look = Callable[[str], Subject | None]
"""What is known of a container by its id; None when it was removed."""


class _Watcher:
    """One client; `previous` is the frame that it was given last."""

    __slots__ = ("deliver", "once", "previous", "since")

    def __init__(self, deliver: Deliver, *, once: bool) -> None:
        self.deliver = deliver
        self.once = once
        self.previous: ContainerStats | None = None
        self.since = time.monotonic()


class _Watch:
    """One container that is watched, and its open files."""

    def __init__(self, container_id: str, budget: Budget) -> None:
        self.container_id = container_id
        self.watchers: dict[int, _Watcher] = {}
        self._budget = budget
        self._reader: Reader | None = None
        self._run = (0, 0)
        self._lock = threading.Lock()

    def frame(self, subject: Subject, machine: Machine) -> ContainerStats:
        """The figures now: an empty frame while nothing runs."""
        with self._lock:
            run = (subject.pid, subject.started_at)
            if run != self._run or (self._reader is None and subject.pid):
                self._reopen(subject)
            if self._reader is None:
                return ContainerStats(name=f"/{subject.name}", id=self.container_id)
            return self._reader.read(subject.name, self.container_id, machine)

    def _reopen(self, subject: Subject) -> None:
        self._close()
        self._run = (subject.pid, subject.started_at)
        groups = recorded_groups(subject.run_directory) if subject.pid else {}
        if groups:
            process = f"/proc/{subject.pid}" if subject.own_network else ""
            self._reader = Reader(groups, process, self._budget)

    def close(self) -> None:
        """Nobody watches any more."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class Sampler:
    """See the drawing above; `deliver` is called from any thread and must be quick."""

    def __init__(self, look: Look, *, interval: float = INTERVAL) -> None:
        self._look = look
        self._interval = interval
        self._condition = threading.Condition()
        self._watches: dict[str, _Watch] = {}
        self._thread: threading.Thread | None = None
        self._number = 0
        self._budget = Budget()
        self._machine = Machine(memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    @property
    def awake(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def one_shot(self, container_id: str) -> ContainerStats | None:
        """One frame now, without anything before it."""
        subject = self._look(container_id)
        if subject is None:
            return None
        self._machine.look()
        watch = _Watch(container_id, self._budget)
        try:
            return watch.frame(subject, self._machine)
        finally:
            watch.close()

    def watch(self, container_id: str, deliver: Deliver, *, once: bool = False) -> Callable[[], None]:
        """Deliver frames until the returned function is called, or (None) the container is removed.

        once: a single frame, a moment from now, with the processor time of now beside it.
        """
        watcher = _Watcher(deliver, once=once)
        with self._condition:
            watch = self._watches.get(container_id) or _Watch(container_id, self._budget)
            self._watches[container_id] = watch
            self._number += 1
            number = self._number
        self._machine.look()
        try:
            self._begin(watch, watcher)
        except BaseException:
            self._cancel(container_id, number)
            raise
        with self._condition:
            # It may have been dropped meanwhile, when its last watcher went.
            kept = self._watches.setdefault(container_id, watch)
            kept.watchers[number] = watcher
            self._wake()
        if kept is not watch:
            watch.close()
        return lambda: self._cancel(container_id, number)

    def close(self) -> None:
        """End the thread; watchers are told nothing more."""
        with self._condition:
            watches, self._watches = list(self._watches.values()), {}
            thread = self._thread
            self._condition.notify_all()
        for watch in watches:
            watch.close()
        if thread is not None:
            thread.join(5)
        self._machine.close()

    def _begin(self, watch: _Watch, watcher: _Watcher) -> None:
        subject = self._look(watch.container_id)
        if subject is None:
            return  # the thread tells
        frame = watch.frame(subject, self._machine)
        watcher.previous = frame
        if not watcher.once:
            watcher.deliver(frame)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stats", daemon=True)
            self._thread.start()

    def _cancel(self, container_id: str, number: int) -> None:
        with self._condition:
            watch = self._watches.get(container_id)
            if watch is None:
                return
            watch.watchers.pop(number, None)
            if watch.watchers:
                return
            del self._watches[container_id]
            self._condition.notify_all()
        watch.close()

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while True:
            with self._condition:
                while self._watches and (left := due - time.monotonic()) > 0:
                    self._condition.wait(left)
                if not self._watches:
                    self._thread = None
                    return
                watches = list(self._watches.values())
            self._machine.look()
            for watch in watches:
                try:
                    self._sample(watch)
                except Exception:  # one container must not end the figures of all others
                    _log.exception("stats of container %s", watch.container_id[:12])
            due = max(due + self._interval, time.monotonic())

    def _sample(self, watch: _Watch) -> None:
        subject = self._look(watch.container_id)
        frame = None if subject is None else watch.frame(subject, self._machine)
        now = time.monotonic()
        with self._condition:
            watchers = list(watch.watchers.items())
            dropped = self._watches.get(watch.container_id) is not watch
        if dropped:  # its last watcher went while it was read: what was opened again has no other end
            watch.close()
        for number, watcher in watchers:
            if watcher.once and frame is not None and now - watcher.since < min(_LEAST, self._interval / 2):
                continue
            if frame is None or watcher.once:
                self._cancel(watch.container_id, number)
            try:
                watcher.deliver(None if frame is None else _after(watcher.previous, frame))
            except RuntimeError:  # its event loop has ended
                self._cancel(watch.container_id, number)
            watcher.previous = frame


def _after(previous: ContainerStats | None, frame: ContainerStats) -> ContainerStats:
    if previous is None:
        return frame
    return replace(frame, preread=previous.read, precpu_stats=previous.cpu_stats)
