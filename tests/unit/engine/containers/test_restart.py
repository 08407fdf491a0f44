"""Restart policies decided on plain documents; the schedule that carries them out."""

from __future__ import annotations

import threading
import time

import pytest

from carboy.engine.containers.document import ContainerDocument
from carboy.engine.containers.restart import (
    LONGEST_DELAY,
    Schedule,
    next_delay,
    seconds_left,
    starts_with_daemon,
    wants_restart,
)
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig, RestartPolicy
from carboy.formats.dockerapi.times import rfc3339


def ended(
    policy: str, *, code: int = 1, most: int = 0, count: int = 0, by_hand: bool = False
) -> ContainerDocument:
    return ContainerDocument(
        id="c" * 64,
        name="c",
        created_at=0,
        image_id="",
        image_reference="",
        diff_ids=[],
        config=ContainerConfig(),
        host=HostConfig(restart_policy=RestartPolicy(name=policy, maximum_retry_count=most)),
        exit_code=code,
        restart_count=count,
        stopped_by_user=by_hand,
    )


@pytest.mark.parametrize(
    ("document", "restarted", "with_daemon"),
    [
        (ended("no"), False, False),
        (ended(""), False, False),
        (ended("always", code=0), True, True),
        (ended("always", by_hand=True), False, True),
        (ended("unless-stopped", code=0), True, True),
        (ended("unless-stopped", by_hand=True), False, False),
        (ended("on-failure", code=0), False, False),
        (ended("on-failure"), True, False),
        (ended("on-failure", by_hand=True), False, False),
        (ended("on-failure", most=3, count=2), True, False),
        (ended("on-failure", most=3, count=3), False, False),
    ],
)
def test_policies(document: ContainerDocument, restarted: bool, with_daemon: bool) -> None:
    assert wants_restart(document) is restarted
    assert starts_with_daemon(document) is with_daemon


def test_delays_double_up_to_a_minute_and_begin_again_after_a_steady_run() -> None:
    delays, delay = [], 0.0
    for _ in range(12):
        delay = next_delay(delay, 1)
        delays.append(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-2:] == [LONGEST_DELAY, LONGEST_DELAY]
    assert next_delay(delay, 10) == 0.1


def test_a_delay_goes_on_over_a_restart_of_the_daemon() -> None:
    document = ended("always")
    document.restart_delay = 20.0
    document.finished_at = rfc3339(time.time_ns() - 15 * 10**9)
    assert 4.5 < seconds_left(document) <= 5
    document.finished_at = rfc3339(time.time_ns() - 3600 * 10**9)
    assert seconds_left(document) == 0
    document.finished_at = rfc3339(time.time_ns() + 3600 * 10**9)  # the clock was set back
    assert seconds_left(document) == 20.0


def test_the_schedule_does_things_in_order_of_time_and_forgets_what_is_cancelled() -> None:
    schedule = Schedule()
    done: list[str] = []
    finished = threading.Event()
    schedule.later(0.06, "last", finished.set)
    schedule.later(0.03, "b", lambda: done.append("b"))
    schedule.later(0.01, "a", lambda: done.append("a"))
    schedule.later(0.02, "cancelled", lambda: done.append("cancelled"))
    schedule.later(0.0, "fails", lambda: done.remove("nothing"))
    schedule.later(0.02, "again", lambda: done.append("old"))
    schedule.later(0.04, "again", lambda: done.append("new"))
    schedule.cancel("cancelled")
    assert finished.wait(40)
    assert done == ["a", "b", "new"]
    schedule.later(100, "never", lambda: done.append("never"))
    schedule.close()
    schedule.later(0, "closed", lambda: done.append("closed"))
    assert done == ["a", "b", "new"]
