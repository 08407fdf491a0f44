"""What images must know of containers, and containers of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from carboy.digest import Digest
from carboy.errors import NotFound
from carboy.formats.dockerapi.containers import ContainerConfig
from carboy.formats.oci import ImageDocument
from carboy.store.gc import BLOB, LAYER, Key


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """An image as a container is made from it."""

    id: Digest
    config: ImageDocument
    """The whole config document; what containers inherit is its `config`.  Not to be changed."""
    diff_ids: tuple[Digest, ...]
    reference: str
    """The name that was asked for, in its familiar form; the ID when it was asked for by ID."""


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """That a container stands on an image."""

    container_id: str
    image_id: Digest
    diff_ids: tuple[Digest, ...]
    running: bool

    def needs(self) -> list[Key]:
        """What the container needs in the stores, whether or not its image is still listed."""
        return [(BLOB, str(self.image_id)), *((LAYER, str(diff_id)) for diff_id in self.diff_ids)]


@dataclass(frozen=True, slots=True)
class CommitSubject:
    """A container that is being committed."""

    container_id: str
    image_id: Digest
    diff_ids: tuple[Digest, ...]
    config: ContainerConfig
    pause: Callable[[], AbstractContextManager[None]]
    """Stops the container's programs for the block, if they run."""
    own_places: Callable[[], frozenset[bytes]] = frozenset
    """Paths in its writable layer that the engine made for its mounts."""
    told: Callable[[dict[str, str]], None] = lambda _attributes: None
    """Publishes the container's event, when the image is there."""


class Containers(Protocol):
    """What the engine's containers tell the images."""

    def image_uses(self) -> Iterable[ContainerUse]:
        """Every container, whatever its state."""

    def for_commit(self, unsafe_ref: str) -> CommitSubject:
        """The container; NotFound."""


class NoContainers:
    """Before the containers are there, and in tests of images alone."""

    def image_uses(self) -> Iterable[ContainerUse]:
        """None."""
        return ()

    def for_commit(self, unsafe_ref: str) -> CommitSubject:
        """Never there."""
        raise NotFound(f"No such container: {unsafe_ref}")
