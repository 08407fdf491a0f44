"""What the frontend is told: the build's request, as far as it concerns it, and images to begin from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from carboy.formats.oci import ImageDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendRequest:
    """A build's wishes, without where its files come from."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    """`--build-arg`; proxies among them enter no vertex."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """They win over the file's."""
    targets: tuple[str, ...] = ()
    """Stages by name or number; none: the last one."""
    platforms: tuple[str, ...] = ()
    """One image each; none: one for the host, or for what its base says."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Named contexts: the image reference of `docker-image://…`, or empty for files of any kind."""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    """Stages by name."""
    network: str = "default"
    """Of the RUNs that say nothing."""
    epoch: int | None = None
    """What `ARG SOURCE_DATE_EPOCH` gets; None: what the arguments say."""
    host_platform: str = "linux/amd64"


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image that is in the store."""

    image_id: str
    """sha256:… of its config."""
    document: ImageDocument
    layers: tuple[str, ...]
    """DiffIDs, bottom first."""
    platform: str


class Bases(Protocol):
    """Finds images: in the store, or pulled into it as the build's policy is."""

    def resolve(self, reference: str, platform: str) -> BaseImage:
        """The image of a reference as it was written.

        An empty platform: nobody asked for one, so the host's is preferred and another is taken when it
        is all that there is.  Raises carboy.errors (NotFound, Unauthenticated …).
        """
        ...
