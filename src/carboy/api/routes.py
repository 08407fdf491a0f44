"""The route table: the one list of what is served, for the server, the documentation and the tests.

A path is written as Docker's documentation writes it; `{name}` may contain slashes where an
image is named (`IMAGE`), elsewhere it is one segment.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from carboy.api.call import Call
from carboy.api.handlers import (
    absent,
    archive,
    build,
    containers,
    execs,
    images,
    metrics,
    networks,
    registries,
    stats,
    streams,
    system,
    upkeep,
    volumes,
    websocket,
)
from carboy.api.reply import Answer
from carboy.api.versions import MINIMUM, Version
from carboy.errors import InvalidArgument

Handler = Callable[[Call], Awaitable[Answer]]


_ANSWERS: frozenset[Handler] = frozenset(
    {
        absent.not_yet,
        absent.never,
        networks.create,
        networks.remove,
        networks.connect,
        absent.swarm,
        absent.no_swarm,
        absent.plugin,
        registries.auth,
        registries.distribution,
        registries.search,
        registries.grpc,
        registries.session,
    }
)
"""Handlers that only say why there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path, since an API version, grouped by tag."""

    method: str
    path: str
    handler: Handler
    tag: str
    since: Version = MINIMUM

    @property
    def supported(self) -> bool:
        """Whether it does what it says (else it answers why not)."""
        return self.handler not in _ANSWERS


def _group(tag: str, *rows: tuple[str, str, Handler] | tuple[str, str, Handler, Version]) -> list[Route]:
    return [Route(row[0], row[1], row[2], tag, row[3] if len(row) == 4 else MINIMUM) for row in rows]


ROUTES: tuple[Route, ...] = (
    *_group(
        "System",
        ("GET", "/_ping", system.ping),
        ("HEAD", "/_ping", system.ping),
        ("GET", "/version", system.version),
        ("GET", "/info", system.info),
        ("GET", "/events", streams.events),
        ("GET", "/system/df", system.disk_usage),
        ("POST", "/auth", registries.auth),
    ),
    *_group(
        "Container",
        ("GET", "/containers/json", containers.list_containers),
        ("POST", "/containers/create", containers.create),
        ("POST", "/containers/prune", upkeep.prune_containers, (1, 25)),
        ("GET", "/containers/{id}/json", containers.inspect),
        ("GET", "/containers/{id}/top", upkeep.top),
        ("GET", "/containers/{id}/logs", streams.logs),
        ("GET", "/containers/{id}/changes", archive.changes),
        ("GET", "/containers/{id}/export", archive.export),
        ("GET", "/containers/{id}/stats", stats.stats),
        ("POST", "/containers/{id}/resize", containers.resize),
        ("POST", "/containers/{id}/start", containers.start),
        ("POST", "/containers/{id}/stop", containers.stop),
        ("POST", "/containers/{id}/restart", containers.restart),
        ("POST", "/containers/{id}/kill", containers.kill),
        ("POST", "/containers/{id}/update", upkeep.update),
        ("POST", "/containers/{id}/rename", containers.rename),
        ("POST", "/containers/{id}/pause", containers.pause),
        ("POST", "/containers/{id}/unpause", containers.unpause),
        ("POST", "/containers/{id}/attach", streams.attach),
        ("GET", "/containers/{id}/attach/ws", websocket.attach),
        ("POST", "/containers/{id}/wait", streams.wait),
        ("DELETE", "/containers/{id}", containers.remove),
        ("HEAD", "/containers/{id}/archive", archive.stat),
        ("GET", "/containers/{id}/archive", archive.get),
        ("PUT", "/containers/{id}/archive", archive.put),
        ("GET", "/containers/{id}/checkpoints", absent.never, (1, 25)),
        ("POST", "/containers/{id}/checkpoints", absent.never, (1, 25)),
        ("DELETE", "/containers/{id}/checkpoints/{checkpoint}", absent.never, (1, 25)),
    ),
    *_group(
        "Exec",
        ("POST", "/containers/{id}/exec", execs.create),
        ("POST", "/exec/{id}/start", execs.start),
        ("POST", "/exec/{id}/resize", execs.resize),
        ("GET", "/exec/{id}/json", execs.inspect),
    ),
    *_group(
        "Image",
        ("GET", "/images/json", images.list_images),
        ("POST", "/images/create", images.create),
        ("GET", "/images/search", registries.search),
        ("POST", "/images/prune", upkeep.prune_images, (1, 25)),
        ("GET", "/images/get", images.save),
        ("POST", "/images/load", images.load),
        ("GET", "/images/{name}/json", images.inspect),
        ("GET", "/images/{name}/history", images.history),
        ("GET", "/images/{name}/get", images.save),
        ("POST", "/images/{name}/push", absent.not_yet),
        ("POST", "/images/{name}/tag", images.tag),
        ("DELETE", "/images/{name}", images.remove),
        ("POST", "/commit", images.commit),
        ("POST", "/build", build.build),
        ("POST", "/build/prune", build.prune, (1, 31)),
        ("POST", "/build/cancel", build.cancel, (1, 39)),
        ("POST", "/session", registries.session, (1, 31)),
        ("POST", "/grpc", registries.grpc, (1, 39)),
        ("GET", "/distribution/{name}/json", registries.distribution, (1, 30)),
    ),
    *_group(
        "Volume",
        ("GET", "/volumes", volumes.list_volumes),
        ("POST", "/volumes/create", volumes.create),
        ("POST", "/volumes/prune", volumes.prune, (1, 25)),
        ("GET", "/volumes/{name}", volumes.inspect),
        ("PUT", "/volumes/{name}", absent.swarm, (1, 42)),
        ("DELETE", "/volumes/{name}", volumes.remove),
    ),
    *_group(
        "Network",
        ("GET", "/networks", networks.list_networks),
        ("POST", "/networks/create", networks.create),
        ("POST", "/networks/prune", networks.prune, (1, 25)),
        ("GET", "/networks/{id}", networks.inspect),
        ("DELETE", "/networks/{id}", networks.remove),
        ("POST", "/networks/{id}/connect", networks.connect),
        ("POST", "/networks/{id}/disconnect", networks.connect),
    ),
    *_group(
        "Plugin",
        ("GET", "/plugins", absent.plugins, (1, 25)),
        ("GET", "/plugins/privileges", absent.never, (1, 25)),
        ("POST", "/plugins/pull", absent.never, (1, 25)),
        ("POST", "/plugins/create", absent.never, (1, 25)),
        ("GET", "/plugins/{name}/json", absent.plugin, (1, 25)),
        ("DELETE", "/plugins/{name}", absent.plugin, (1, 25)),
        ("POST", "/plugins/{name}/enable", absent.plugin, (1, 25)),
        ("POST", "/plugins/{name}/disable", absent.plugin, (1, 25)),
        ("POST", "/plugins/{name}/upgrade", absent.plugin, (1, 26)),
        ("POST", "/plugins/{name}/push", absent.plugin, (1, 25)),
        ("POST", "/plugins/{name}/set", absent.plugin, (1, 25)),
    ),
    *_group(
        "Swarm",
        ("GET", "/swarm", absent.swarm),
        ("POST", "/swarm/init", absent.never),
        ("POST", "/swarm/join", absent.never),
        ("POST", "/swarm/leave", absent.no_swarm),
        ("POST", "/swarm/unlock", absent.swarm),
        *(
            (method, path, absent.swarm)
            for method, path in (
                ("POST", "/swarm/update"),
                ("GET", "/swarm/unlockkey"),
                ("GET", "/nodes"),
                ("GET", "/nodes/{id}"),
                ("DELETE", "/nodes/{id}"),
                ("POST", "/nodes/{id}/update"),
                ("GET", "/services"),
                ("POST", "/services/create"),
                ("GET", "/services/{id}"),
                ("DELETE", "/services/{id}"),
                ("POST", "/services/{id}/update"),
                ("GET", "/services/{id}/logs"),
                ("GET", "/tasks"),
                ("GET", "/tasks/{id}"),
                ("GET", "/tasks/{id}/logs"),
                ("GET", "/secrets"),
                ("POST", "/secrets/create"),
                ("GET", "/secrets/{id}"),
                ("DELETE", "/secrets/{id}"),
                ("POST", "/secrets/{id}/update"),
                ("GET", "/configs"),
                ("POST", "/configs/create"),
                ("GET", "/configs/{id}"),
                ("DELETE", "/configs/{id}"),
                ("POST", "/configs/{id}/update"),
            )
        ),
    ),
    *_group(
        "Carboy",
        ("POST", "/carboy/system/reset", system.reset),
        ("POST", "/build/begin", build.begin),
        ("PUT", "/build/context", build.put_context),
        ("GET", "/build/output", build.output),
        ("GET", "/metrics", metrics.metrics),
        ("GET", "/debug/vars", metrics.variables),
        ("GET", "/debug/threads", metrics.threads),
    ),
)

_SLASHES = frozenset({"images", "distribution", "plugins"})
"""First segments whose `{name}` may contain slashes."""


class Router:
    """Finds the route of a request: fixed paths by one look, others by their first segment."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        self._fixed: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._fixed[route.method, route.path] = route
            else:
                first = route.path.split("/")[1]
                self._patterns.setdefault((route.method, first), []).append((_pattern(route.path), route))

    def find(self, method: str, unsafe_path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and the path's variables; the path is without version and query."""
        if "%" in unsafe_path:
            unsafe_path = _decoded(unsafe_path)
        fixed = self._fixed.get((method, unsafe_path))
        if fixed is not None:
            return fixed, {}
        first = unsafe_path[1:].partition("/")[0]
        for pattern, route in self._patterns.get((method, first), ()):
            match = pattern.fullmatch(unsafe_path)
            if match is not None:
                return route, match.groupdict()
        return None


def _pattern(path: str) -> re.Pattern[str]:
    inner = ".+" if path.split("/")[1] in _SLASHES else "[^/]+"
    return re.compile(re.sub(r"\\\{(\w+)\\\}", rf"(?P<\1>{inner})", re.escape(path)), re.DOTALL)


def _decoded(unsafe_path: str) -> str:
    try:
        return unquote(unsafe_path, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgument("invalid path: it is not UTF-8") from error
