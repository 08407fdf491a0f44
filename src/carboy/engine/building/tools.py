"""What builds are done with, made once when the first one comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from carboy.build.caching.cache import BuildCache
from carboy.build.caching.mounts import CacheMounts
from carboy.build.crew import Crew
from carboy.build.frontend.inputs import Bases
from carboy.build.records import BuildRecords
from carboy.build.request import BuildRequest
from carboy.build.session import Workshop
from carboy.build.solver import Solver
from carboy.build.sources.images import StoredBases
from carboy.engine.building.cachelocations import CacheLocations
from carboy.engine.building.caches import BuildCaches
from carboy.engine.building.executor import StepExecutor
from carboy.engine.building.requests import PROXIES
from carboy.engine.building.results import Finisher
from carboy.engine.building.service import Builder
from carboy.engine.building.work import Tools
from carboy.engine.containers.parts import Parts
from carboy.engine.images.configs import host_architecture
from carboy.engine.images.service import ImageService
from carboy.formats.settings.reading import Settings
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database


class Toolshop:
    """All parts, joined."""

    def __init__(
        self,
        parts: Parts,
        images: ImageService,
        database: Database,
        layers: LayerStore,
        *,
        settings: Settings,
        environment: Mapping[str, str],
    ) -> None:
        paths = parts.paths
        self.cache = BuildCache(database, layers)
        mounts = CacheMounts(paths, database)
        self.executor = StepExecutor(parts, mounts)
        records = BuildRecords(database)
        self.caches = BuildCaches(paths, self.cache, mounts, images, records, settings)
        host_platform = f"linux/{host_architecture()}"

        def bases(request: BuildRequest, warn: Callable[[str], None]) -> Bases:
            return StoredBases(
                images=images,
                host_platform=host_platform,
                pull=request.pull,
                warn=warn,
                names=images.records.names,
            )

        self._solver = Solver(self.cache)
        self._compressors = Crew("carboy-compress", os.cpu_count() or 1)
        tools = Tools(
            workshop=Workshop(paths, database, layers, images.content, self.executor),
            solver=self._solver,
            records=records,
            finisher=Finisher(images, layers, paths, host_platform, self._compressors),
            locations=CacheLocations(images, self.cache, layers),
            bases=bases,
            host_platform=host_platform,
        )
        proxies = _own_proxies(settings, environment)
        self.builder = Builder(paths, images, tools, proxies=proxies, after=self.caches.after_build)

    def close(self) -> None:
        """Stop all builds, and what follows them."""
        self.builder.close()
        self.caches.close()
        self._solver.close()
        self._compressors.close()
        self.executor.close()


def _own_proxies(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The daemon's proxies: of its settings, else of its environment."""
    found = {name.upper(): value for name, value in environment.items() if name.upper() in PROXIES and value}
    for name in ("http-proxy", "https-proxy", "no-proxy"):
        if settings.text(name):
            found[name.replace("-", "_").upper()] = settings.text(name)
    return found
