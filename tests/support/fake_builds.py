"""Builds of the engine in memory: what is asked for is kept, and told back."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping, Sequence

from carboy.api.backend import Sink, Source
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.build import BuildOptions, BuildQuery
from carboy.formats.dockerapi.progress import Aux, ProgressMessage, failure, line

IMAGE_ID = "sha256:" + "ab" * 32


class FakeJob:
    """Succeeds, unless the context or the target says otherwise."""

    def __init__(self, builds: FakeBuilds, query: BuildQuery) -> None:
        self._builds = builds
        self._query = query
        self.cancelled = threading.Event()

    def run(self, source: Source, sink: Sink) -> None:
        """Read everything; a target `missing` fails before the stream begins, `broken` in it."""
        if self._query.build:
            self._builds.take(self._query.build)
        size = 0
        while data := source.read(1 << 16):
            size += len(data)
        self._builds.received.append(size)
        if self._query.target == "missing":
            raise InvalidArgument("target stage missing could not be found")
        if self._query.target == "waiting":
            sink.write(line(ProgressMessage(stream="waiting\n")))
            self.cancelled.wait(10)
            self._builds.stopped.set()
            return
        sink.write(line(ProgressMessage(stream="Step 1/1 : FROM scratch\n")))
        if self._query.target == "broken":
            text = "The command '/bin/sh -c false' returned a non-zero code: 1"
            sink.write(line(failure(text, code=1)))
            return
        sink.write(line(ProgressMessage(aux=Aux(id=IMAGE_ID))))
        sink.write(line(ProgressMessage(stream=f"Successfully built {IMAGE_ID[7:19]}\n")))

    def cancel(self) -> None:
        """Stop waiting."""
        self.cancelled.set()


class FakeExport:
    """A tar of two empty blocks."""

    def write(self, sink: Sink) -> None:
        sink.write(bytes(1024))

    def close(self) -> None:
        """It holds nothing."""


class FakeBuilds:
    """`queries` and `received` tell what came; `announced` holds what `begin` was told."""

    def __init__(self) -> None:
        self.queries: list[BuildQuery] = []
        self.received: list[int] = []
        self.contexts: dict[tuple[str, str], int] = {}
        self.announced: dict[str, BuildOptions] = {}
        self.cancelled: list[str] = []
        self.stopped = threading.Event()

    def start(self, query: BuildQuery) -> FakeJob:
        self.queries.append(query)
        return FakeJob(self, query)

    def descriptors(self, options: BuildOptions) -> Sequence[tuple[int, bool]]:
        contexts = [*options.contexts.values()]
        return [(one.descriptor, one.kind == "directory") for one in contexts if one.descriptor >= 0]

    def begin(self, options: BuildOptions, descriptors: Mapping[int, int]) -> str:
        for descriptor in descriptors.values():
            os.close(descriptor)
        build = secrets.token_hex(16)
        self.announced[build] = options
        return build

    def take(self, unsafe_build: str) -> BuildOptions:
        """What was announced under this ID; once."""
        if unsafe_build not in self.announced:
            raise NotFound(f"No such build: {unsafe_build[:64]}")
        return self.announced.pop(unsafe_build)

    def add_context(self, unsafe_build: str, unsafe_name: str, source: Source) -> None:
        if unsafe_build not in self.announced:
            raise NotFound(f"No such build: {unsafe_build[:64]}")
        size = 0
        while data := source.read(1 << 16):
            size += len(data)
        self.contexts[unsafe_build, unsafe_name] = size

    def output(self, unsafe_build: str, index: int) -> FakeExport:
        if index:
            raise NotFound(f"No such output: {index} of build {unsafe_build[:64]}")
        return FakeExport()

    def cancel(self, unsafe_build: str) -> None:
        self.cancelled.append(unsafe_build)
