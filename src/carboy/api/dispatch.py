"""From a request line to an answer: version, route, handler, error; the same for both servers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from carboy.api import versions
from carboy.api.call import Call, Exchange, Services
from carboy.api.failure import reply_to
from carboy.api.query import Query
from carboy.api.reply import EMPTY, Answer, Reply
from carboy.api.routes import Route, Router
from carboy.errors import NotFound

_log = logging.getLogger(__name__)

Guard = Callable[[Exchange], None]
"""Refuses a request by its headers, by raising."""


class Dispatcher:
    """Answers requests; raises nothing but cancellation, lost connections."""

    def __init__(self, services: Services, guard: Guard | None = None) -> None:
        self.services = services
        self._guard = guard
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
        begin = time.perf_counter()
        route: Route | None = None
        try:
            if self._guard is not None:
                self._guard(exchange)
            if method == "OPTIONS":
                return EMPTY
            call, route = self._route(method, unsafe_target, exchange)
            answer = await route.handler(call)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            answer = reply_to(error)
        if route is not None:
            status = answer.status if isinstance(answer, Reply) else 200
            seconds = time.perf_counter() - begin
            self.services.metrics.served(route.method, route.path, status, seconds)
            if _log.isEnabledFor(
                logging.DEBUG
            ):  # the query is left out: it may hold what is nobody's business
                path = unsafe_target.partition("?")[0][:300]
                _log.debug("%s %s: %d in %.1f ms", method, path, status, seconds * 1000)
        return answer

    def _route(self, method: str, unsafe_target: str, exchange: Exchange) -> tuple[Call, Route]:
        path, _, query = unsafe_target.partition("?")
        version, bare = versions.split(path)
        found = self._router.find(method, bare)
        if found is None or version < found[0].since:
            raise NotFound("page not found")
        route, variables = found
        return Call(self.services, exchange, version, variables, Query.parse(query)), route
