"""Volumes."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.reply import NO_CONTENT, Answer, json_reply
from carboy.formats.dockerapi.volumes import VolumeCreateRequest


async def list_volumes(call: Call) -> Answer:
    """`GET /volumes`"""
    filters = call.query.filters()
    return json_reply(await call.run(lambda: call.backends.volumes.list(filters)))


async def create(call: Call) -> Answer:
    """`POST /volumes/create`"""
    request, _ = await call.json(VolumeCreateRequest)
    return json_reply(await call.run(lambda: call.backends.volumes.create(request)), status=201)


async def inspect(call: Call) -> Answer:
    """`GET /volumes/{name}`"""
    name = call.variable("name")
    return json_reply(await call.run(lambda: call.backends.volumes.inspect(name)))


async def remove(call: Call) -> Answer:
    """`DELETE /volumes/{name}`"""
    name, force = call.variable("name"), call.query.boolean("force")
    await call.run_slow(lambda: call.backends.volumes.remove(name, force=force))
    return NO_CONTENT


async def prune(call: Call) -> Answer:
    """`POST /volumes/prune`"""
    filters = call.query.filters()
    if call.version < (1, 42) and "all" not in filters:
        filters = filters.having("all", "true")  # anonymous ones only came with 1.42
    return json_reply(await call.run_slow(lambda: call.backends.volumes.prune(filters)))
