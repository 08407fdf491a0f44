"""The table of transitions."""

from __future__ import annotations

import pytest

from carboy.engine.containers.states import TRANSITIONS, State, check_transition
from carboy.errors import Conflict


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)


def test_a_running_container_cannot_be_removed_or_started() -> None:
    for after in (State.REMOVING, State.STARTING, State.CREATED):
        with pytest.raises(Conflict, match="is running and cannot become"):
            check_transition(State.RUNNING, after, name="x")


def test_legal_ones_are_given_back() -> None:
    assert check_transition(State.CREATED, State.STARTING, name="x") is State.STARTING
