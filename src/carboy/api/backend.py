"""What the API needs of the engine: small Protocols, grouped by purpose.

The engine satisfies them without importing this module; the values that cross are the wire
types of `carboy.formats.dockerapi` and plain values.  All methods are synchronous and are
called from a bounded pool of threads; what would wait for long takes a callback, or gives an
object with a `fileno()`.  Names and references from a client are `unsafe_…`: any text.

Failures are the categories of `carboy.errors`; their text reaches the client as it is.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from carboy.formats.dockerapi.archives import FilesystemChange, PathStat
from carboy.formats.dockerapi.build import BuildOptions, BuildQuery, CachePruneOptions
from carboy.formats.dockerapi.containers import (
    ContainerConfig,
    ContainerInspect,
    ContainerSummary,
    CreateRequest,
    CreateResponse,
    WaitResponse,
)
from carboy.formats.dockerapi.execs import ExecConfig, ExecInspect
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.images import DeletedImage, HistoryItem, ImageInspect, ImageSummary
from carboy.formats.dockerapi.networks import Network, NetworksPruned
from carboy.formats.dockerapi.progress import ProgressMessage
from carboy.formats.dockerapi.stats import ContainerStats
from carboy.formats.dockerapi.streams import AttachOptions, LogOptions
from carboy.formats.dockerapi.system import DiskUsage, Event, Info, PingFacts, Version
from carboy.formats.dockerapi.upkeep import (
    BuildCachePruned,
    ContainersPruned,
    ImagesPruned,
    ProcessList,
    UpdateRequest,
    UpdateResponse,
)
from carboy.formats.dockerapi.volumes import Volume, VolumeCreateRequest, VolumeList, VolumesPruned

Cancel = Callable[[], None]
"""Ends a wait or a subscription; safe to call twice and from any thread, also after the end."""


class Handover(Protocol):
    """A stream that is ready to begin: everything that can fail before the 101 has been checked."""

    @property
    def tty(self) -> bool:
        """Whether the stream is a terminal's (raw), else it is multiplexed."""

    def hand_over(self, client: int, initial: bytes) -> None:
        """Give the client's connection away.  Takes the descriptor (owns and closes it, in any case).

        `initial` is what the client had already sent past its request.
        """

    def abandon(self) -> None:
        """The client went away before `hand_over`: undo what was prepared."""


class LogReader(Protocol):
    """A log being read, in the order in which it was written."""

    @property
    def tty(self) -> bool:
        """Whether the frames are raw."""

    def read(self) -> bytes | None:
        """Framed bytes ready for the wire; b"" when there is nothing yet (follow); None at the end."""

    def fileno(self) -> int:
        """Becomes readable when there may be more."""

    def close(self) -> None:
        """Free what it holds."""


class Source(Protocol):
    """Bytes from a client, read once by one thread."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, b"" at the end; raises Cancelled when the client went away."""

    def fileno(self) -> int | None:
        """A descriptor of the client's own (seekable if it is a regular file), or None."""


class Sink(Protocol):
    """Where bytes for a client go, written by one thread."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Take all of `data`, waiting for a slow client; raises Cancelled when it went away."""

    def fileno(self) -> int | None:
        """A descriptor of the client's own that may be written instead, or None."""


