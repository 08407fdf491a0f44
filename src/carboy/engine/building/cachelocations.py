"""`--cache-from` and `--cache-to`: caches that come from elsewhere, and where this build's goes.

What cannot be read is a warning: a build without a cache is slower, not wrong.  What cannot be written is an
error, before anything of the build is visible.
"""

from __future__ import annotations

from collections.abc import Callable

from carboy.build.caching.cache import BuildCache, CacheSource
from carboy.build.caching.exchange import INLINE_KEY, inline_document, open_inline
from carboy.build.caching.layout import LayoutCache, export_cache
from carboy.build.graph import Graph, in_images
from carboy.build.operation import Filesystem
from carboy.build.request import BuildRequest, CacheLocation
from carboy.build.solver import Solved
from carboy.engine.building.results import Extras
from carboy.engine.images.service import ImageService
from carboy.errors import CarboyError, InvalidArgument
from carboy.store.layers import LayerStore

Warn = Callable[[str], None]


class CacheLocations:
    """Opens and writes them for one root."""

    def __init__(self, images: ImageService, cache: BuildCache, layers: LayerStore) -> None:
        self._images = images
        self._cache = cache
        self._layers = layers

    def sources(self, request: BuildRequest, warn: Warn) -> list[CacheSource]:
        """The caches that the build may look into, in order."""
        found: list[CacheSource] = []
        for location in request.cache_from:
            try:
                source = self._open(location, warn)
            except CarboyError as error:
                warn(f"--cache-from {_shown(location)}: {error}")
                continue
            if source is None:
                warn(f"--cache-from {_shown(location)}: the image holds no cache (build it with type=inline)")
            else:
                found.append(source)
        return found

    def export(self, request: BuildRequest, graph: Graph, solved: Solved) -> Extras:
        """Write this build's steps to where they are to go; gives what goes into image configs."""
        fields: dict[str, object] = {}
        for location in request.cache_to:
            keys = _keys(graph, solved, everything=_is_max(location))
            if location.type == "local":
                export_cache(keys, location.directory, self._cache, self._layers)
            else:
                among = {
                    layer
                    for target in graph.targets
                    if isinstance(value := solved.outcomes[target.vertex].value, Filesystem)
                    for layer in value.layers
                }
                fields[INLINE_KEY] = inline_document(keys, among, self._cache)
        return Extras(fields)

    def _open(self, location: CacheLocation, warn: Warn) -> CacheSource | None:
        if location.type == "local":
            return LayoutCache(location.directory, self._cache, self._layers, warn=warn)
        record, _ = self._images.records.resolve(location.attributes.get("ref", ""))
        return open_inline(self._images.content.read(record.id), self._cache, self._layers)


def _keys(graph: Graph, solved: Solved, *, everything: bool) -> list[str]:
    """Of all steps, or of those that the images themselves stand on."""
    if everything:
        return solved.keys
    return [key for index in sorted(in_images(graph)) if (key := solved.outcomes[index].key)]


def _is_max(location: CacheLocation) -> bool:
    mode = location.attributes.get("mode", "min")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid mode={mode[:40]!r} of --cache-to: use min or max")
    return mode == "max"


def _shown(location: CacheLocation) -> str:
    attributes = location.attributes
    return attributes.get("src") or attributes.get("ref") or f"type={location.type}"
