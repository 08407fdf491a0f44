"""Looking after what there is: figures, processes, limits, prunes; fulfils `api.backend.Upkeep`."""

from __future__ import annotations

import os
from collections.abc import Callable

from carboy.engine.building.joining import Building
from carboy.engine.containers import top
from carboy.engine.containers.document import Container
from carboy.engine.containers.service import Containers
from carboy.engine.containers.states import State
from carboy.engine.containers.update import update
from carboy.engine.events import Events
from carboy.engine.images.service import ImageService
from carboy.engine.prune import Prunes
from carboy.engine.spec.facts import HostFacts
from carboy.engine.stats import Deliver, Sampler, Subject
from carboy.errors import Conflict, InvalidArgument, NotFound
from carboy.formats.dockerapi.build import CachePruneOptions
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.upkeep import (
    BuildCachePruned,
    ContainersPruned,
    ImagesPruned,
    ProcessList,
    UpdateRequest,
    UpdateResponse,
)
from carboy.store.paths import Paths


class Upkeep:
    """See the module."""

    def __init__(
        self,
        paths: Paths,
        facts: HostFacts,
        containers: Containers,
        images: ImageService,
        events: Events,
        building: Building,
    ) -> None:
        self._paths = paths
        self._facts = facts
        self._containers = containers
        self._prunes = Prunes(paths, containers, images, events, building)
        self.sampler = Sampler(self._look)

    def close(self) -> None:
        """End the thread that takes figures."""
        self.sampler.close()

    # -- containers

    def stats(self, unsafe_ref: str, *, stream: bool, one_shot: bool, deliver: Deliver) -> Callable[[], None]:
        """Deliver the figures: once, or each second until the returned function is called."""
        if stream and one_shot:
            raise InvalidArgument("cannot have stream=true and one-shot=true")
        container = self._containers.find(unsafe_ref)
        if not stream and (one_shot or not container.alive):
            deliver(self.sampler.one_shot(container.id))
            return lambda: None
        return self.sampler.watch(container.id, deliver, once=not stream)

    def top(self, unsafe_ref: str, unsafe_arguments: str) -> ProcessList:
        """The container's processes, as the host's `ps` shows them."""
        container = self._containers.find(unsafe_ref)
        if container.state is State.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        if not container.alive:
            raise Conflict(f"container {container.id} is not running")
        try:
            found = top.processes_of(unsafe_arguments, self._paths.container_run(container.id))
        except OSError as error:
            if not container.wait_ended(1.0):
                raise
            raise Conflict(f"container {container.id} is not running") from error
        self._containers.lifecycle.emit(container, "top")
        return found

    def update(self, unsafe_ref: str, request: UpdateRequest) -> UpdateResponse:
        """Change limits and the restart policy."""
        container = self._containers.find(unsafe_ref)
        with container.operation:
            warnings = update(container, request, self._containers.index, self._facts)
        self._containers.lifecycle.emit(container, "update")
        return UpdateResponse(warnings=warnings or None)

    # -- prunes

    def prune_containers(self, filters: Filters) -> ContainersPruned:
        """Remove the containers that do not run."""
        return self._prunes.containers(filters)

    def prune_images(self, filters: Filters) -> ImagesPruned:
        """Remove the images that nobody uses."""
        return self._prunes.images(filters)

    def prune_build_cache(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        """Remove what no build needs."""
        return self._prunes.build_cache(filters, options)

    # -- for the sampler

    def _look(self, container_id: str) -> Subject | None:
        try:
            container = self._containers.find(container_id)
        except NotFound:
            return None
        if container.state in (State.REMOVING, State.DEAD):
            return None
        return self._subject(container)

    def _subject(self, container: Container) -> Subject:
        document = container.document
        if not container.alive:
            return Subject(name=container.name)
        return Subject(
            name=container.name,
            pid=document.pid,
            started_at=document.started_at,
            run_directory=self._paths.container_run(container.id),
            own_network=_has_own_network(document.pid),
        )


def _has_own_network(pid: int) -> bool:
    """Whether it is not the machine's: what joins another container may end up there too."""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/self/ns/net")
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)
