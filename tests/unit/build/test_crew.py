"""Crews: how many threads, in which order, and what is taken back."""

from __future__ import annotations

import threading

import pytest

from carboy.build.crew import Crew


def test_jobs_are_done_in_their_order() -> None:
    crew, done = Crew("test", 1), []
    for number in range(100):
        crew.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    crew.close()
    assert done == list(range(100))


def test_no_more_threads_than_its_size() -> None:
    crew, names = Crew("test-crew", 3), set()
    together = threading.Barrier(3)

    def job() -> None:
        names.add(threading.current_thread().ident)
        together.wait(10)

    for _ in range(9):
        crew.submit(job)
    crew.close()
    assert len(names) == 3


def test_a_ticket_knows_whether_it_has_to_wait() -> None:
    crew = Crew("test", 1)
    began, go, done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        go.wait(10)

    tickets = [crew.submit(first)]
    assert began.wait(10)
    tickets.append(crew.submit(done.set))
    go.set()
    assert done.wait(10)
    crew.close()
    assert [ticket.waits for ticket in tickets] == [False, True]


def test_what_has_not_begun_can_be_taken_back() -> None:
    crew = Crew("test", 1)
    began, go = threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        began.set()
        go.wait(10)

    running = crew.submit(first)
    assert began.wait(10)
    waiting = crew.submit(lambda: done.append("never"))
    assert crew.take_back(waiting)
    assert not crew.take_back(waiting)
    assert not crew.take_back(running)
    go.set()
    crew.close()
    assert done == []


def test_nothing_is_left_of_a_closed_crew() -> None:
    crew = Crew("test-closed", 4)
    for _ in range(4):
        crew.submit(lambda: None)
    crew.close()
    for thread in threading.enumerate():
        if thread.name == "test-closed":
            thread.join(10)
            assert not thread.is_alive()


def test_jobs_may_submit_jobs() -> None:
    crew, left = Crew("test", 2), [500]
    over = threading.Event()

    def job() -> None:
        left[0] -= 1
        if left[0]:
            crew.submit(job)
        else:
            over.set()

    crew.submit(job)
    assert over.wait(10)
    crew.close()


def test_a_bug_in_a_job_is_not_the_crews_end(caplog: pytest.LogCaptureFixture) -> None:
    crew, done = Crew("test", 1), threading.Event()

    def bug() -> None:
        raise ZeroDivisionError

    crew.submit(bug)
    crew.submit(done.set)
    assert crew.close()
    assert done.is_set()
    assert "ZeroDivisionError" in caplog.text


def test_closing_has_an_end() -> None:
    crew, go = Crew("test", 1), threading.Event()

    def busy() -> None:
        go.wait(10)

    crew.submit(busy)
    assert not crew.close(0.05)
    go.set()
    assert crew.close()
