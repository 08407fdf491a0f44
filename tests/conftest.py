"""For the whole suite: what the tests leave on the machine is a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.machine import VARIABLE, left_since, ours

# How fast examples are made and tried says something of the machine, and nothing of the code.
settings.register_profile("carboy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("carboy")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Compare before and after, unless whoever set the variable does that for several of us."""
    if VARIABLE in os.environ:
        yield
        return
    os.environ[VARIABLE] = os.urandom(8).hex()
    before = ours()
    yield
    if os.geteuid() == 0:
        left = left_since(before)
        assert not left, f"the tests have left on the machine: {left}"
