"""Why a step was taken from the cache, or was not, in a few short sentences.

Last time's ingredients are found by the step's place: the context, the Dockerfile's name, the platform and
the stage, and there its text, or, when the text is new, the number of its instruction.  The sentences are
the difference between what it depends on and what it depended on, nothing else, so they are complete.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from carboy.build.caching.cache import BuildCache, Entry
from carboy.build.caching.differences import short, tell_differences
from carboy.build.caching.history import Past, printable
from carboy.build.graph import Graph, Image, Vertex
from carboy.build.operation import Ingredients
from carboy.build.request import RemoteContext
from carboy.build.session import Session
from carboy.build.trees import LocalTree
from carboy.digest import Digest


@dataclass(frozen=True, slots=True)
class _Place:
    by_text: str
    by_number: str


class Explainer:
    """Explains the steps of one build, and keeps what the next one needs for that."""

    def __init__(
        self,
        cache: BuildCache,
        graph: Graph,
        session: Session,
        *,
        not_before: float,
        origins: Collection[str] = (),
    ) -> None:
        self._cache = cache
        self._graph = graph
        self._request = session.request
        self._not_before = not_before
        self._origins = origins
        self._places = _places(graph, session)
        self._texts = {place.by_text for place in self._places}

    def stand(self, vertex: Vertex, key: str) -> None:
        """For the next build: this is what stands here."""
        place = self._places[vertex.index]
        history = self._cache.history
        history.stand(place.by_text, key, vertex.instruction)
        # The text's place goes with the number: it says whether that instruction has only moved.
        history.stand(place.by_number, key, place.by_text)

    def reasons(
        self,
        vertex: Vertex,
        ingredients: Ingredients,
        key: str,
        *,
        entry: Entry | None,
        layers: Mapping[int, Digest | None],
    ) -> tuple[str, ...]:
        """Why `entry` was taken, or, when it is None, why the step is run.

        layers: what each vertex that is done has added.
        """
        past = self._last(vertex)
        if entry is not None:
            return (self._why_taken(key, entry, past),)
        if not key:
            return ("not cached: this step is run each time",)
        if vertex.ignore_cache:
            return ("not cached: --no-cache" if self._request.no_cache else "not cached: --no-cache-filter",)
        gone = self._why_gone(key, past)
        if gone:
            return (gone,)
        if past is None:
            return ("not cached: never built here",)
        before = self._cache.history.recall(past.key)
        if before is None:
            return ("not cached: something has changed, but what it was before is not known any more",)
        base = self._about_base(vertex, before, ingredients, layers)
        return tell_differences(before, ingredients, base=base)

    def _why_taken(self, key: str, entry: Entry, past: Past | None) -> str:
        if entry.origin:
            return "cached: it came with an imported cache"
        when = _moment(entry.created_at)
        if past is not None and past.key == key:
            return f"cached: nothing it depends on changed (built {when})"
        return f"cached: the same was built before ({when})"

    def _why_gone(self, key: str, past: Past | None) -> str:
        """Why the cache has nothing usable of this very key; empty when it never had."""
        entry = self._cache.peek(key)
        if entry is not None and entry.origin and entry.origin not in self._origins:
            return "not cached: only an imported cache has it, which this build does not name"
        if entry is not None and entry.created_at < self._not_before:
            return f"not cached: older than --cache-ttl (built {_moment(entry.created_at)})"
        pruned = self._cache.pruned_at(key)
        if pruned is not None:
            return f"not cached: its cached layer was pruned on {_moment(pruned)}"
        if past is not None and past.key == key:
            return "not cached: nothing changed, but its cached layer is gone"
        return ""

    def _last(self, vertex: Vertex) -> Past | None:
        place = self._places[vertex.index]
        history = self._cache.history
        past = history.last_at(place.by_text)
        if past is None:
            past = history.last_at(place.by_number)
            if past is not None and past.instruction in self._texts:
                return None  # what stood here stands elsewhere now: this one is new
        return past

    def _about_base(
        self,
        vertex: Vertex,
        before: Ingredients,
        now: Ingredients,
        layers: Mapping[int, Digest | None],
    ) -> str:
        """Which of what it stands on is another one than last time."""
        old, new = (_split(one.values.get("base", "")) for one in (before, now))
        below = self._below(vertex)
        ground = below[0].operation if below else None
        if isinstance(ground, Image):
            count = len(ground.layers)
            if old[:count] != new[:count]:
                return f"base changed: {short(ground.reference)} has other layers"
        first = next(
            (number for number, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]),
            min(len(old), len(new)),
        )
        if first >= len(new):
            return "base changed: a step above it adds no layer any more"
        for maker in below:
            if str(layers.get(maker.index)) == new[first]:
                return f"base changed: {short(maker.name)} above it gave another layer"
        return "base changed"

    def _below(self, vertex: Vertex) -> list[Vertex]:
        """What it stands on, from the ground."""
        found = []
        while vertex.inputs:
            vertex = self._graph.vertices[vertex.inputs[0]]
            found.append(vertex)
        return found[::-1]


def _split(identity: str) -> list[str]:
    return identity.split("+") if identity and identity != "scratch" else []


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _places(graph: Graph, session: Session) -> list[_Place]:
    """Where each vertex stands, as digests."""
    context = _context_name(session)
    ground = [context, session.request.dockerfile_name]
    platforms: list[str] = []
    numbers: Counter[tuple[str, str, str]] = Counter()
    texts: Counter[tuple[str, str, str, str]] = Counter()
    places = []
    for vertex in graph.vertices:
        operation = vertex.operation
        platform = platforms[vertex.inputs[0]] if vertex.inputs else ""
        if isinstance(operation, Image):
            platform = operation.platform
        platforms.append(platform)
        kind = type(operation).__name__
        text = vertex.instruction or vertex.name
        number, times = (platform, vertex.stage, kind), (platform, vertex.stage, kind, text)
        by_number = "number" if context else text  # of no context in particular: any could have been here
        numbers[number] += 1
        texts[times] += 1
        places.append(
            _Place(
                _digest([*ground, "text", *times, str(texts[times])]),
                _digest([*ground, by_number, *number, str(numbers[number])]),
            )
        )
    return places


def _context_name(session: Session) -> str:
    """What tells this context's builds from others; empty when nothing does."""
    value = session.contexts.get("")
    if isinstance(value, LocalTree):
        return value.path
    request = session.request
    if isinstance(request.context, RemoteContext):
        return request.context.url
    return " ".join(request.tags)


def _digest(parts: list[str]) -> str:
    return hashlib.sha256(msgspec.json.encode([printable(part) for part in parts])).hexdigest()
