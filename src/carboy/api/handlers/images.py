"""Images: listings, tags, removal, and their way in and out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from msgspec import UNSET

from carboy.api import shown
from carboy.api.backend import Sink, Source
from carboy.api.bodies import DescriptorSink, download, nothing, receive
from carboy.api.call import Call
from carboy.api.reply import CREATED, EMPTY, Answer, json_reply
from carboy.api.transfer import DescriptorSource
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.formats.dockerapi.images import IdResponse
from carboy.formats.dockerapi.progress import ProgressMessage, line


async def list_images(call: Call) -> Answer:
    """`GET /images/json`"""
    every, digests = call.query.boolean("all"), call.query.boolean("digests")
    filters = call.query.filters()
    found = await call.run(lambda: call.backends.images.list(all=every, digests=digests, filters=filters))
    if call.version >= (1, 44):
        for image in found:
            image.virtual_size = UNSET
    return json_reply(found)


async def inspect(call: Call) -> Answer:
    """`GET /images/{name}/json`"""
    ref = call.variable("name")
    found = await call.run(lambda: call.backends.images.inspect(ref))
    return shown.image(found, call.version)


async def history(call: Call) -> Answer:
    """`GET /images/{name}/history`"""
    ref = call.variable("name")
    return json_reply(await call.run(lambda: call.backends.images.history(ref)))


async def tag(call: Call) -> Answer:
    """`POST /images/{name}/tag`"""
    ref = call.variable("name")
    repository, name = _name(call.query.text("repo"), call.query.text("tag"))
    await call.run(lambda: call.backends.images.tag(ref, repository=repository, tag=name))
    return CREATED


async def remove(call: Call) -> Answer:
    """`DELETE /images/{name}`"""
    ref, force = call.variable("name"), call.query.boolean("force")
    prune = not call.query.boolean("noprune")
    gone = await call.run_slow(lambda: call.backends.images.remove(ref, force=force, prune_parents=prune))
    return json_reply(gone)


async def commit(call: Call) -> Answer:
    """`POST /commit`"""
    query = call.query
    container = query.text("container")
    if not container:
        raise InvalidArgument('invalid name or ID supplied: ""')
    repository, name = _name(query.text("repo"), query.text("tag"))
    config, _ = await call.json(ContainerConfig, required=False)
    given = config if config != ContainerConfig() else None
    image_id = await call.run_slow(
        lambda: call.backends.images.commit(
            container,
            repository=repository,
            tag=name,
            author=query.text("author"),
            comment=query.text("comment"),
            changes=query.all("changes"),
            pause=query.boolean("pause", default=True),
            config=given,
        )
    )
    return json_reply(IdResponse(id=image_id), status=201)


async def create(call: Call) -> Answer:
    """`POST /images/create`: import (`fromSrc=-`); pulling comes later."""
    query = call.query
    if query.text("fromImage"):
        raise Unsupported("pulling from a registry is not supported by Carboy yet: use `load` or `import`")
    origin = query.text("fromSrc")
    if origin != "-":
        raise Unsupported("importing from a URL is not supported by Carboy: send the archive (fromSrc=-)")
    repository, name = _name(query.text("repo"), query.text("tag"))

    def work(source: Source) -> Iterable[ProgressMessage]:
        image_id = call.backends.images.import_(
            source,
            repository=repository,
            tag=name,
            message=query.text("message"),
            changes=query.all("changes"),
            platform=query.optional("platform"),
        )
        return [ProgressMessage(status=image_id)]

    return await _upload(call, work)


async def load(call: Call) -> Answer:
    """`POST /images/load`"""
    if not call.query.boolean("quiet"):
        return await _upload(call, call.backends.images.load)

    def quietly(source: Source) -> Iterable[ProgressMessage]:
        return (one for one in call.backends.images.load(source) if one.stream is not UNSET)

    return await _upload(call, quietly)


async def save(call: Call) -> Answer:
    """`GET /images/{name}/get` and `GET /images/get?names=…`"""
    names = [call.variable("name")] if "name" in call.variables else _names(call)
    async with call.client_descriptor() as descriptor:
        if descriptor is not None:
            sink = DescriptorSink(descriptor)
            await call.run_slow(lambda: call.backends.images.save(names, sink))
            return EMPTY
        return await download(
            call, lambda outbox: call.backends.images.save(names, outbox), "application/x-tar"
        )


def _names(call: Call) -> list[str]:
    names = [name for value in call.query.all("names") for name in value.split(",") if name]
    if not names:
        raise InvalidArgument("no image was named: add names=…")
    return names


def _name(unsafe_repository: str, unsafe_tag: str) -> tuple[str, str]:
    """`repo=name:tag` means the same as `repo=name&tag=tag`."""
    head, colon, tail = unsafe_repository.rpartition(":")
    if colon and not unsafe_tag and "/" not in tail and "@" not in unsafe_repository:
        return head, tail
    return unsafe_repository, unsafe_tag


async def _upload(call: Call, work: Callable[[Source], Iterable[ProgressMessage]]) -> Answer:
    """Give the engine what the client sends, and the client what the engine reports."""
    async with call.client_descriptor() as descriptor:
        if descriptor is not None:
            return await _report(call, work, DescriptorSource(descriptor, os.read), nothing)
        source, stop = receive(call)
        return await _report(call, work, source, stop)


async def _report(
    call: Call,
    work: Callable[[Source], Iterable[ProgressMessage]],
    source: Source,
    release: Callable[[], None],
) -> Answer:
    def write(outbox: Sink) -> None:
        for message in work(source):
            outbox.write(line(message))

    return await download(call, write, "application/json", release=release, messages=True)
