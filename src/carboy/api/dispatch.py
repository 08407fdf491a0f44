"""From a request line to an answer: version, route, handler, error; the same for both servers."""

from __future__ import annotations

import asyncio

from carboy.api import versions
from carboy.api.call import Call, Exchange, Services
from carboy.api.failure import reply_to
from carboy.api.query import Query
from carboy.api.reply import Answer
from carboy.api.routes import Handler, Router
from carboy.errors import NotFound


class Dispatcher:
    """Answers requests; raises nothing but cancellation, lost connections."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._router = Router()
        facts = services.backends.system.ping()
        self.headers: dict[str, str] = {
            "Api-Version": versions.text(versions.MAXIMUM),
            "Docker-Experimental": "true" if facts.experimental else "false",
            "Ostype": facts.os_type,
            "Server": facts.server,
        }

    async def answer(self, method: str, unsafe_target: str, exchange: Exchange) -> Answer:
        """The answer to one request; an error is a reply like any other."""
        try:
            call, handler = self._route(method, unsafe_target, exchange)
            return await handler(call)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            return reply_to(error)

    def _route(self, method: str, unsafe_target: str, exchange: Exchange) -> tuple[Call, Handler]:
        path, _, query = unsafe_target.partition("?")
        version, bare = versions.split(path)
        found = self._router.find(method, bare)
        if found is None or version < found[0].since:
            raise NotFound("page not found")
        route, variables = found
        return Call(self.services, exchange, version, variables, Query.parse(query)), route.handler
