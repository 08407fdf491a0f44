"""Endpoints of the Docker Engine API that Carboy does not have: a clear answer each."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.reply import Answer, json_reply
from carboy.errors import NotFound, Unavailable, Unsupported


async def not_yet(call: Call) -> Answer:
    """Part of the plan, not of this version."""
    del call
    raise Unsupported("this operation is not supported by Carboy yet")


async def never(call: Call) -> Answer:
    """Not part of the plan."""
    del call
    raise Unsupported("this operation is not supported by Carboy")


async def swarm(call: Call) -> Answer:
    """Docker's words for a node outside a swarm."""
    del call
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
        "to connect this node to swarm and try again."
    )


async def no_swarm(call: Call) -> Answer:
    """Docker's words where being any member of a swarm would do."""
    del call
    raise Unavailable("This node is not part of a swarm")


async def plugin(call: Call) -> Answer:
    """A plugin by name: there are none."""
    raise NotFound(f'plugin "{call.variable("name")[:200]}" not found')


async def plugins(call: Call) -> Answer:
    """`GET /plugins`: there are none."""
    del call
    return json_reply([])
