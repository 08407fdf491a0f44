"""The solver: what runs, what does not, in which order, and how it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carboy.build.caching.cache import BuildCache
from carboy.build.graph import Context, Graph, Scratch, Vertex
from carboy.build.operation import Filesystem
from carboy.build.progress import Cancellation, Console
from carboy.build.request import BuildRequest
from carboy.build.solver import Solved, StepError
from carboy.digest import Digest
from carboy.errors import Cancelled, Internal, InvalidArgument, NotFound, Unavailable
from support.building import FakeStep, Told, Workplace, chain, image, run, target


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def test_a_chain_is_run_and_then_cached(place: Workplace) -> None:
    told = Told()
    solved = place.solve(chain("a", "false b", "c"), told=told)
    assert place.runs == ["RUN a", "RUN false b", "RUN c"]
    last = solved.values[3]
    assert isinstance(last, Filesystem)
    assert last.layers == (Digest("a" * 64), place.layer("a"), place.layer("c"))
    assert solved.layers == {0: None, 1: place.layer("a"), 2: None, 3: place.layer("c")}
    assert solved.outcomes[1].record == {"ran": "RUN a"}
    assert told.of("started") == told.of("finished") == ["FROM", "RUN a", "RUN false b", "RUN c"]
    again = place.solve(chain("a", "false b", "c"), told=(second := Told()))
    assert len(place.runs) == 3
    assert again.values == solved.values
    assert again.layers == solved.layers
    assert again.keys == solved.keys
    assert again.outcomes[1].record == {"ran": "RUN a"}
    assert again.cached == {1, 2, 3}
    assert second.of("cached") == ["RUN a", "RUN false b", "RUN c"]


def test_the_cache_outlives_the_daemon(place: Workplace) -> None:
    place.solve(chain("a"))
    place.reopen()
    assert place.solve(chain("a")).cached == {1}


def test_what_no_target_needs_is_not_run(place: Workplace) -> None:
    vertices = (*chain("a").vertices, run(2, "b", 0), run(3, "c", 1))
    place.solve(Graph(vertices=vertices, targets=(target(3),)))
    assert place.runs == ["RUN a", "RUN c"]


def test_the_same_bytes_end_the_rebuilding(place: Workplace) -> None:
    """A step whose command changed, but not its layer: what stands on it is cached."""
    place.solve(chain("false one", "b"))
    solved = place.solve(chain("false two", "b"))
    assert place.runs == ["RUN false one", "RUN b", "RUN false two"]
    assert solved.cached == {2}


def test_independent_steps_run_at_once(place: Workplace) -> None:
    together = threading.Barrier(2)
    place.action = lambda step, console: (together.wait(10), None)[1]
    vertices = (chain().vertices[0], run(1, "a", 0), run(2, "b", 0))
    place.solve(Graph(vertices=vertices, targets=(target(1), target(2))))
    assert sorted(place.runs) == ["RUN a", "RUN b"]


def test_no_more_than_the_slots_run_at_once(tmp_path: Path) -> None:
    place = Workplace(tmp_path, slots=2)
    lock = threading.Lock()
    running, most = [0], [0]

    def count(_step: FakeStep, _console: Console) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        waits.wait(40)
        with lock:
            running[0] -= 1

    class Watching(Told):
        def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None:
            super().progress(vertex, what, current, total)
            if what:
                waits.set()

    waits = threading.Event()  # nothing ends before a third one waits
    place.action = count
    vertices = (chain().vertices[0], *(run(n, f"c{n}", 0) for n in range(1, 9)))
    told = Watching()
    place.solve(Graph(vertices=vertices, targets=tuple(target(n) for n in range(1, 9))), told=told)
    assert most == [2]
    waited = told.of("progress waiting for another step to end 0 0")
    assert waited
    assert set(told.of("progress  0 0")) == set(waited)
    place.close()


def test_an_error_names_its_step_and_stops_the_others(place: Workplace) -> None:
    begun = threading.Event()

    def act(step: FakeStep, console: Console) -> None:
        if step.args == ("bad",):
            begun.wait(10)
            raise InvalidArgument("no such thing")
        begun.set()
        stopped = threading.Event()
        console.cancellation.subscribe(stopped.set)
        assert stopped.wait(10)
        console.cancellation.check()

    place.action = act
    vertices = (chain().vertices[0], run(1, "bad", 0), run(2, "long", 0), run(3, "never", 1, 2))
    told = Told()
    with pytest.raises(StepError, match="no such thing") as caught:
        place.solve(Graph(vertices=vertices, targets=(target(3),)), told=told)
    assert caught.value.vertex.line == 2
    assert caught.value.status == 400
    assert isinstance(caught.value.cause, InvalidArgument)
    assert told.errors == {"FROM": "", "RUN bad": "no such thing", "RUN long": "cancelled"}
    assert "RUN never" not in place.runs
    place.action = lambda step, console: None
    place.solve(Graph(vertices=vertices, targets=(target(3),)))


def test_errors_that_nobody_expected_have_a_category(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    def act(step: FakeStep, _console: Console) -> None:
        raise OSError(28, "No space left on device") if step.args == ("disk",) else ZeroDivisionError("oh")

    place.action = act
    with pytest.raises(StepError, match="no space left") as caught:
        place.solve(chain("disk"))
    assert isinstance(caught.value.cause, Unavailable)
    with pytest.raises(StepError, match="ZeroDivisionError: oh") as caught:
        place.solve(chain("bug"))
    assert isinstance(caught.value.cause, Internal)
    assert [record.exc_info is not None for record in caplog.records] == [True]  # the bug can be found


def test_a_context_that_is_not_there(place: Workplace) -> None:
    vertex = Vertex(index=0, operation=Context(name="data"), name="context")
    with pytest.raises(StepError, match="no context named 'data'") as caught:
        place.solve(Graph(vertices=(vertex,), targets=(target(0),)))
    assert isinstance(caught.value.cause, NotFound)


def test_scratch_is_empty(place: Workplace) -> None:
    vertices = (Vertex(index=0, operation=Scratch(), name="scratch"), run(1, "a", 0))
    solved = place.solve(Graph(vertices=vertices, targets=(target(1),)))
    assert solved.values[1] == Filesystem((place.layer("a"),))


def test_cancelling_waits_for_what_runs_and_begins_nothing(place: Workplace) -> None:
    session = place.session()
    began = threading.Event()
    ended = threading.Event()

    def act(_step: FakeStep, console: Console) -> None:
        stopped = threading.Event()
        console.cancellation.subscribe(stopped.set)
        began.set()
        assert stopped.wait(10)
        ended.set()
        raise InvalidArgument("killed")  # however the step says it

    def cancel() -> None:
        began.wait(10)
        session.cancellation.cancel("the client has gone")

    place.action = act
    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled, match="the client has gone"):
        place.solver.solve(chain("a", "b"), session)
    thread.join(10)
    assert ended.is_set()
    assert place.runs == ["RUN a"]


def test_a_build_that_is_cancelled_before_it_begins(place: Workplace) -> None:
    session = place.session()
    session.cancellation.cancel("never mind")
    with pytest.raises(Cancelled, match="never mind"):
        place.solver.solve(chain("a"), session)
    assert place.runs == []


def test_deep_graphs_do_not_recurse(place: Workplace) -> None:
    commands = [f"false {number}" for number in range(2000)]
    solved = place.solve(chain(*commands))
    assert len(place.runs) == 2000
    assert len(solved.outcomes) == 2001
    assert len(place.solve(chain(*commands)).cached) == 2000


def test_no_cache_runs_again_and_replaces(place: Workplace) -> None:
    place.solve(chain("a"))
    place.now += 5
    solved = place.solve(chain("a", ignore_cache=True))
    assert solved.cached == frozenset()
    entry = place.cache.peek(solved.outcomes[1].key)
    assert entry is not None
    assert entry.created_at == 1005


def test_what_must_not_be_cached_is_not(place: Workplace) -> None:
    for _ in range(2):
        assert place.solve(chain("uncacheable")).outcomes[1].key == ""
    assert len(place.runs) == 2
    assert place.cache.records() == []


def test_old_results_are_made_again(place: Workplace) -> None:
    place.solve(chain("a"))
    place.now += 100
    assert place.solve(chain("a"), BuildRequest(context=None, cache_ttl=200)).cached == {1}
    assert place.solve(chain("a"), BuildRequest(context=None, cache_ttl=50)).cached == frozenset()
    assert place.solve(chain("a"), BuildRequest(context=None, cache_ttl=50)).cached == {1}


class Builds:
    """Several builds at once, each in a thread."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._threads: list[threading.Thread] = []
        self.solved: dict[str, Solved] = {}
        self.errors: dict[str, BaseException] = {}

    def start(self, name: str, graph: Graph, told: Told | None = None) -> Cancellation:
        session = self._place.session(told=told)

        def build() -> None:
            try:
                self.solved[name] = self._place.solver.solve(graph, session)
            except BaseException as error:
                self.errors[name] = error

        thread = threading.Thread(target=build)
        self._threads.append(thread)
        thread.start()
        return session.cancellation

    def join(self) -> None:
        for thread in self._threads:
            thread.join(15)
            assert not thread.is_alive()


