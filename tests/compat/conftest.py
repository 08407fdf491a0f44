"""A real daemon for real clients."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator

import pytest

from support.daemon import Daemon, daemon

__all__ = ["daemon"]


@pytest.fixture(scope="module", autouse=True)
def tidied() -> Iterator[None]:
    """What clients leave to the garbage collector goes with their tests: later it would fail any other."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """The host of a daemon of our own; CARBOY_COMPAT_HOST names another engine, to judge the tests by."""
    other = os.environ.get("CARBOY_COMPAT_HOST")
    if other:
        yield other
        return
    own: Daemon = request.getfixturevalue("daemon")
    yield own.host
    assert "Traceback" not in own.log(), own.log()
