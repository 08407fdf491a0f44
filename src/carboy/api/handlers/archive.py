"""Files into and out of containers, what they have changed, and all of their filesystem."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from carboy.api.backend import FilesArchive, Source
from carboy.api.bodies import DescriptorSink, download, receive, settled
from carboy.api.call import Call
from carboy.api.reply import EMPTY, Answer, Reply, json_reply
from carboy.api.transfer import DescriptorSource
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.archives import stat_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STAT = "X-Docker-Container-Path-Stat"
TAR = "application/x-tar"


async def stat(call: Call) -> Answer:
    """`HEAD /containers/{id}/archive`"""
    ref, path = call.variable("id"), _path(call)
    found = await call.run(lambda: call.backends.files.stat(ref, path))
    return Reply(headers=((STAT, stat_header(found)),))


async def get(call: Call) -> Answer:
    """`GET /containers/{id}/archive`"""
    ref, path = call.variable("id"), _path(call)
    return await _send(call, lambda: call.backends.files.archive(ref, path))


async def export(call: Call) -> Answer:
    """`GET /containers/{id}/export`"""
    ref = call.variable("id")
    return await _send(call, lambda: call.backends.files.export(ref))


async def changes(call: Call) -> Answer:
    """`GET /containers/{id}/changes`"""
    ref = call.variable("id")
    return json_reply(await call.run_slow(lambda: call.backends.files.changes(ref)))


async def put(call: Call) -> Answer:
    """`PUT /containers/{id}/archive`; a client on this machine may name a descriptor of its own.

    With `name`, that is a file or directory to be copied under this name (".": what is in it);
    else it is a tar.
    """
    ref, path = call.variable("id"), _path(call)
    keep_kinds, copy_owner = call.query.boolean("noOverwriteDirNonDir"), call.query.boolean("copyUIDGID")
    files = call.backends.files

    def extract(source: Source) -> None:
        files.extract(ref, path, source, keep_kinds=keep_kinds, copy_owner=copy_owner)

    async with call.client_descriptor() as descriptor:
        if descriptor is None:
            source, stop = receive(call)
            try:
                await transfer(call, lambda: extract(source), stop)
            finally:
                stop()
            return EMPTY
        given = descriptor
        name = call.query.optional("name")
        if name is None:
            await transfer(call, lambda: extract(DescriptorSource(given, os.read)), _no_stop)
            return EMPTY
        if "/" in name or "\0" in name or name == "..":
            raise InvalidArgument(f"invalid name: {name[:80]!r} is not the name of a file")
        require_own(call)
        await transfer(
            call,
            lambda: files.copy_in(ref, path, given, name, keep_kinds=keep_kinds, copy_owner=copy_owner),
            _no_stop,
        )
        return EMPTY


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    return path


def require_own(call: Call) -> None:
    """The daemon reads what lies below the client's directory: only for who may read it all anyway."""
    peer = call.exchange.peer()
    if peer is None:
        raise Unsupported("X-Carboy-Descriptor works over a unix socket of this machine only")
    with peer:
        _pid, uid, _gid = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise Unsupported("only the daemon's own user may hand over a directory: send a tar")


@asynccontextmanager
async def _opened(call: Call, make: Callable[[], FilesArchive]) -> AsyncIterator[FilesArchive]:
    archive = await call.services.workers.acquire(make, lambda made: made.close(), slow=True)
    try:
        yield archive
    finally:
        call.services.workers.submit(archive.close)


async def _send(call: Call, make: Callable[[], FilesArchive]) -> Answer:
    async with call.client_descriptor() as descriptor, _opened(call, make) as archive:
        headers = () if archive.stat is None else ((STAT, stat_header(archive.stat)),)
        if descriptor is not None:
            sink = DescriptorSink(descriptor)
            await transfer(call, lambda: archive.write(sink), _no_stop)
            return Reply(headers=headers)
        kind = "application/octet-stream" if archive.stat is None else TAR  # an export: as Docker
        return await download(call, archive.write, kind, headers=headers)


async def transfer(call: Call, work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run `work` at the client's pace; it has ended when this returns, whatever the client does."""
    running = asyncio.ensure_future(call.services.workers.transfer(work))
    try:
        await asyncio.shield(running)
    finally:
        if not running.done():
            stop()
        await settled(running)


def _no_stop() -> None:
    """Nothing waits for the client."""
