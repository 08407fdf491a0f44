"""One build under way: what its steps share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carboy.build.executor import Executor
from carboy.build.operation import Value
from carboy.build.progress import Cancellation, Reporter
from carboy.build.request import BuildRequest
from carboy.store.content import ContentStore
from carboy.store.layers import LayerStore
from carboy.store.metadata import Database
from carboy.store.paths import Paths


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all builds share: made once by the engine."""

    paths: Paths
    database: Database
    layers: LayerStore
    content: ContentStore
    executor: Executor


@dataclass(frozen=True, slots=True)
class Session:
    """One build.  Its contexts are open for as long as it runs; its layers are held by a lease."""

    workshop: Workshop
    request: BuildRequest
    contexts: Mapping[str, Value]
    """By name, "" the main one: a LocalTree, or the Filesystem of an archive or repository."""
    epoch: int
    """All times: SOURCE_DATE_EPOCH, else the commit time of a clean git context, else EPOCH."""
    proxies: Mapping[str, str]
    """Proxy variables for RUN, that enter nothing."""
    reporter: Reporter
    cancellation: Cancellation
    made: Callable[[int, Value], None] | None = None
    """Called with each vertex's index and value when it has one; from several threads, not for long."""


EPOCH = 315_619_200
"""The constant that times have when nothing else says: 2 January 1980, because zip archives (and so Python
wheels that are built of the files) cannot hold earlier times in any time zone."""
