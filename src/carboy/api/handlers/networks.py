"""Networks: the built-in ones, for reading."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.reply import Answer, json_reply


async def list_networks(call: Call) -> Answer:
    """`GET /networks`"""
    filters = call.query.filters()
    return json_reply(await call.run(lambda: call.backends.networks.list(filters)))


async def inspect(call: Call) -> Answer:
    """`GET /networks/{id}`"""
    ref = call.variable("id")
    return json_reply(await call.run(lambda: call.backends.networks.inspect(ref)))


async def prune(call: Call) -> Answer:
    """`POST /networks/prune`"""
    filters = call.query.filters()
    return json_reply(await call.run(lambda: call.backends.networks.prune(filters)))
