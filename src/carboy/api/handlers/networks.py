"""Networks: the built-in ones, for reading."""

from __future__ import annotations

from carboy.api.call import Call
from carboy.api.reply import Answer, json_reply
from carboy.errors import InvalidArgument, NotFound, PermissionDenied, Unsupported
from carboy.formats.dockerapi.networks import NetworkCreateRequest

PREDEFINED = ("bridge", "host", "none", "default")


async def list_networks(call: Call) -> Answer:
    """`GET /networks`"""
    filters = call.query.filters()
    found = await call.run(lambda: call.backends.networks.list(filters))
    if call.version >= (1, 28):
        for network in found:
            network.containers = {}  # inspect tells of them
    return json_reply(found)


async def inspect(call: Call) -> Answer:
    """`GET /networks/{id}`"""
    ref, scope = call.variable("id"), call.query.text("scope")
    verbose = call.query.text("verbose")
    if verbose and verbose.lower() not in ("0", "1", "t", "f", "true", "false"):
        raise InvalidArgument(f"invalid value for verbose: {verbose[:80]}")
    found = await call.run(lambda: call.backends.networks.inspect(ref))
    if scope not in ("", found.scope):
        raise NotFound(f"network {ref[:80]} not found")
    return json_reply(found)


async def create(call: Call) -> Answer:
    """`POST /networks/create`: networks of one's own come later."""
    request, _ = await call.json(NetworkCreateRequest)
    if not request.name.strip():
        raise InvalidArgument("invalid name: name is empty")
    if request.name in PREDEFINED:
        raise PermissionDenied(f"operation is not permitted on predefined {request.name} network")
    raise Unsupported("networks of one's own are not supported by Carboy yet")


async def remove(call: Call) -> Answer:
    """`DELETE /networks/{id}`: the built-in ones stay."""
    ref = call.variable("id")
    found = await call.run(lambda: call.backends.networks.inspect(ref))
    raise PermissionDenied(f"{found.name} is a pre-defined network and cannot be removed")


async def connect(call: Call) -> Answer:
    """`POST /networks/{id}/connect` and `…/disconnect`: a container keeps the network it was made with."""
    ref = call.variable("id")
    await call.run(lambda: call.backends.networks.inspect(ref))
    raise Unsupported("connecting running containers to networks is not supported by Carboy yet")


async def prune(call: Call) -> Answer:
    """`POST /networks/prune`"""
    filters = call.query.filters()
    return json_reply(await call.run(lambda: call.backends.networks.prune(filters)))
