"""Why a step was taken from the cache, or was not, in a few short sentences.

Last time's ingredients are found by the step's place: the context, the Dockerfile's name, the platform, the
stage, and there its text, or, when the text is new, the number of its instruction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from carboy.build.cache import BuildCache, Entry
from carboy.build.graph import Graph, Vertex
from carboy.build.operation import Ingredients
from carboy.build.session import Session
from carboy.digest import Digest


class Explainer:
    """Explains the steps of one build, and keeps what the next one needs for that."""

    def __init__(self, cache: BuildCache, graph: Graph, session: Session, *, not_before: float) -> None:
        self._cache = cache
        self._graph = graph

    def reasons(
        self,
        vertex: Vertex,
        ingredients: Ingredients,
        key: str,
        *,
        entry: Entry | None,
        layers: Mapping[int, Digest | None],
    ) -> tuple[str, ...]:
        """Why."""
        return ()

    def stand(self, vertex: Vertex, key: str) -> None:
        """For the next build: this is what stands here."""