class Containers(Protocol):
    """The life of containers."""

    def create(self, request: CreateRequest, *, name: str | None, platform: str | None) -> CreateResponse: ...
    def start(self, unsafe_ref: str) -> None: ...
    def stop(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None: ...
    def restart(self, unsafe_ref: str, *, timeout: int | None, signal: str | None) -> None: ...
    def kill(self, unsafe_ref: str, *, signal: str | None) -> None: ...
    def pause(self, unsafe_ref: str) -> None: ...
    def unpause(self, unsafe_ref: str) -> None: ...
    def rename(self, unsafe_ref: str, name: str) -> None: ...
    def remove(self, unsafe_ref: str, *, force: bool, volumes: bool) -> None: ...
    def list(
        self,
        *,
        all: bool,  # noqa: A002 - the API's own word
        limit: int | None,
        size: bool,
        filters: Filters,
    ) -> Sequence[ContainerSummary]: ...
    def inspect(self, unsafe_ref: str, *, size: bool) -> ContainerInspect: ...

    def wait(self, unsafe_ref: str, condition: str, done: Callable[[WaitResponse], None]) -> Cancel:
        """Call `done` once, from any thread, at once or later, unless cancelled before.

        `condition` is `not-running`, `next-exit` or `removed`.
        """

    def logs(self, unsafe_ref: str, options: LogOptions) -> LogReader: ...
    def attach(self, unsafe_ref: str, options: AttachOptions) -> Handover: ...
    def resize(self, unsafe_ref: str, *, rows: int, cols: int) -> None: ...


class FilesArchive(Protocol):
    """Files of a container, about to be sent as a tar."""

    @property
    def stat(self) -> PathStat | None:
        """What is sent, when it is a path's."""

    def write(self, sink: Sink) -> None: ...

    def close(self) -> None:
        """Let go of the container's files."""


class ContainerFiles(Protocol):
    """What goes into and out of containers' filesystems."""

    def stat(self, unsafe_ref: str, unsafe_path: str) -> PathStat: ...
    def archive(self, unsafe_ref: str, unsafe_path: str) -> FilesArchive: ...
    def export(self, unsafe_ref: str) -> FilesArchive: ...
    def extract(
        self, unsafe_ref: str, unsafe_path: str, source: Source, *, keep_kinds: bool, copy_owner: bool
    ) -> None:
        """Unpack a tar, compressed or not, into the directory at a path.

        keep_kinds: `noOverwriteDirNonDir`; copy_owner: `copyUIDGID`.
        """

    def copy_in(
        self,
        unsafe_ref: str,
        unsafe_path: str,
        descriptor: int,
        unsafe_name: str,
        *,
        keep_kinds: bool,
        copy_owner: bool,
    ) -> None:
        """Copy an open file or directory of this machine into the directory at a path."""

    def changes(self, unsafe_ref: str) -> Sequence[FilesystemChange]: ...


class Execs(Protocol):
    """Further programs in running containers."""

    def create(self, unsafe_container: str, config: ExecConfig) -> str: ...

    def start(
        self, exec_id: str, *, tty: bool, detach: bool, console_size: tuple[int, int] | None
    ) -> Handover | None:
        """Start it: detached at once (None), else when the connection is handed over."""

    def inspect(self, exec_id: str) -> ExecInspect: ...
    def resize(self, exec_id: str, *, rows: int, cols: int) -> None: ...


class Images(Protocol):
    """Images by reference or id."""

    def list(
        self,
        *,
        all: bool,  # noqa: A002 - the API's own word
        digests: bool,
        filters: Filters,
    ) -> Sequence[ImageSummary]: ...
    def inspect(self, unsafe_ref: str) -> ImageInspect: ...
    def history(self, unsafe_ref: str) -> Sequence[HistoryItem]: ...
    def tag(self, unsafe_ref: str, *, repository: str, tag: str) -> None: ...
    def remove(self, unsafe_ref: str, *, force: bool, prune_parents: bool) -> Sequence[DeletedImage]: ...

    def import_(
        self,
        source: Source,
        *,
        repository: str,
        tag: str,
        message: str,
        changes: builtins.list[str],
        platform: str | None,
    ) -> str:
        """Make an image of one layer; gives its id (`sha256:…`)."""

    def load(self, source: Source) -> Iterable[ProgressMessage]: ...
    def save(self, unsafe_refs: builtins.list[str], sink: Sink) -> None: ...

    def commit(
        self,
        unsafe_container: str,
        *,
        repository: str,
        tag: str,
        author: str,
        comment: str,
        changes: builtins.list[str],
        pause: bool,
        config: ContainerConfig | None,
    ) -> str:
        """Make an image of a container; gives its id (`sha256:…`)."""


class Volumes(Protocol):
    """Named volumes."""

    def create(self, request: VolumeCreateRequest) -> Volume: ...
    def list(self, filters: Filters) -> VolumeList: ...
    def inspect(self, unsafe_name: str) -> Volume: ...
    def remove(self, unsafe_name: str, *, force: bool) -> None: ...
    def prune(self, filters: Filters) -> VolumesPruned: ...


class Networks(Protocol):
    """The built-in networks."""

    def list(self, filters: Filters) -> Sequence[Network]: ...
    def inspect(self, unsafe_ref: str) -> Network: ...
    def prune(self, filters: Filters) -> NetworksPruned: ...


class System(Protocol):
    """The daemon as a whole."""

    def version(self) -> Version: ...
    def info(self) -> Info: ...
    def ping(self) -> PingFacts: ...
    def disk_usage(self, unsafe_kinds: builtins.list[str]) -> DiskUsage: ...

    def reset(self) -> None:
        """Remove everything Carboy made; the daemon ends afterwards."""


class Upkeep(Protocol):
    """Looking after what there is: figures, processes, limits, prunes."""

    def stats(
        self,
        unsafe_ref: str,
        *,
        stream: bool,
        one_shot: bool,
        deliver: Callable[[ContainerStats | None], None],
    ) -> Cancel:
        """Deliver figures from any thread: once, or each second until cancelled; None at the end."""

    def top(self, unsafe_ref: str, unsafe_arguments: str) -> ProcessList: ...
    def update(self, unsafe_ref: str, request: UpdateRequest) -> UpdateResponse: ...
    def prune_containers(self, filters: Filters) -> ContainersPruned: ...
    def prune_images(self, filters: Filters) -> ImagesPruned: ...
    def prune_build_cache(self, filters: Filters, options: CachePruneOptions) -> BuildCachePruned: ...


class Events(Protocol):
    """What happens."""

    def subscribe(
        self, since: int | None, until: int | None, filters: Filters, deliver: Callable[[Event], None]
    ) -> Cancel:
        """Deliver the past since `since`, then what comes, in order, from any thread.

        Moments are nanoseconds.  With an `until` in the past all is delivered before this returns;
        the API ends the stream when `until` has come.
        """


class BuildJob(Protocol):
    """One build, ready to run."""

    def run(self, source: Source, sink: Sink) -> None:
        """Read the context, write the messages; raises what goes wrong before the first one."""

    def cancel(self) -> None:
        """The client went away (or has everything); `run` ends soon."""


class BuildExport(Protocol):
    """A result of a build, to be fetched once."""

    def write(self, sink: Sink) -> None: ...
    def close(self) -> None: ...


class Builds(Protocol):
    """Images out of Dockerfiles."""

    def start(self, query: BuildQuery) -> BuildJob: ...

    def descriptors(self, options: BuildOptions) -> Sequence[tuple[int, bool]]:
        """The client's descriptors that `begin` takes, and whether each is of a directory."""

    def begin(self, options: BuildOptions, descriptors: Mapping[int, int]) -> str:
        """Announce a build; gives its ID.  Takes the descriptors (ours, by the client's number)."""

    def add_context(self, unsafe_build: str, unsafe_name: str, source: Source) -> None: ...
    def output(self, unsafe_build: str, index: int) -> BuildExport: ...
    def cancel(self, unsafe_build: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """Everything the API serves."""

    containers: Containers
    files: ContainerFiles
    execs: Execs
    images: Images
    volumes: Volumes
    networks: Networks
    system: System
    events: Events
    upkeep: Upkeep
    builds: Builds
