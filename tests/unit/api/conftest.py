"""The API over the engine in memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Client, running_api
from support.fake_backend import FakeBackend


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def _take_own(peer: socket.socket, number: int) -> int:
    """Client and server are one process here."""
    return os.dup(number)


@pytest.fixture
def client(backend: FakeBackend, tmp_path: Path) -> Iterator[Client]:
    path = str(tmp_path / "api.sock")
    with running_api(path, backend.backends, take_descriptor=_take_own):
        yield Client(path)
