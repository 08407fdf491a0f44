"""Cancellation: callbacks are called once, and never after their subscription has ended."""

from __future__ import annotations

import threading
import time

from carboy.build.progress import Cancellation


def test_a_subscription_that_has_ended_is_not_called() -> None:
    cancellation, called = Cancellation(), threading.Event()
    cancellation.subscribe(called.set)()
    cancellation.cancel("x")
    assert not called.is_set()


def test_the_end_of_a_subscription_waits_for_its_call() -> None:
    """What the callback uses is closed right after."""
    cancellation = Cancellation()
    begun, done = threading.Event(), threading.Event()

    def callback() -> None:
        begun.set()
        time.sleep(0.2)
        done.set()

    end = cancellation.subscribe(callback)
    thread = threading.Thread(target=cancellation.cancel, args=("x",))
    thread.start()
    assert begun.wait(10)
    end()
    assert done.is_set()
    thread.join()


def test_a_callback_may_end_its_own_subscription() -> None:
    cancellation, called = Cancellation(), []

    def callback() -> None:
        called.append(1)
        end()

    end = cancellation.subscribe(callback)
    cancellation.cancel("x")
    assert called == [1]


def test_who_subscribes_while_it_is_called_waits_for_nobody() -> None:
    """The one who subscribes may hold the lock that the callback takes."""
    cancellation, lock, calls = Cancellation(), threading.Lock(), []
    entered = threading.Event()

    def callback() -> None:
        entered.set()
        with lock:
            calls.append(1)

    thread = threading.Thread(target=cancellation.cancel, args=("x",))
    with lock:
        cancellation.subscribe(callback)
        thread.start()
        assert entered.wait(10)
        cancellation.subscribe(lambda: None)
    thread.join(10)
    assert not thread.is_alive()
    assert calls == [1]
