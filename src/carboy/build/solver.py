"""From a graph to values: what is not cached is run, independent vertices at once.

    ready ──▶ look: ingredients, key ──▶ in the cache ─────────────────────────▶ done ──▶ makes others ready
                                    └──▶ nobody makes it: take off ──▶ run ──▶ put ──▶ land ──▶ done
                                    └──▶ somebody does: wait for the landing, then look again

Looking and running are done by two crews that all builds of the daemon share; a vertex that waits, for its
inputs or for somebody else's result, holds no thread.  Nothing recurses: graphs may be deep.

The first step that fails stops its build: what runs is asked to stop and waited for, what has not begun
never does.  Its error is raised as a StepError, which knows the vertex.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from carboy.build.caching.cache import BuildCache, CacheSource, Entry, Made
from carboy.build.caching.explain import Explainer
from carboy.build.caching.history import Packed, packed
from carboy.build.crew import Crew, Ticket
from carboy.build.flights import Flights
from carboy.build.graph import Graph, Vertex
from carboy.build.operation import Filesystem, Ingredients, Step, Value
from carboy.build.progress import Console
from carboy.build.session import Session
from carboy.build.steps import given_value, is_given
from carboy.build.steps import make_step as make_real_step
from carboy.digest import Digest
from carboy.errors import CarboyError, Internal
from carboy.store.content import storage_error

StepMaker = Callable[[Vertex, Session], Step]

_log = logging.getLogger(__name__)
_LOOKERS = 8
_MEMORY_EACH = 512 << 20
"""Bytes of the machine's memory for each step that runs at once."""


class StepError(CarboyError):
    """A step of a build failed; `cause` is why, `vertex` says where in the Dockerfile it stands."""

    def __init__(self, vertex: Vertex, cause: CarboyError) -> None:
        super().__init__(str(cause))
        self.vertex = vertex
        self.cause = cause
        self.status = cause.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one vertex."""

    vertex: int
    value: Value
    key: str = ""
    """Empty: it is given, or never cached."""
    layer: Digest | None = None
    """The layer that it added."""
    cached: bool = False
    seconds: float = 0.0
    record: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Solved:
    """What all vertices that the targets need became, by index."""

    outcomes: Mapping[int, Outcome]

    @property
    def values(self) -> dict[int, Value]:
        """What each gives."""
        return {index: one.value for index, one in self.outcomes.items()}

    @property
    def layers(self) -> dict[int, Digest | None]:
        """The layer that each added."""
        return {index: one.layer for index, one in self.outcomes.items()}

    @property
    def cached(self) -> frozenset[int]:
        """Those that were taken from the cache."""
        return frozenset(index for index, one in self.outcomes.items() if one.cached)

    @property
    def keys(self) -> list[str]:
        """All keys, in the graph's order: what `--cache-to` exports."""
        return [one.key for _, one in sorted(self.outcomes.items()) if one.key]


