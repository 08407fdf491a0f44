"""Network namespaces for tests, without processes: a thread makes one, a descriptor keeps it alive.

Which namespace a thread is in concerns that thread alone, so a throwaway thread can enter one, do
something there and end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from carboy.linux import namespaces

T = TypeVar("T")


def _in_a_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


class Netns:
    """A network namespace that lives as long as its descriptor (or something in it)."""

    def __init__(self) -> None:
        self.fd = _in_a_thread(self._make)

    @staticmethod
    def _make() -> int:
        namespaces.unshare(namespaces.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, work: Callable[[], T]) -> T:
        """Do something in a thread that is in the namespace."""

        def inside() -> T:
            namespaces.setns(self.fd, namespaces.CLONE_NEWNET)
            return work()

        return _in_a_thread(inside)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def __enter__(self) -> Netns:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
