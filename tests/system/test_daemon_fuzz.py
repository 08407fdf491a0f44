"""A real daemon under requests made from Docker's description: no 500, no traceback, nothing left open."""

from __future__ import annotations

import pytest

from fuzz.fuzz_api import fuzz
from fuzz.fuzz_build import fuzz as fuzz_build
from support.daemon import Daemon, daemon

__all__ = ["daemon"]


@pytest.mark.needs_root
@pytest.mark.timeout(60)
def test_a_daemon_survives_its_clients(daemon: Daemon) -> None:
    assert fuzz(daemon, 5, seed=3, each=1, least=60) >= 60
    assert daemon.request("GET", "/_ping") == b"OK"


@pytest.mark.needs_root
@pytest.mark.timeout(60)
def test_a_daemon_survives_odd_builds(daemon: Daemon) -> None:
    assert fuzz_build(daemon, 5, seed=4, least=50) >= 50
    assert daemon.request("GET", "/_ping") == b"OK"
