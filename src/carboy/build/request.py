"""What a build is asked for, whoever asks: `POST /build`, `carboy build`, a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from carboy.build.executor import StepLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalContext:
    """A directory of this machine, handed over by descriptor (the holder closes it)."""

    root: int
    path: str
    """Where it is: for people, for the hash cache and for explanations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarContext:
    """An archive that was sent, and is kept in a file (perhaps compressed; the holder closes it)."""

    descriptor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteContext:
    """`remote=`: a git repository, an archive or a Dockerfile at an address."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContext:
    """`--build-context NAME=docker-image://REFERENCE`."""

    reference: str


AnyContext = LocalContext | TarContext | RemoteContext | ImageContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`--output`: type image (with the tags), local, tar, oci or docker."""

    type: str = "image"
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLocation:
    """`--cache-from` and `--cache-to`: type local (src=/dest=) or inline."""

    type: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    directory: int = -1
    """Of type local: a descriptor of it (the holder closes it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything a build is asked for."""

    context: AnyContext | None
    """None: an empty one."""
    dockerfile_name: str = ""
    """Path within the context; empty for Dockerfile (or dockerfile)."""
    dockerfile: bytes | None = None
    """Its text, when it does not come out of the context."""
    ignore: bytes | None = None
    """Patterns of `NAME.dockerignore` beside a Dockerfile outside the context."""
    contexts: Mapping[str, AnyContext] = field(default_factory=dict)
    """Named ones; they may stand for a stage, an image or a COPY --from."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    limits: StepLimits = field(default_factory=StepLimits)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    """ssh: id to the path of an agent's socket on this machine."""
    allow: tuple[str, ...] = ()
    """Entitlements: network.host, security.insecure, device=…"""
    outputs: tuple[Output, ...] = (Output(),)
    cache_from: tuple[CacheLocation, ...] = ()
    cache_to: tuple[CacheLocation, ...] = ()
    cache_ttl: float = 0.0
    """Seconds after which a cached step is run again; 0: never."""
    explain: bool = False
    reproducible: bool = False
    host_ca: bool = False
    epoch: int | None = None
    """SOURCE_DATE_EPOCH when it was given (as --build-arg it counts, too)."""
