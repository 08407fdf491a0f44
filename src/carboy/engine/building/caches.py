"""The build cache as people see it: how much there is, and how to have less of it."""

from __future__ import annotations

import logging
import os
import threading
import time

from carboy.build.caching.cache import BuildCache
from carboy.build.caching.mounts import CacheMounts
from carboy.build.caching.pruning import Item, PruneOptions, keep_within, list_items, prune
from carboy.build.records import BuildRecords
from carboy.engine.images.service import ImageService
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.dockerapi.build import CachePruneOptions
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.system import BuildCacheRecord
from carboy.formats.dockerapi.times import parse_moment, rfc3339
from carboy.formats.dockerapi.upkeep import BuildCachePruned
from carboy.formats.settings.reading import Settings
from carboy.store.gc import ANY, LAYER, Key
from carboy.store.paths import Paths

_NAMES = ("id", "parent", "type", "description", "inuse", "shared", "private")
_SELDOM = 600.0
_LEAST = 20 * 10**9
_log = logging.getLogger(__name__)


class BuildCaches:
    """Cached steps and cache mounts of one root."""

    def __init__(
        self,
        paths: Paths,
        cache: BuildCache,
        mounts: CacheMounts,
        images: ImageService,
        records: BuildRecords,
        settings: Settings,
    ) -> None:
        self._paths = paths
        self._cache = cache
        self._mounts = mounts
        self._images = images
        self._records = records
        self._settings = settings
        self._lock = threading.Lock()
        self._wanted = False
        self._sweeper: threading.Thread | None = None
        self._measured = 0.0

    def records(self) -> list[BuildCacheRecord]:
        """Everything, oldest first."""
        return [_record(item) for item in list_items(self._cache, self._mounts, shared=self._shared())]

    def prune(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        """Remove what no build under way uses, as much as was asked for."""
        chosen = PruneOptions(
            everything=options.everything,
            unused_since=_unused_since(filters),
            filters={name: filters.get(name) for name in _NAMES if name in filters},
            reserved_space=_bytes(options.reserved_space),
            max_used_space=_bytes(options.max_used_space),
            min_free_space=_bytes(options.min_free_space),
        )
        pruned = prune(
            self._cache,
            self._mounts,
            chosen,
            collect=self._collect,
            shared=self._shared(),
            free=self._free(),
        )
        return BuildCachePruned(caches_deleted=list(pruned.ids) or None, space_reclaimed=pruned.freed)

    def after_build(self) -> None:
        """See that the cache does not grow without bound, beside whatever comes next."""
        if not self._settings.flag("builder-gc"):
            return
        with self._lock:
            self._wanted = True
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="build-gc", daemon=True)
                self._sweeper.start()

    def close(self) -> None:
        """Wait for that."""
        sweeper = self._sweeper
        if sweeper is not None:
            sweeper.join(10)

    def _sweep(self) -> None:
        """Once more for builds that ended meanwhile."""
        while True:
            with self._lock:
                if not self._wanted:
                    self._sweeper = None
                    return
                self._wanted = False
            self._keep_within()

    def _keep_within(self) -> None:
        try:
            limit = self._limit()
            # Directories of cache mounts take a walk to measure: only when steps alone are near the bound.
            late = self._is_late()
            if late:
                self._forget_old()
            if late or self._cache.size() * 2 > limit:
                pruned = keep_within(
                    limit, self._cache, self._mounts, collect=self._collect, shared=self._shared()
                )
                if pruned.ids:
                    _log.info(
                        "the build cache had more than %d bytes: %d entries went, %d bytes were freed",
                        limit,
                        len(pruned.ids),
                        pruned.freed,
                    )
        except (CarboyError, OSError):
            _log.exception("bounding the build cache")

    def _forget_old(self) -> None:
        """Records of builds whose images have gone, and what only they were explained by."""
        self._records.trim(images={str(record.id) for record in self._images.records.all()})
        self._cache.history.sweep()

    def _is_late(self) -> bool:
        """Now and then mounts are measured, too, and records swept."""
        now = time.monotonic()
        if self._measured and now - self._measured < _SELDOM:
            return False
        self._measured = now
        return True

    def _limit(self) -> int:
        if self._settings.text("builder-gc-keep-storage"):
            return self._settings.size("builder-gc-keep-storage")
        found = os.statvfs(self._paths.root)
        return max(_LEAST, found.f_blocks * found.f_frsize // 10)

    def _free(self) -> int:
        found = os.statvfs(self._paths.root)
        return found.f_bavail * found.f_frsize

    def _shared(self) -> set[str]:
        """The layers that images need."""
        return {str(diff_id) for record in self._images.records.all() for diff_id in record.diff_ids}

    def _collect(self, keys: list[Key]) -> list[Key]:
        return [key for key in self._images.collect(keys) if key[1] != ANY and key[0] == LAYER]


def _record(item: Item) -> BuildCacheRecord:
    return BuildCacheRecord(
        id=item.id,
        parents=list(item.parents),
        type=item.type,
        description=item.description,
        in_use=item.in_use,
        shared=item.shared,
        size=item.size,
        created_at=rfc3339(int(item.created_at * 1e9)),
        last_used_at=rfc3339(int(item.last_used * 1e9)) if item.uses else None,
        usage_count=item.uses,
    )


def _unused_since(filters: Filters) -> float | None:
    """`until` (a moment or an age) and `unused-for` (an age) mean the same."""
    values = filters.get("until") + filters.get("unused-for")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("failed to prune build cache: more than one until filter specified")
    try:
        return parse_moment(values[0], now=time.time_ns()) / 1e9
    except CarboyError as error:
        raise InvalidArgument(
            'failed to prune build cache: "until" filter expects a duration (e.g., 24h),'
            f" not {values[0][:80]!r}"
        ) from error


def _bytes(value: int | None) -> int:
    return max(0, value or 0)
