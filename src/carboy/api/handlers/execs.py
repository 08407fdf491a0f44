"""Exec: further programs in running containers."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.handlers.streams import abandon
from carboy.api.reply import EMPTY, Answer, Hijack, json_reply
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.execs import ExecConfig, ExecStart
from carboy.formats.dockerapi.images import IdResponse


async def create(call: Call) -> Answer:
    """`POST /containers/{id}/exec`"""
    ref = call.variable("id")
    config, _ = await call.json(ExecConfig)
    if not config.cmd:
        raise InvalidArgument("No exec command specified")
    if call.version < (1, 42):
        config.console_size = None
    exec_id = await call.run(lambda: call.backends.execs.create(ref, config))
    return json_reply(IdResponse(id=exec_id), status=201)


async def start(call: Call) -> Answer:
    """`POST /exec/{id}/start`"""
    exec_id = call.variable("id")
    options, _ = await call.json(ExecStart, required=False)
    # Docker: no size without a terminal, nor before API 1.42.
    size = _console_size(options.console_size) if options.tty and call.version >= (1, 42) else None
    handover = await call.services.workers.acquire(
        lambda: call.backends.execs.start(exec_id, tty=options.tty, detach=options.detach, console_size=size),
        abandon,
    )
    if handover is None:
        return EMPTY
    return Hijack(handover, multiplexed=not handover.tty)


def _console_size(size: list[int] | None) -> tuple[int, int] | None:
    if not size or size == [0, 0]:
        return None
    if len(size) != 2 or not all(0 <= one <= 0xFFFF for one in size):
        raise InvalidArgument("invalid ConsoleSize: expected [rows, columns]")
    return size[0], size[1]


async def inspect(call: Call) -> Answer:
    """`GET /exec/{id}/json`"""
    exec_id = call.variable("id")
    return json_reply(await call.run(lambda: call.backends.execs.inspect(exec_id)))


async def resize(call: Call) -> Answer:
    """`POST /exec/{id}/resize`"""
    exec_id, rows, cols = call.variable("id"), call.query.positive("h"), call.query.positive("w")
    await call.run(lambda: call.backends.execs.resize(exec_id, rows=rows, cols=cols))
    return EMPTY