class Solver:
    """Solves the graphs of one daemon."""

    def __init__(
        self,
        cache: BuildCache,
        *,
        make_step: StepMaker = make_real_step,
        slots: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cache = cache
        self.make_step = make_step
        self.clock = clock
        self.lookers = Crew("carboy-look", _LOOKERS)
        self.runners = Crew("carboy-step", slots or _default_slots())
        self.crews = (self.lookers, self.runners)
        self.flights = Flights()

    def solve(self, graph: Graph, session: Session, *, sources: Sequence[CacheSource] = ()) -> Solved:
        """Make everything that the graph's targets need.

        Everything that was started has ended when this returns or raises StepError or Cancelled.
        """
        solving = _Solving(self, graph, session, sources)
        try:
            return solving.solve()
        finally:
            self.cache.release(solving.held)
            self.lookers.submit(self._flush)

    def close(self) -> None:
        """Wait for the threads, after the last build has ended and before the database is closed."""
        ended = [crew.close() for crew in self.crews]
        if all(ended):
            self._flush()

    def _flush(self) -> None:
        try:
            self.cache.flush()
        except CarboyError:
            pass  # the disk is full: counters and explanations wait for the next build


def _default_slots() -> int:
    """How many steps run at once: one more than processors, fewer where memory is scarce."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min((os.cpu_count() or 1) + 1, memory // _MEMORY_EACH))


class _Work:
    """One vertex of a build on its way."""

    __slots__ = ("ingredients", "inputs", "key", "owned", "runs", "started", "step", "ticket", "vertex")

    def __init__(self, vertex: Vertex) -> None:
        self.vertex = vertex
        self.started = 0.0
        self.runs = False
        self.step: Step | None = None
        self.inputs: list[Value] = []
        self.ingredients: Ingredients | Packed | None = None
        self.key = ""
        self.owned = False
        """This build makes the key; others wait for its landing."""
        self.ticket: Ticket | None = None

    @property
    def is_queued(self) -> bool:
        """Whether there was no thread for it at once."""
        return self.ticket is not None and self.ticket.waits


class _Solving:
    """One graph being solved."""

    def __init__(
        self, solver: Solver, graph: Graph, session: Session, sources: Sequence[CacheSource]
    ) -> None:
        self._solver = solver
        self._cache = solver.cache
        self._graph = graph
        self._session = session
        self._reporter = session.reporter
        self._sources = sources
        self._origins: Collection[str] = frozenset(source.origin for source in sources)
        ttl = session.request.cache_ttl
        self._not_before = solver.clock() - ttl if ttl else 0.0
        self._explainer = Explainer(
            solver.cache, graph, session, not_before=self._not_before, origins=self._origins
        )
        needed = _needed(graph)
        self._work = {index: _Work(graph.vertices[index]) for index in needed}
        self._missing = {index: len(set(graph.vertices[index].inputs)) for index in needed}
        self._dependents: dict[int, list[int]] = {index: [] for index in needed}
        for index in needed:
            for before in set(graph.vertices[index].inputs):
                self._dependents[before].append(index)
        # Guards everything below.
        self._changed = threading.Condition()
        self._outcomes: dict[int, Outcome] = {}
        self._active = 0
        self._stopped = False
        self._error: Exception | None = None
        self.held: list[str] = []
        """Keys to be released at the end."""

    def solve(self) -> Solved:
        """Begin with what has no inputs, and wait."""
        unsubscribe = self._session.cancellation.subscribe(self._stop)
        try:
            self._begin([index for index, missing in sorted(self._missing.items()) if not missing])
            with self._changed:
                self._changed.wait_for(self._is_over)
        except BaseException:
            self._stop()
            with self._changed:
                self._changed.wait_for(lambda: not self._active)
            raise
        finally:
            unsubscribe()
        if self._error is not None or len(self._outcomes) < len(self._work):
            self._give_up()
        return Solved(self._outcomes)

    def _is_over(self) -> bool:
        return not self._active and (self._stopped or len(self._outcomes) == len(self._work))

    def _give_up(self) -> None:
        for index, work in self._work.items():
            if work.started and index not in self._outcomes and not self._is_blamed(index):
                self._reporter.finished(work.vertex, "cancelled")
        if self._error is not None:
            raise self._error
        self._session.cancellation.check()
        raise Internal("a build stopped without a reason")

    def _is_blamed(self, index: int) -> bool:
        return isinstance(self._error, StepError) and self._error.vertex.index == index

    # Beginning and ending vertices

    def _begin(self, indexes: Sequence[int]) -> None:
        for index in indexes:
            self._enter(self._work[index], self._solver.lookers, self._look)

    def _enter(self, work: _Work, crew: Crew, job: Callable[[_Work], None]) -> None:
        """Have a crew do one thing for a vertex, unless the build has been stopped."""
        with self._changed:
            stopped = self._stopped
            if not stopped:
                self._active += 1
                work.ticket = None  # the one before: the job may run before the new one is here
                work.ticket = crew.submit(lambda: self._do(work, job))
        if stopped:
            self._abandon(work)

    def _do(self, work: _Work, job: Callable[[_Work], None]) -> None:
        try:
            if self._stopped:
                self._abandon(work)
            else:
                job(work)
        except BaseException as error:
            self._fail(work, error)
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _stop(self) -> None:
        """Nothing more begins; what waits for a thread is taken back."""
        taken_back = []
        with self._changed:
            self._stopped = True
            for work in self._work.values():
                ticket = work.ticket
                if ticket is not None and any(crew.take_back(ticket) for crew in self._solver.crews):
                    work.ticket = None
                    taken_back.append(work)
                    self._active -= 1
            self._changed.notify_all()
        for work in taken_back:
            self._abandon(work)

    def _abandon(self, work: _Work) -> None:
        """Let others make what this vertex was to make.  Never under the lock: it takes those of others."""
        if work.owned:
            work.owned = False
            self._solver.flights.land(work.key)

    def _fail(self, work: _Work, error: BaseException) -> None:
        self._abandon(work)
        with self._changed:
            # What goes wrong after that is because of that.
            first = not self._stopped and not self._session.cancellation.requested
            if first:
                self._error = _as_step_error(work.vertex, error)
        if first:
            self._reporter.finished(work.vertex, str(self._error))
            self._session.cancellation.cancel(f"{work.vertex.name} failed")
        self._stop()

    def _done(self, work: _Work, outcome: Outcome) -> None:
        index = work.vertex.index
        if work.key:
            self._explainer.stand(work.vertex, work.key)
        work.step = work.ingredients = None
        work.inputs = []
        with self._changed:
            self._outcomes[index] = outcome
            ready = []
            for dependent in self._dependents[index]:
                self._missing[dependent] -= 1
                if not self._missing[dependent]:
                    ready.append(dependent)
        self._reporter.finished(work.vertex, "")
        if self._session.made is not None:
            self._session.made(index, outcome.value)
        self._begin(ready)

    # What is done for a vertex

    def _look(self, work: _Work) -> None:
        """Find its value in the cache, or see that it is made."""
        vertex = work.vertex
        work.started = self._solver.clock()
        self._reporter.started(vertex)
        if is_given(vertex.operation):
            value = given_value(vertex.operation, self._session)
            self._done(work, Outcome(vertex=vertex.index, value=value))
            return
        work.inputs = [self._outcomes[before].value for before in vertex.inputs]
        work.step = self._solver.make_step(vertex, self._session)
        work.ingredients = ingredients = work.step.ingredients(work.inputs)
        if ingredients.cacheable:
            work.key = ingredients.key()
        self._session.cancellation.check()
        entry = self._find(work)
        self._explain(work, entry)
        if entry is not None:
            self._take(work, entry)
        else:
            self._make(work)

    def _find(self, work: _Work) -> Entry | None:
        if not work.key or work.vertex.ignore_cache:
            return None
        entry = self._cache.find(work.key, not_before=self._not_before, origins=self._origins)
        if entry is None and any(source.bring(work.key) for source in self._sources):
            entry = self._cache.find(work.key, not_before=self._not_before, origins=self._origins)
        if entry is not None:
            self.held.append(work.key)
        return entry

    def _take(self, work: _Work, entry: Entry) -> None:
        if not self._cache.history.knows(work.key):
            self._remember(work)
        self._reporter.cached(work.vertex)
        base = work.inputs[0] if work.inputs else None
        self._done(
            work,
            Outcome(
                vertex=work.vertex.index,
                value=entry.value(base),
                key=work.key,
                layer=entry.layer,
                cached=True,
                seconds=self._solver.clock() - work.started,
                record=entry.record,
            ),
        )

    def _make(self, work: _Work) -> None:
        """Run it, unless somebody does already: then wait for that."""
        if work.key:
            # Who wants it fresh does not wait for what was begun before.
            resume = None if work.vertex.ignore_cache else (lambda: self._resume(work))
            if resume is not None and self._solver.flights.is_others(work.key, self):
                self._reporter.progress(work.vertex, "waiting for the same step of another build", 1, 1)
            if self._solver.flights.take_off(work.key, self, resume):
                work.owned = True
            elif resume is not None:
                return  # it may have been resumed already, and own the key by now
        if isinstance(work.ingredients, Ingredients):
            work.ingredients = packed(work.ingredients)
        self._enter(work, self._solver.runners, self._run)
        if work.is_queued:
            self._reporter.progress(work.vertex, "waiting for another step to end", 0, 0)
            if work.runs:
                self._reporter.progress(work.vertex, "", 0, 0)

    def _resume(self, work: _Work) -> None:
        self._enter(work, self._solver.lookers, self._look_again)

    def _look_again(self, work: _Work) -> None:
        entry = self._find(work)
        if entry is not None:
            self._take(work, entry)
        else:
            self._make(work)

    def _run(self, work: _Work) -> None:
        step = work.step
        if step is None:
            raise Internal(f"{work.vertex.name} was to be run before it was looked at")
        self._session.cancellation.check()
        work.runs = True
        if work.is_queued:
            self._reporter.progress(work.vertex, "", 0, 0)
        console = Console(self._reporter, work.vertex, self._session.cancellation)
        result = step.run(work.inputs, console)
        if work.key and isinstance(result.value, Filesystem):
            self._put(work, result.value, result.record)
        self._abandon(work)  # it has landed
        self._done(
            work,
            Outcome(
                vertex=work.vertex.index,
                value=result.value,
                key=work.key,
                layer=result.layer,
                seconds=self._solver.clock() - work.started,
                record=result.record,
            ),
        )

    def _put(self, work: _Work, value: Filesystem, record: Mapping[str, str]) -> None:
        vertex = work.vertex
        parents = [self._outcomes[before].key for before in vertex.inputs]
        made = Made(
            key=work.key,
            value=value,
            base=work.inputs[0] if work.inputs else None,
            operation=type(vertex.operation).__name__,
            description=vertex.name,
            parents=tuple(key for key in parents if key),
            record=record,
        )
        self._cache.put(made)
        self.held.append(work.key)
        self._remember(work)

    def _remember(self, work: _Work) -> None:
        if work.ingredients is not None:
            self._cache.remember(work.key, work.ingredients)

    def _explain(self, work: _Work, entry: Entry | None) -> None:
        if self._session.request.explain and isinstance(work.ingredients, Ingredients):
            with self._changed:
                layers = {index: one.layer for index, one in self._outcomes.items()}
            reasons = self._explainer.reasons(
                work.vertex, work.ingredients, work.key, entry=entry, layers=layers
            )
            self._reporter.explained(work.vertex, reasons)


def _needed(graph: Graph) -> list[int]:
    """The vertices that the targets need, in the graph's order."""
    waiting = [target.vertex for target in graph.targets]
    found: set[int] = set()
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(graph.vertices[index].inputs)
    return sorted(found)


def _as_step_error(vertex: Vertex, error: BaseException) -> StepError:
    if isinstance(error, CarboyError):
        cause = error
    elif isinstance(error, OSError):
        cause = storage_error(error, f"do {vertex.name}")
    else:
        _log.error("a fault in the step %s", vertex.name, exc_info=error)
        cause = Internal(f"{vertex.name}: {type(error).__name__}: {error} (the daemon's log has the details)")
    if cause is not error:
        cause.__cause__ = error
    step_error = StepError(vertex, cause)
    step_error.__cause__ = cause
    return step_error
