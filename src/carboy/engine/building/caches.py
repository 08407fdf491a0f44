"""The build cache as people see it: how much there is, and how to have less of it."""

from __future__ import annotations

from carboy.build.cache import BuildCache, Entry
from carboy.build.cachemounts import CacheMounts
from carboy.engine.images.service import ImageService
from carboy.formats.dockerapi.build import CachePruneOptions
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import BuildCacheRecord
from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.dockerapi.upkeep import BuildCachePruned
from carboy.store.gc import LAYER


class BuildCaches:
    """Cached steps and cache mounts of one root."""

    def __init__(self, cache: BuildCache, mounts: CacheMounts, images: ImageService) -> None:
        self._cache = cache
        self._mounts = mounts
        self._images = images

    def records(self) -> list[BuildCacheRecord]:
        """Everything, oldest first."""
        return [self._record(entry) for entry in self._cache.records()]

    def prune(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        """Remove what no build under way uses."""
        del filters, options
        removed = self._cache.remove([entry.key for entry in self._cache.records()])
        self._images.collect([(LAYER, str(layer)) for entry in removed for layer in entry.layers])
        return BuildCachePruned(
            caches_deleted=[entry.id() for entry in removed], space_reclaimed=sum(e.size for e in removed)
        )

    def _record(self, entry: Entry) -> BuildCacheRecord:
        return BuildCacheRecord(
            id=entry.id(),
            type="regular",
            description=entry.description,
            in_use=self._cache.is_used(entry.key),
            size=entry.size,
            created_at=rfc3339(int(entry.created_at * 1e9)),
            last_used_at=rfc3339(int(entry.last_used * 1e9)),
            usage_count=entry.uses,
        )