class Gate:
    """Steps stop in it; how often it was reached can be awaited."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, _step: FakeStep, console: Console) -> None:
        console.cancellation.subscribe(self.open.set)
        self.reached.release()
        assert self.open.wait(10)
        console.cancellation.check()

    def wait(self) -> None:
        assert self.reached.acquire(timeout=10)


def wait_for_waiters(place: Workplace, count: int) -> None:
    for _ in range(2000):
        with place.solver.flights._lock:
            if sum(len(some) for some in place.solver.flights._waiting.values()) == count:
                return
        threading.Event().wait(0.005)
    raise AssertionError("nobody waits")


def test_the_same_step_of_two_builds_is_done_once(place: Workplace) -> None:
    gate = place.action = Gate()
    builds = Builds(place)
    builds.start("one", chain("a"))
    gate.wait()
    builds.start("two", chain("a"), told := Told())
    wait_for_waiters(place, 1)
    gate.open.set()
    builds.join()
    assert told.of("progress waiting for the same step of another build 1 1") == ["RUN a"]
    assert place.runs == ["RUN a"]
    assert builds.solved["two"].cached == {1}
    assert builds.solved["one"].values == builds.solved["two"].values


def test_the_same_step_twice_in_one_build_is_done_once(place: Workplace) -> None:
    vertices = (chain().vertices[0], run(1, "a", 0), run(2, "a", 0))
    place.solve(Graph(vertices=vertices, targets=(target(1), target(2))), told=(told := Told()))
    assert place.runs == ["RUN a"]
    assert not any("waiting" in event for event, _ in told.events)


def test_when_the_first_is_cancelled_the_second_does_it(place: Workplace) -> None:
    gate = place.action = Gate()
    builds = Builds(place)
    first = builds.start("one", chain("a"))
    gate.wait()
    builds.start("two", chain("a"))
    builds.start("three", chain("a"))
    wait_for_waiters(place, 2)
    first.cancel("enough")
    builds.join()
    assert place.runs == ["RUN a", "RUN a"]
    assert isinstance(builds.errors["one"], Cancelled)
    assert set(builds.solved) == {"two", "three"}


def test_who_is_resumed_before_it_knows_that_it_waits(place: Workplace) -> None:
    """The other build ends between the question and what is made of its answer."""
    gate = place.action = Gate()
    builds = Builds(place)
    first = builds.start("one", chain("a"))
    gate.wait()
    take_off, resumed = place.solver.flights.take_off, threading.Event()

    def slow(key: str, pilot: object, resume: Callable[[], None] | None) -> bool:
        taken = take_off(key, pilot, resume)
        if taken:
            resumed.set()
        else:
            first.cancel("enough")
            assert resumed.wait(10)
        return taken

    place.solver.flights.take_off = slow  # type: ignore[method-assign]
    builds.start("two", chain("a"))
    builds.join()
    assert set(builds.solved) == {"two"}
    assert not place.solver.flights._waiting, "whoever comes later would wait for ever"


def test_who_waits_for_another_build_can_be_cancelled(place: Workplace) -> None:
    gate = place.action = Gate()
    builds = Builds(place)
    builds.start("one", chain("a"))
    gate.wait()
    builds_two = Builds(place)
    second = builds_two.start("two", chain("a"))
    wait_for_waiters(place, 1)
    second.cancel("enough")
    builds_two.join()
    assert isinstance(builds_two.errors["two"], Cancelled)
    gate.open.set()
    builds.join()
    assert builds.solved["one"].layers[1] == place.layer("a")


def test_a_cancelled_build_does_not_wait_for_a_slot(tmp_path: Path) -> None:
    place = Workplace(tmp_path, slots=1)
    gate = place.action = Gate()
    builds = Builds(place)
    builds.start("one", chain("a"))
    gate.wait()
    others = Builds(place)
    second = others.start("two", chain("b"))
    second.cancel("enough")
    others.join()
    gate.open.set()
    builds.join()
    assert place.runs == ["RUN a"]
    place.close()


def test_cached_steps_need_no_slot(tmp_path: Path) -> None:
    place = Workplace(tmp_path, slots=1)
    place.solve(chain("b"))
    gate = place.action = Gate()
    builds = Builds(place)
    builds.start("one", chain("a"))
    gate.wait()
    assert place.solve(chain("b")).cached == {1}
    gate.open.set()
    builds.join()
    place.close()


def test_an_entry_without_its_layer_is_a_miss(place: Workplace) -> None:
    place.solve(chain("a"))
    place.layers.remove(place.layer("a"))
    assert place.solve(chain("a")).cached == frozenset()
    assert place.solve(chain("a")).cached == {1}


def test_nothing_is_held_after_a_build(place: Workplace) -> None:
    place.solve(chain("a", "b"))
    place.solve(chain("a", "b", "c"))
    assert [place.cache.is_used(entry.key) for entry in place.cache.records()] == [False] * 3


def test_a_changed_base_is_another_key(place: Workplace) -> None:
    place.solve(chain("a"))
    assert place.solve(chain("a", base=image("b" * 64))).cached == frozenset()


def test_a_layer_that_was_put_is_a_root(place: Workplace) -> None:
    place.solve(chain("a", "false"))
    assert place.cache.roots() == [("layer", str(place.layer("a")))]
    fresh = BuildCache(place.database, place.layers)
    assert fresh.roots() == place.cache.roots()
