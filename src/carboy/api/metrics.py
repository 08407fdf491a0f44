"""What the daemon counts, in Prometheus' text format: names of Docker's where they mean the same.

Requests are counted by the dispatcher, events by a subscription that begins with the first
question, so that a daemon whose metrics nobody reads does next to nothing for them.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from carboy.api.backend import Backends
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import Event

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_ACTIONS = {
    "POST /containers/create": "create",
    "POST /containers/{id}/start": "start",
    "DELETE /containers/{id}": "delete",
    "POST /commit": "commit",
    "GET /containers/{id}/changes": "changes",
}
"""Docker's names of what it takes the time of, by route."""


class Histogram:
    """Seconds, in Prometheus' default buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The lines of this histogram."""
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self._sum:.6f}"
        yield f"{name}_count{{{labels}}} {total}"


class Metrics:
    """The counters of one daemon."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._actions = {name: Histogram() for name in _ACTIONS.values()}
        self._events = 0
        self._health: Counter[str] = Counter()
        self._subscribed = False

    def served(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request of a route has been answered; called on the loop."""
        self._requests[method, path, status] += 1
        action = _ACTIONS.get(f"{method} {path}")
        if action is not None and status < 400:
            self._actions[action].observe(seconds)

    def page(self) -> bytes:
        """All of it; called on a worker."""
        self._subscribe()
        return ("\n".join(self._lines()) + "\n").encode()

    def _subscribe(self) -> None:
        with self._lock:
            if self._subscribed:
                return
            self._subscribed = True
        self._backends.events.subscribe(None, None, Filters(), self._count)

    def _count(self, event: Event) -> None:
        self._events += 1
        if event.action.startswith("health_status"):
            self._health[event.action.partition(": ")[2]] += 1

    def _lines(self) -> Iterator[str]:
        yield from self._states()
        name = "engine_daemon_container_actions_seconds"
        yield from _head(name, "histogram", "The seconds it takes to process each container action")
        for action, histogram in self._actions.items():
            yield from histogram.lines(name, f'action="{action}"')
        yield from _counter(
            "engine_daemon_events_total", "Events since the metrics were first read", self._events
        )
        name = "carboy_health_status_changes_total"
        yield from _head(name, "counter", "Changes of health since the metrics were first read")
        for word in ("healthy", "unhealthy"):
            yield f'{name}{{status="{word}"}} {self._health[word]}'
        name = "carboy_http_requests_total"
        yield from _head(name, "counter", "Requests answered, by route and status")
        for (method, path, status), count in sorted(self._requests.items()):
            yield f'{name}{{method="{method}",path="{path}",status="{status}"}} {count}'
        yield from _process()

    def _states(self) -> Iterator[str]:
        info = self._backends.system.info()
        labels = {
            "version": info.server_version,
            "architecture": info.architecture,
            "graphdriver": info.driver,
            "kernel": info.kernel_version,
            "os": info.operating_system,
            "os_type": info.os_type,
            "daemon_id": info.id,
        }
        text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        yield from _head("engine_daemon_engine_info", "gauge", "The engine and the system it runs on")
        yield f"engine_daemon_engine_info{{{text}}} 1"
        yield from _gauge("engine_daemon_engine_cpus_cpus", "Processors of this system", info.ncpu)
        yield from _gauge(
            "engine_daemon_engine_memory_bytes", "Bytes of memory of this system", info.mem_total
        )
        name = "engine_daemon_container_states_containers"
        yield from _head(name, "gauge", "Containers in various states")
        for state, number in (
            ("running", info.containers_running),
            ("paused", info.containers_paused),
            ("stopped", info.containers_stopped),
        ):
            yield f'{name}{{state="{state}"}} {number}'
        yield from _gauge(
            "engine_daemon_events_subscribers_total", "Current subscribers to events", info.n_events_listener
        )


def _process() -> Iterable[str]:
    """What Prometheus' own client libraries tell of a process."""
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    page = os.sysconf("SC_PAGE_SIZE")
    times = os.times()
    return [
        *_counter("process_cpu_seconds_total", "Processor time of the daemon", times.user + times.system),
        *_gauge("process_resident_memory_bytes", "Resident memory of the daemon", int(pages[1]) * page),
        *_gauge("process_open_fds", "Open descriptors of the daemon", len(os.listdir("/proc/self/fd"))),
        *_gauge("process_threads", "Threads of the daemon", threading.active_count()),
    ]


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _gauge(name: str, text: str, value: float) -> tuple[str, ...]:
    return *_head(name, "gauge", text), f"{name} {value}"


def _counter(name: str, text: str, value: float) -> tuple[str, ...]:
    return *_head(name, "counter", text), f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
