"""Removing what nobody uses: containers that do not run, images that no container needs.

One prune of a kind at a time; what comes to life meanwhile is left alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial

from carboy.digest import Digest
from carboy.engine.building.joining import Building
from carboy.engine.containers.document import Container
from carboy.engine.containers.service import Containers
from carboy.engine.containers.states import ALIVE, State
from carboy.engine.events import Events
from carboy.engine.images.records import ImageRecord
from carboy.engine.images.service import ImageService
from carboy.engine.usage import container_size, in_parallel
from carboy.errors import CarboyError, Conflict, InvalidArgument, NotFound
from carboy.formats.dockerapi.build import CachePruneOptions
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.images import DeletedImage
from carboy.formats.dockerapi.times import parse_moment
from carboy.formats.dockerapi.upkeep import BuildCachePruned, ContainersPruned, ImagesPruned
from carboy.store.paths import Paths

_BUILD_FILTERS = str.split("until id parent type description inuse shared private unused-for")

_BUSY = ALIVE | {State.STARTING, State.RESTARTING, State.REMOVING}


class Prunes:
    """The prunes of containers, images and the build cache."""

    def __init__(
        self,
        paths: Paths,
        containers: Containers,
        images: ImageService,
        events: Events,
        building: Building,
    ) -> None:
        self._paths = paths
        self._containers = containers
        self._images = images
        self._events = events
        self._building = building
        self._locks = {kind: threading.Lock() for kind in ("container", "image", "builder")}

    def containers(self, filters: Filters) -> ContainersPruned:
        """Remove the containers that do not run; their volumes stay."""
        filters.require_known(("label", "label!", "until"))
        until = parse_until(filters)
        with self._alone("container"):
            chosen = [one for one in self._containers.index if _is_idle(one, filters, until)]
            sizes = in_parallel(partial(self._size, one) for one in chosen)
            result = ContainersPruned(containers_deleted=[])
            for container, size in zip(chosen, sizes, strict=True):
                with contextlib.suppress(Conflict, NotFound):
                    self._containers.remove(container.id, force=False, volumes=False)
                    result.containers_deleted = [*(result.containers_deleted or []), container.id]
                    result.space_reclaimed += size
            self._tell("container", result.space_reclaimed)
        return result

    def images(self, filters: Filters) -> ImagesPruned:
        """Remove images without a name; with `dangling=false` all that no container uses."""
        filters.require_known(("dangling", "label", "label!", "until"))
        dangling = filters.boolean("dangling", default=True)
        until = parse_until(filters)
        with self._alone("image"):
            before = self._layers()
            result = ImagesPruned(images_deleted=[])
            for record in self._images.records.all():
                if self._is_chosen(record, filters, until):
                    result.images_deleted = [
                        *(result.images_deleted or []),
                        *self._remove_image(record, dangling=dangling),
                    ]
            after = self._layers()
            result.space_reclaimed = sum(size for layer, size in before.items() if layer not in after)
            self._tell("image", result.space_reclaimed)
        return result

    def build_cache(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        """Remove what no build that is under way uses, as much as was asked for."""
        try:
            filters.require_known(_BUILD_FILTERS)
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to prune build cache: {error}") from error
        with self._alone("builder"):
            result = self._building.prune(filters, options)
            self._tell("builder", result.space_reclaimed)
        return result

    def _size(self, container: Container) -> int:
        return container_size(container, self._containers, self._paths.upper(container.id))

    def _is_chosen(self, record: ImageRecord, filters: Filters, until: int | None) -> bool:
        records = self._images.records
        if not records.references(record.id) and records.children(record.id):
            return False  # only others stand on it: it goes with them
        if until is not None and record.created_at * 1e9 > until:
            return False
        if "label" not in filters and "label!" not in filters:
            return True
        try:
            labels = records.document(record.id).config.labels
        except NotFound:  # somebody removes it
            return False
        return filters.labels(labels) and filters.without_labels(labels)

    def _remove_image(self, record: ImageRecord, *, dangling: bool) -> list[DeletedImage]:
        references = [one.familiar for one in self._images.records.references(record.id)]
        if references and dangling:
            return []
        if any(use.image_id == record.id for use in self._containers.image_uses()):
            return []
        deleted: list[DeletedImage] = []
        for name in references or [str(record.id)]:
            # Gone with its child already, or somebody has just begun to use it.
            with contextlib.suppress(Conflict, NotFound):
                deleted += self._images.remove(name, force=False, prune_parents=True)
        return deleted

    def _layers(self) -> dict[Digest, int]:
        """The layers that something needs, and their sizes."""
        found: dict[Digest, int] = {}
        for record in self._images.records.all():
            found.update(zip(record.diff_ids, record.layer_sizes, strict=True))
        return found

    @contextlib.contextmanager
    def _alone(self, kind: str) -> Iterator[None]:
        if not self._locks[kind].acquire(blocking=False):
            raise Conflict("a prune operation is already running")
        try:
            yield
        finally:
            self._locks[kind].release()

    def _tell(self, kind: str, reclaimed: int) -> None:
        self._events.publish(kind, "prune", "", {"reclaimed": str(reclaimed)})


def parse_until(filters: Filters) -> int | None:
    """The moment of the filter `until` in nanoseconds, None without one."""
    values = filters.get("until")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    try:
        return parse_moment(values[0], now=time.time_ns())
    except CarboyError as error:
        raise InvalidArgument(f'failed to parse value as time or duration: "{values[0][:80]}"') from error


def _is_idle(container: Container, filters: Filters, until: int | None) -> bool:
    document = container.document
    return (
        container.state not in _BUSY
        and (until is None or document.created_at <= until)
        and filters.labels(document.config.labels)
        and filters.without_labels(document.config.labels)
    )
