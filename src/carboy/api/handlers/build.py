"""Builds: `POST /build` whole, and beside it what Docker's API has no words for (dockerapi/build.py)."""

from __future__ import annotations

import os
from contextlib import suppress

from carboy.api.backend import Sink, Source
from carboy.api.bodies import DescriptorSink, download, nothing, receive
from carboy.api.buildquery import read_build_query, read_prune_options
from carboy.api.call import Call
from carboy.api.handlers.archive import require_own, transfer
from carboy.api.reply import EMPTY, Answer, Reply, json_reply
from carboy.api.transfer import DescriptorSource
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.build import BuildBegun, BuildOptions


async def build(call: Call) -> Answer:
    """`POST /build`"""
    query = read_build_query(call.query)
    job = call.backends.builds.start(query)
    async with call.client_descriptor() as descriptor:
        source: Source
        if descriptor is not None:
            source, stop = DescriptorSource(descriptor, os.read), nothing
        else:
            source, stop = receive(call)

        def release() -> None:
            job.cancel()
            stop()

        def work(outbox: Sink) -> None:
            job.run(source, outbox)

        return await download(call, work, "application/json", release=release)


async def begin(call: Call) -> Answer:
    """`POST /build/begin`: a client on this machine hands its descriptors over by number."""
    options, unknown = await call.json(BuildOptions)
    if unknown:
        raise InvalidArgument(f"unknown fields of a build: {', '.join(sorted(unknown)[:5])}")
    builds = call.backends.builds
    wanted = builds.descriptors(options)
    if any(is_directory for _, is_directory in wanted):
        require_own(call)
    taken: dict[int, int] = {}
    try:
        for number, _ in wanted:
            if number not in taken:
                taken[number] = await call.take_descriptor(str(number))
        given, taken = taken, {}
        build_id = await call.run(lambda: builds.begin(options, given))
    finally:
        for descriptor in taken.values():
            with suppress(OSError):
                os.close(descriptor)
    return json_reply(BuildBegun(id=build_id))


async def put_context(call: Call) -> Answer:
    """`PUT /build/context`: the tar of a context that was announced."""
    build_id, name = call.query.text("build"), call.query.text("name")
    source, stop = receive(call)
    try:
        await transfer(call, lambda: call.backends.builds.add_context(build_id, name, source), stop)
    finally:
        stop()
    return EMPTY


async def output(call: Call) -> Answer:
    """`GET /build/output`: the tar that an output of a build became."""
    build_id, index = call.query.text("build"), call.query.integer("index") or 0
    builds = call.backends.builds
    async with call.client_descriptor() as descriptor:
        export = await call.services.workers.acquire(
            lambda: builds.output(build_id, index), lambda made: made.close()
        )
        try:
            if descriptor is None:
                return await download(call, export.write, "application/x-tar")
            sink = DescriptorSink(descriptor)
            await transfer(call, lambda: export.write(sink), nothing)
            return Reply()
        finally:
            call.services.workers.submit(export.close)


async def cancel(call: Call) -> Answer:
    """`POST /build/cancel`"""
    build_id = call.query.text("id")
    if not build_id:
        raise InvalidArgument("build ID not provided")
    await call.run(lambda: call.backends.builds.cancel(build_id))
    return EMPTY


async def prune(call: Call) -> Answer:
    """`POST /build/prune`"""
    filters, options = call.query.filters(), read_prune_options(call.query)
    return json_reply(await call.run_slow(lambda: call.backends.upkeep.prune_build_cache(filters, options)))
