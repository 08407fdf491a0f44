"""What needs a registry or BuildKit's protocol, which are not here yet: checked, then a clear answer."""

from __future__ import annotations

import os

from carboy.api.call import Call
from carboy.api.reply import Answer, Hijack
from carboy.errors import InvalidArgument, Unsupported
from carboy.formats.dockerapi.system import AuthConfig
from carboy.formats.reference import parse


async def auth(call: Call) -> Answer:
    """`POST /auth`: no registry is asked, and nothing of the request is kept or logged."""
    config, _ = await call.json(AuthConfig)
    server = config.server_address or "https://index.docker.io/v1/"
    raise Unsupported(
        f"login attempt to {server[:200]} failed: registries are not supported by Carboy yet; "
        "images come by `load` and `import`"
    )


async def distribution(call: Call) -> Answer:
    """`GET /distribution/{name}/json`"""
    name = call.variable("name")
    parse(name)
    raise Unsupported(
        f"the registry of {name[:200]} was not asked: registries are not supported by Carboy yet"
    )


async def search(call: Call) -> Answer:
    """`GET /images/search`"""
    limit = call.query.integer("limit")
    if limit is not None and not 0 <= limit <= 100:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, 100]")
    if not call.query.text("term"):
        raise InvalidArgument("the search term is missing")
    raise Unsupported("no registry was searched: registries are not supported by Carboy yet")


async def session(call: Call) -> Answer:
    """`POST /session`: BuildKit's side channel.

    Docker's client shows a number when its session is refused, and the reason when its build is: so the
    session is granted, and ends at once.
    """
    if call.exchange.header("Upgrade").lower() == "h2c":
        return Hijack(_Ended(), multiplexed=False)
    return await grpc(call)


async def grpc(call: Call) -> Answer:
    """`POST /grpc`: BuildKit itself."""
    del call
    raise Unsupported(
        "BuildKit's session protocol is not supported by Carboy yet: set DOCKER_BUILDKIT=0,"
        " or use `carboy build`"
    )


class _Ended:
    """A stream that is over."""

    tty = True

    def hand_over(self, client: int, initial: bytes) -> None:
        del initial
        os.close(client)

    def abandon(self) -> None:
        """There is nothing to undo."""
