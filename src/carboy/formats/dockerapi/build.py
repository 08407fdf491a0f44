"""Builds: what Docker's API cannot carry of a request, and what is told meanwhile.

    POST /build/begin            BuildOptions ─▶ BuildBegun
    PUT  /build/context?build=ID&name=NAME   the tar of a context, when it is not handed over
    POST /build?build=ID&…       messages; those with the id TRACE_ID have a Trace as `aux`
    GET  /build/output?build=ID&index=N      what an output of type tar, local, oci or docker became

Bytes are base64 in JSON, as msgspec writes them.
"""

import msgspec
from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.wire import Document

TRACE_ID = "carboy.trace"


class BuildQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the query of `POST /build` says, read and typed; units are Docker's."""

    build: str = ""
    """The ID that `POST /build/begin` gave; empty for other clients."""
    build_id: str = ""
    """The name that the client gives to it, for `POST /build/cancel`."""
    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    remote: str = ""
    quiet: bool = False
    no_cache: bool = False
    pull: bool = False
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    target: str = ""
    platforms: tuple[str, ...] = ()
    network: str = ""
    extra_hosts: tuple[str, ...] = ()
    outputs: tuple["BuildOutput", ...] = ()
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size: int = 0
    cgroup_parent: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    warnings: tuple[str, ...] = ()
    """What the client should know of what it asked for."""


class CachePruneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the build cache `POST /build/prune` leaves, in bytes; None: nothing is said of it."""

    everything: bool = False
    reserved_space: int | None = None
    max_used_space: int | None = None
    min_free_space: int | None = None


class BuildContext(Document, kw_only=True, omit_defaults=True):
    """Where a context is.  Kinds:

    directory   `descriptor` of the client's own, of a directory that is at `path`
    archive     `descriptor` of a tar that the client has open; without one it follows by PUT
    remote      `url` of a repository, an archive or a Dockerfile
    image       `reference`
    """

    kind: str
    descriptor: int = -1
    path: str = ""
    url: str = ""
    reference: str = ""


class BuildOutput(Document, kw_only=True, omit_defaults=True):
    """One `--output`: type image, local, tar, oci or docker; `dest` is the client's."""

    type: str = "image"
    attributes: dict[str, str] = field(default_factory=dict)


class BuildCacheLocation(Document, kw_only=True, omit_defaults=True):
    """One `--cache-from` or `--cache-to`: type local (with a `descriptor` of the directory), or inline."""

    type: str
    attributes: dict[str, str] = field(default_factory=dict)
    descriptor: int = -1


class BuildOptions(Document, kw_only=True, omit_defaults=True):
    """The body of `POST /build/begin`: what the query of `POST /build` cannot say."""

    context: BuildContext | UnsetType = UNSET
    """The main one; absent: it is the body of `POST /build`, or its `remote`."""
    empty: bool = False
    """There is no main context at all."""
    dockerfile: bytes | UnsetType = UNSET
    """Its text, when it is not in the context."""
    dockerfile_path: str = ""
    """Where the client has it: for people, and for the explanation of misses."""
    ignore: bytes | UnsetType = UNSET
    """Patterns beside that Dockerfile."""
    contexts: dict[str, BuildContext] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    """ssh: id to the path of an agent's socket on this machine."""
    allow: list[str] = field(default_factory=list)
    outputs: list[BuildOutput] = field(default_factory=list)
    """Absent: an image."""
    cache_from: list[BuildCacheLocation] = field(default_factory=list)
    cache_to: list[BuildCacheLocation] = field(default_factory=list)
    cache_ttl: float = 0.0
    """Seconds; 0: never too old."""
    explain: bool = False
    reproducible: bool = False
    host_ca: bool = False
    epoch: int | UnsetType = UNSET
    targets: list[str] = field(default_factory=list)
    platforms: list[str] = field(default_factory=list)
    no_cache_filter: list[str] = field(default_factory=list)
    proxies: dict[str, str] = field(default_factory=dict)
    """HTTP_PROXY and its kin of the client, that enter nothing."""


class BuildBegun(Document, kw_only=True):
    """The answer: the ID that `POST /build?build=` takes."""

    id: str


class TraceVertex(Document, kw_only=True, omit_defaults=True):
    """A step, told once before everything else about it."""

    index: int
    name: str
    stage: str = ""
    line: int = 0
    instruction: str = ""
    inputs: list[int] = field(default_factory=list)


class TraceOutput(Document, kw_only=True, omit_defaults=True):
    """An output that can be fetched, or (type image) is in the store."""

    index: int
    type: str
    image_id: str = ""
    digest: str = ""
    """Of the manifest, or of the index over several."""
    encoder: str = ""
    """Library, version and level that compressed the layers."""


class TraceImage(Document, kw_only=True, omit_defaults=True):
    """One image that was made: an entry for each target and platform."""

    id: str
    target: str = ""
    platform: str = ""
    names: list[str] = field(default_factory=list)
    digest: str = ""
    """Of its manifest."""
    layers: list[str] = field(default_factory=list)
    size: int = 0


class Trace(Document, kw_only=True, omit_defaults=True):
    """One thing that happened.  Kinds and what they fill:

    vertices    vertices: the whole plan, first of all
    started     vertex
    cached      vertex
    explained   vertex, reasons
    output      vertex, stream (1 or 2), data
    progress    vertex, text (what), current, total
    finished    vertex, seconds, text (the error, empty when well)
    warning     text; vertex when it is one step's
    failed      text; line, excerpt (lines of the Dockerfile around it), exit_code
    result      images, outputs, seconds, record
    """

    kind: str
    time: float = 0.0
    """Seconds since the build began."""
    vertex: int = -1
    seconds: float = 0.0
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    stream: int = 0
    data: bytes = b""
    current: int = 0
    total: int = 0
    vertices: list[TraceVertex] = field(default_factory=list)
    line: int = 0
    excerpt: str = ""
    exit_code: int = 0
    images: list[TraceImage] = field(default_factory=list)
    outputs: list[TraceOutput] = field(default_factory=list)
    record: str = ""
    """The ID of what is remembered of this build."""


class TraceMessage(Document, kw_only=True, rename="camel"):
    """A message of the stream that holds a Trace."""

    id: str = TRACE_ID
    aux: Trace
