"""Stats, top, update and prunes of the engine in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from carboy.errors import Conflict, InvalidArgument
from carboy.formats.dockerapi.build import CachePruneOptions
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.stats import ContainerStats
from carboy.formats.dockerapi.upkeep import (
    BuildCachePruned,
    ContainersPruned,
    ImagesPruned,
    ProcessList,
    UpdateRequest,
    UpdateResponse,
)


class Subject(Protocol):
    """What is needed of a container in memory."""

    id: str
    name: str
    status: str


class Subjects(Protocol):
    """The containers in memory."""

    def find(self, unsafe_ref: str) -> Subject: ...
    def all(self) -> Sequence[Subject]: ...
    def remove(self, unsafe_ref: str, *, force: bool, volumes: bool) -> None: ...


class FakeUpkeep:
    """`feed` delivers a frame to everybody who watches."""

    def __init__(self, containers: Subjects) -> None:
        self._containers = containers
        self._lock = threading.Lock()
        self.watchers: dict[int, tuple[str, Callable[[ContainerStats | None], None]]] = {}
        self.updates: list[UpdateRequest] = []

    def stats(
        self,
        unsafe_ref: str,
        *,
        stream: bool,
        one_shot: bool,
        deliver: Callable[[ContainerStats | None], None],
    ) -> Callable[[], None]:
        if stream and one_shot:
            raise InvalidArgument("cannot have stream=true and one-shot=true")
        container = self._containers.find(unsafe_ref)
        deliver(ContainerStats(name=f"/{container.name}", id=container.id))
        if not stream:
            return lambda: None
        with self._lock:
            number = len(self.watchers)
            self.watchers[number] = (container.id, deliver)

        def cancel() -> None:
            with self._lock:
                self.watchers.pop(number, None)

        return cancel

    def feed(self, frame: ContainerStats | None) -> None:
        for _, deliver in list(self.watchers.values()):
            deliver(frame)

    def top(self, unsafe_ref: str, unsafe_arguments: str) -> ProcessList:
        container = self._containers.find(unsafe_ref)
        if container.status != "running":
            raise Conflict(f"container {container.id} is not running")
        if "bogus" in unsafe_arguments:
            raise InvalidArgument("ps: unknown option")
        return ProcessList(titles=["PID", "CMD"], processes=[["1", "sleep 100"]])

    def update(self, unsafe_ref: str, request: UpdateRequest) -> UpdateResponse:
        self._containers.find(unsafe_ref)
        if 0 < request.memory < 6 << 20:
            raise InvalidArgument("Minimum memory limit allowed is 6MB")
        self.updates.append(request)
        return UpdateResponse()

    def prune_containers(self, filters: Filters) -> ContainersPruned:
        filters.require_known(("label", "label!", "until"))
        gone = [one.id for one in self._containers.all() if one.status not in ("running", "paused")]
        for container_id in gone:
            self._containers.remove(container_id, force=False, volumes=False)
        return ContainersPruned(containers_deleted=gone)

    def prune_images(self, filters: Filters) -> ImagesPruned:
        filters.require_known(("dangling", "label", "label!", "until"))
        return ImagesPruned()

    def prune_build_cache(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned:
        del filters, options
        return BuildCachePruned()
