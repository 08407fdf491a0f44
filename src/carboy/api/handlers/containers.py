"""Containers: from create to remove, without their streams."""

from __future__ import annotations

from carboy.api import shown
from carboy.api.call import Call
from carboy.api.reply import EMPTY, NO_CONTENT, Answer, json_reply
from carboy.errors import InvalidArgument, NotFound, Unsupported
from carboy.formats.dockerapi.containers import CreateRequest


async def list_containers(call: Call) -> Answer:
    """`GET /containers/json`"""
    every, size = call.query.boolean("all"), call.query.boolean("size")
    limit, filters = call.query.integer("limit"), call.query.filters()
    limit = limit if limit is not None and limit > 0 else None
    found = await call.run(
        lambda: call.backends.containers.list(all=every, limit=limit, size=size, filters=filters)
    )
    return json_reply(found)


async def create(call: Call) -> Answer:
    """`POST /containers/create`"""
    request, unknown = await call.json(CreateRequest)
    request.unknown_fields = unknown
    name, platform = call.query.optional("name"), call.query.optional("platform")
    made = await call.run(lambda: call.backends.containers.create(request, name=name, platform=platform))
    return json_reply(made, status=201)


async def inspect(call: Call) -> Answer:
    """`GET /containers/{id}/json`"""
    ref, size = call.variable("id"), call.query.boolean("size")
    found = await call.run(lambda: call.backends.containers.inspect(ref, size=size))
    return shown.container(found, call.version)


async def start(call: Call) -> Answer:
    """`POST /containers/{id}/start`"""
    ref = call.variable("id")
    if call.query.text("checkpoint"):
        raise Unsupported("starting from a checkpoint is not supported by Carboy")
    body = await call.exchange.read(64 * 1024)
    if len(body) > 7:  # Docker's line: no document that says something is shorter
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated "
            "since API v1.22 and removed in v1.24"
        )
    await call.run_slow(lambda: call.backends.containers.start(ref))
    return NO_CONTENT


async def stop(call: Call) -> Answer:
    """`POST /containers/{id}/stop`"""
    ref, timeout, signal = call.variable("id"), call.query.integer("t"), call.query.optional("signal")
    await call.run_slow(lambda: call.backends.containers.stop(ref, timeout=timeout, signal=signal))
    return NO_CONTENT


async def restart(call: Call) -> Answer:
    """`POST /containers/{id}/restart`"""
    ref, timeout, signal = call.variable("id"), call.query.integer("t"), call.query.optional("signal")
    await call.run_slow(lambda: call.backends.containers.restart(ref, timeout=timeout, signal=signal))
    return NO_CONTENT


async def kill(call: Call) -> Answer:
    """`POST /containers/{id}/kill`"""
    ref, signal = call.variable("id"), call.query.optional("signal")
    try:
        await call.run_slow(lambda: call.backends.containers.kill(ref, signal=signal))
    except NotFound as error:
        raise NotFound(f"cannot kill container: {ref[:200]}: {error}") from error
    return NO_CONTENT


async def pause(call: Call) -> Answer:
    """`POST /containers/{id}/pause`"""
    ref = call.variable("id")
    await call.run_slow(lambda: call.backends.containers.pause(ref))
    return NO_CONTENT


async def unpause(call: Call) -> Answer:
    """`POST /containers/{id}/unpause`"""
    ref = call.variable("id")
    await call.run_slow(lambda: call.backends.containers.unpause(ref))
    return NO_CONTENT


async def rename(call: Call) -> Answer:
    """`POST /containers/{id}/rename`"""
    ref, name = call.variable("id"), call.query.text("name")
    await call.run_slow(lambda: call.backends.containers.rename(ref, name))
    return NO_CONTENT


async def resize(call: Call) -> Answer:
    """`POST /containers/{id}/resize`"""
    ref, rows, cols = call.variable("id"), call.query.positive("h"), call.query.positive("w")
    await call.run(lambda: call.backends.containers.resize(ref, rows=rows, cols=cols))
    return EMPTY


async def remove(call: Call) -> Answer:
    """`DELETE /containers/{id}`"""
    ref, force, volumes = call.variable("id"), call.query.boolean("force"), call.query.boolean("v")
    if call.query.boolean("link"):
        raise Unsupported("container links are not supported by Carboy: use a network's names")
    await call.run_slow(lambda: call.backends.containers.remove(ref, force=force, volumes=volumes))
    return NO_CONTENT
