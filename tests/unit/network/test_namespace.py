"""The thread that makes sockets elsewhere, when it cannot begin."""

from __future__ import annotations

import os
from typing import Any

import pytest

from carboy.network.namespace import NamespaceThread


@pytest.mark.timeout(20)
def test_a_thread_that_cannot_begin_fails_its_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    thread, asked = NamespaceThread(), []

    def full(path: str, *more: Any, **named: Any) -> int:
        if path == "/proc/thread-self/ns/net":
            asked.append(path)
            raise OSError(24, "Too many open files")
        return os_open(path, *more, **named)

    os_open = os.open
    monkeypatch.setattr(os, "open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="try again"):
            thread.open_socket(-1, 0)
    assert len(asked) == 2, "each time by a new thread"
