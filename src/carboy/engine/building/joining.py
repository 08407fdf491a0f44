"""The builder's parts, made and joined when the first build, or somebody who asks for its cache, comes.

A daemon that does not build loads none of it: this module imports only what all others do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from carboy.engine.containers.parts import Parts
from carboy.engine.images.service import ImageService
from carboy.formats.settings.reading import Settings
from carboy.store.gc import LAYER, Key
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database
from carboy.store.paths import STEP_PREFIX

if TYPE_CHECKING:
    from carboy.engine.building.bench import Fetched
    from carboy.engine.building.caches import BuildCaches
    from carboy.engine.building.service import Builder, Job, Source
    from carboy.engine.building.tools import Toolshop
    from carboy.formats.dockerapi.build import BuildOptions, BuildQuery, CachePruneOptions
    from carboy.formats.dockerapi.filters import Filters
    from carboy.formats.dockerapi.system import BuildCacheRecord
    from carboy.formats.dockerapi.upkeep import BuildCachePruned


class Building:
    """Everything that builds need of an engine; fulfils `api.backend.Builds`, and is asked of the cache."""

    def __init__(
        self,
        parts: Parts,
        images: ImageService,
        database: Database,
        layers: LayerStore,
        *,
        settings: Settings,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._parts = parts
        self._images = images
        self._database = database
        self._layers = layers
        self._settings = settings
        self._environment = environment
        self._lock = threading.Lock()
        self._shop: Toolshop | None = None
        images.add_roots(self._roots)

    def recover(self) -> None:
        """Remove what an earlier daemon's builds left."""
        paths = self._parts.paths
        for directory in (paths.containers, paths.containers_run):
            if any(name.startswith(STEP_PREFIX) for name in os.listdir(directory)):
                self._tools().executor.sweep()
                return

    def close(self) -> None:
        """Stop all builds."""
        with self._lock:
            if self._shop is not None:
                self._shop.close()

    # For the API

    def start(self, query: BuildQuery) -> Job:
        """A build, ready to run."""
        return self._builder().start(query)

    def descriptors(self, options: BuildOptions) -> Sequence[tuple[int, bool]]:
        """The client's descriptors that `begin` takes."""
        return self._builder().descriptors(options)

    def begin(self, options: BuildOptions, descriptors: Mapping[int, int]) -> str:
        """Announce a build."""
        return self._builder().begin(options, descriptors)

    def add_context(self, unsafe_build: str, unsafe_name: str, source: Source) -> None:
        """Receive the tar of a context."""
        self._builder().add_context(unsafe_build, unsafe_name, source)

    def output(self, unsafe_build: str, index: int) -> Fetched:
        """A result to be fetched."""
        return self._builder().output(unsafe_build, index)

    def cancel(self, unsafe_build: str) -> None:
        """Ask a build to stop."""
        if self._shop is not None:
            self._builder().cancel(unsafe_build)

    # Of the cache

    def records(self) -> Sequence[BuildCacheRecord]:
        """Everything in the cache, oldest first."""
        return self._caches().records()

    def prune(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        """Remove what no build under way uses, as much as was asked for."""
        return self._caches().prune(filters, options)

    # Inside

    def _roots(self) -> list[Key]:
        """The layers of cached steps, without loading the cache just for that."""
        if self._shop is not None:
            return self._shop.cache.roots()
        with self._database.read() as connection:
            rows = connection.execute("SELECT layers FROM build_cache").fetchall()
        return [(LAYER, layer) for (layers,) in rows for layer in layers.split()]

    def _builder(self) -> Builder:
        return self._tools().builder

    def _caches(self) -> BuildCaches:
        return self._tools().caches

    def _tools(self) -> Toolshop:
        with self._lock:
            if self._shop is None:
                from carboy.engine.building.tools import Toolshop  # a tenth of a second, and 5 MB

                self._shop = Toolshop(
                    self._parts,
                    self._images,
                    self._database,
                    self._layers,
                    settings=self._settings,
                    environment=self._environment,
                )
            return self._shop
