"""What waits between the requests of one build."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress

import pytest

from carboy.build.progress import Cancellation
from carboy.engine.building.bench import PATIENCE, Announced, Bench
from carboy.errors import Conflict, InvalidArgument, NotFound, Unavailable
from carboy.formats.dockerapi.build import BuildContext, BuildOptions
from carboy.store.archiveout import Sink


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Export:
    def __init__(self) -> None:
        self.written = 0
        self.closed = 0

    def write(self, sink: Sink) -> None:
        sink.write(b"x")
        self.written += 1

    def close(self) -> None:
        self.closed += 1


class Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes | memoryview, /) -> None:
        self.data += data

    def fileno(self) -> int | None:
        return None


def descriptor() -> int:
    return os.open("/dev/null", os.O_RDONLY)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_what_waits_is_bounded() -> None:
    """Clients may announce, and never come back."""
    bench = Bench()
    secrets = BuildOptions(secrets={"a": bytes(3 << 20)})
    builds = [bench.announce(Announced(secrets)) for _ in range(3)]
    with pytest.raises(Unavailable):
        bench.announce(Announced(secrets))
    many = {number: descriptor() for number in range(200)}
    numbers = list(many.values())
    few = Announced(BuildOptions(), many)
    bench.take(builds[0]).close()
    bench.announce(few)
    for _ in range(2):
        with suppress(Unavailable):
            bench.announce(Announced(BuildOptions(), many))
    with pytest.raises(Unavailable):
        bench.announce(Announced(BuildOptions(), many))
    bench.close()
    assert not any(map(is_open, numbers))


def test_a_build_is_taken_once() -> None:
    bench = Bench()
    number = descriptor()
    build = bench.announce(Announced(BuildOptions(), {3: number}))
    found = bench.take(build)
    with pytest.raises(NotFound):
        bench.take(build)
    assert is_open(number)
    found.close()
    assert not is_open(number)
    bench.close()


def test_only_awaited_contexts_are_taken() -> None:
    bench = Bench()
    options = BuildOptions(contexts={"a": BuildContext(kind="archive"), "b": BuildContext(kind="remote")})
    build = bench.announce(Announced(options))
    bench.check(build, "a")
    bench.check(build, "")
    for name in ("b", "c"):
        with pytest.raises(InvalidArgument):
            bench.check(build, name)
    first, second = descriptor(), descriptor()
    bench.add_context(build, "a", first)
    with pytest.raises(Conflict):
        bench.add_context(build, "a", second)
    assert not is_open(second)
    bench.close()
    assert not is_open(first)


def test_what_nobody_fetches_goes_after_a_while() -> None:
    clock = Clock()
    bench = Bench(clock=clock)
    export, stack = Export(), ExitStack()
    gone: list[int] = []
    stack.callback(gone.append, 1)
    stack.callback(export.close)
    bench.keep("b", {0: export}, stack)
    number = descriptor()
    late = bench.announce(Announced(BuildOptions(), {1: number}))
    clock.now = PATIENCE + 1
    bench._sweep()
    assert gone == [1]
    assert export.closed == 1
    assert not is_open(number)
    for call in (lambda: bench.fetch("b", 0), lambda: bench.take(late)):
        with pytest.raises(NotFound):
            call()
    bench.close()


def test_a_result_being_read_outlives_its_time() -> None:
    clock = Clock()
    bench = Bench(clock=clock)
    export, stack = Export(), ExitStack()
    stack.callback(export.close)
    bench.keep("b", {0: export}, stack)
    fetched = bench.fetch("b", 0)
    clock.now = PATIENCE + 1
    bench._sweep()
    before = export.closed
    sink = Kept()
    fetched.write(sink)
    fetched.close()
    assert (before, export.closed) == (0, 1)
    assert sink.data == b"x"
    bench.close()


def test_each_result_is_there_until_it_was_written() -> None:
    bench = Bench()
    one, two, stack = Export(), Export(), ExitStack()
    gone: list[int] = []
    stack.callback(gone.append, 1)
    bench.keep("b", {0: one, 1: two}, stack)
    bench.fetch("b", 0).close()  # the client went before it had it
    for index in (0, 1):
        assert not gone
        fetched = bench.fetch("b", index)
        fetched.write(Kept())
        fetched.close()
    assert gone == [1]
    with pytest.raises(NotFound):
        bench.fetch("b", 0)
    bench.close()


def test_a_name_that_is_used_again_lets_go_of_the_older_results() -> None:
    bench = Bench()
    one, two = Export(), Export()
    for export in (one, two):
        stack = ExitStack()
        stack.callback(export.close)
        bench.keep("b", {0: export}, stack)
    assert (one.closed, two.closed) == (1, 0)
    bench.close()
    assert two.closed == 1


def test_running_builds_have_names_of_their_own() -> None:
    bench = Bench()
    cancellation = Cancellation()
    bench.run("b", cancellation)
    with pytest.raises(Conflict):
        bench.run("b", Cancellation())
    assert bench.cancel("b")
    assert cancellation.requested
    bench.ended("b")
    assert not bench.cancel("b")
    other = Cancellation()
    bench.run("c", other)
    bench.close()
    assert other.requested
