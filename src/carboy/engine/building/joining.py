"""The builder's parts, made and joined: a daemon has one of these."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from carboy.build.cache import BuildCache
from carboy.build.cachemounts import CacheMounts
from carboy.build.frontend.inputs import Bases
from carboy.build.request import BuildRequest
from carboy.build.session import Workshop
from carboy.build.solver import Solver
from carboy.build.sources.images import StoredBases
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


class Building:
    """Everything that builds need of an engine, and what an engine needs of them."""

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
        paths = parts.paths
        self._cache = BuildCache(database, layers)
        mounts = CacheMounts(paths, database)
        self.executor = StepExecutor(parts, mounts)
        self.caches = BuildCaches(self._cache, mounts, images)
        host_platform = f"linux/{host_architecture()}"

        def bases(request: BuildRequest, warn: Callable[[str], None]) -> Bases:
            return StoredBases(images=images, host_platform=host_platform, pull=request.pull, warn=warn)

        tools = Tools(
            workshop=Workshop(paths, database, layers, images.content, self.executor),
            solver=Solver(self._cache),
            finisher=Finisher(images, layers, paths, host_platform),
            bases=bases,
            host_platform=host_platform,
        )
        self.builder = Builder(paths, images, tools, proxies=own_proxies(settings, environment))
        images.add_roots(self._cache.roots)

    def recover(self) -> None:
        """Remove what an earlier daemon's builds left."""
        self.executor.sweep()

    def close(self) -> None:
        """Stop all builds."""
        self.builder.close()
        self.executor.close()


def own_proxies(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The daemon's proxies: of its settings, else of its environment."""
    found = {name.upper(): value for name, value in environment.items() if name.upper() in PROXIES and value}
    for name in ("http-proxy", "https-proxy", "no-proxy"):
        if settings.text(name):
            found[name.replace("-", "_").upper()] = settings.text(name)
    return found
