"""The states of a container and the one table of legal transitions.

    created ◀──▶ starting ──▶ running ◀──▶ paused
                  ▲   ▲          │            │
                  │   ▼          ├────────────┘
                  │ exited ◀─────┤
                  │   ▲          │
                  │   ▼          │
                 restarting ◀────┘

    created, exited, restarting ──▶ removing ◀──▶ dead

A start that fails ends in `created` when it began there, else in `exited`.  A removal that fails
ends in `dead`; one that succeeds leaves no container.  All but `starting` are Docker's words:
while it starts, clients see the state before (`Container.shown`).
"""

from __future__ import annotations

from enum import StrEnum

from carboy.errors import Conflict


class State(StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.STARTING, State.REMOVING}),
    State.STARTING: frozenset({State.RUNNING, State.CREATED, State.EXITED}),
    State.RUNNING: frozenset({State.PAUSED, State.EXITED, State.RESTARTING}),
    State.PAUSED: frozenset({State.RUNNING, State.EXITED, State.RESTARTING}),
    State.RESTARTING: frozenset({State.STARTING, State.EXITED, State.REMOVING}),
    State.EXITED: frozenset({State.STARTING, State.REMOVING, State.RESTARTING}),
    State.REMOVING: frozenset({State.DEAD}),
    State.DEAD: frozenset({State.REMOVING}),
}

ALIVE = frozenset({State.RUNNING, State.PAUSED})
"""The states with a process."""


def check_transition(before: State, after: State, *, name: str) -> State:
    """Give `after`; raises Conflict if the table forbids it."""
    if after not in TRANSITIONS[before]:
        raise Conflict(f"container {name} is {before.value} and cannot become {after.value}")
    return after
