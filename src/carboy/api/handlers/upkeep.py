"""Looking after containers and space: top, update, prunes."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.reply import Answer, json_reply
from carboy.formats.dockerapi.upkeep import UpdateRequest


async def top(call: Call) -> Answer:
    """`GET /containers/{id}/top`"""
    ref, arguments = call.variable("id"), call.query.text("ps_args")
    return json_reply(await call.run_slow(lambda: call.backends.upkeep.top(ref, arguments)))


async def update(call: Call) -> Answer:
    """`POST /containers/{id}/update`"""
    ref = call.variable("id")
    request, unknown = await call.json(UpdateRequest)
    request.unknown_fields = unknown
    return json_reply(await call.run_slow(lambda: call.backends.upkeep.update(ref, request)))


async def prune_containers(call: Call) -> Answer:
    """`POST /containers/prune`"""
    filters = call.query.filters()
    return json_reply(await call.run_slow(lambda: call.backends.upkeep.prune_containers(filters)))


async def prune_images(call: Call) -> Answer:
    """`POST /images/prune`"""
    filters = call.query.filters()
    return json_reply(await call.run_slow(lambda: call.backends.upkeep.prune_images(filters)))
