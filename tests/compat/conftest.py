"""A real daemon for real clients."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.daemon import Daemon, daemon

__all__ = ["daemon"]


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
