"""Builds as the API sees them; fulfils `api.backend.Builds`.

A build holds all layers and blobs while it runs, by one lease; what it leaves behind is collected when
it has ended.  Any number run at once: the solver bounds how many steps do.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

from msgspec import UNSET

from carboy.build.frontend.addresses import redacted
from carboy.build.progress import Cancellation
from carboy.build.request import AnyContext, RemoteContext, TarContext
from carboy.build.solver import StepError
from carboy.engine.building.bench import Announced, Bench, Fetched
from carboy.engine.building.failures import failure_of
from carboy.engine.building.messages import Classic, Narrator, Outlet
from carboy.engine.building.requests import (
    Descriptors,
    build_request,
    context_of,
    named_descriptors,
    proxies_of,
)
from carboy.engine.building.results import Results
from carboy.engine.building.traces import Tracer
from carboy.engine.building.work import Tools, Work
from carboy.engine.images.service import ImageService
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.dockerapi.build import BuildOptions, BuildQuery
from carboy.formats.dockerfile.source import DockerfileError
from carboy.linux.memory import malloc_trim
from carboy.store.archiveout import Sink
from carboy.store.content import storage_error, write_all
from carboy.store.gc import ANY, BLOB, LAYER, Key
from carboy.store.paths import Paths

_log = logging.getLogger(__name__)
_PIECE = 1 << 18
_PATIENCE = 20.0
_SELDOM = 32
"""Builds after which old records are looked for."""
_LARGEST = 1 << 40
"""Bytes of a context that is sent: as of a layer."""


class Source(Protocol):
    """What a client sends."""

    def read(self, size: int, /) -> bytes: ...
    def fileno(self) -> int | None: ...


class Builder:
    """See the module."""

    def __init__(
        self,
        paths: Paths,
        images: ImageService,
        tools: Tools,
        *,
        proxies: Mapping[str, str],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._paths = paths
        self._images = images
        self.tools = tools
        self._proxies = proxies
        self._after = after
        self.bench = Bench()
        self._changed = threading.Condition()
        self._running = 0
        self._ended = 0
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="build-behind")

    # Before a build

    def begin(self, options: BuildOptions, descriptors: Mapping[int, int]) -> str:
        """Announce one; takes the descriptors (ours, by the client's number), in any case."""
        announced = Announced(options, dict(descriptors))
        try:
            for number, is_directory in named_descriptors(options):
                if is_directory and not stat.S_ISDIR(os.fstat(descriptors[number]).st_mode):
                    raise InvalidArgument(f"the descriptor {number} is of no directory")
            return self.bench.announce(announced)
        except BaseException:
            announced.close()
            raise

    def descriptors(self, options: BuildOptions) -> list[tuple[int, bool]]:
        """The client's descriptors that `begin` needs, and whether each is of a directory."""
        return named_descriptors(options)

    def add_context(self, unsafe_build: str, unsafe_name: str, source: Source) -> None:
        """Receive the tar of a context."""
        self.bench.check(unsafe_build, unsafe_name)
        descriptor = self._receive(source)
        if descriptor is None:
            raise InvalidArgument(f"no archive came for the context {unsafe_name[:80]!r}")
        self.bench.add_context(unsafe_build, unsafe_name, descriptor)

    # The build

    def start(self, query: BuildQuery) -> Job:
        """One that is ready to run: nothing has been read yet."""
        return Job(self, query)

    def cancel(self, unsafe_build: str) -> None:
        """Ask one to stop; quietly when there is none (any more), as Docker."""
        self.bench.cancel(unsafe_build)

    def output(self, unsafe_build: str, index: int) -> Fetched:
        """A result, to be written and closed."""
        return self.bench.fetch(unsafe_build, index)

    def close(self) -> None:
        """Stop everything, and wait for it for a while."""
        self.bench.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, _PATIENCE)
        self._behind.shutdown(wait=True)

    # Inside: one build

    def run(self, query: BuildQuery, cancellation: Cancellation, source: Source, sink: Sink) -> None:
        """Do it; errors before the stream begins are raised, later ones are told in it."""
        with self._changed:
            self._running += 1
        try:
            with ExitStack() as stack:
                self._run(stack, query, cancellation, source, sink)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _run(
        self, stack: ExitStack, query: BuildQuery, cancellation: Cancellation, source: Source, sink: Sink
    ) -> None:
        announced = self.bench.take(query.build) if query.build else Announced(BuildOptions())
        stack.callback(announced.close)
        build = query.build or query.build_id or secrets.token_hex(16)
        self.bench.run(build, cancellation)
        stack.callback(self.bench.ended, build)
        outlet = Outlet(sink.write, cancellation.cancel)
        traced = bool(query.build)
        narrator: Narrator = Tracer(outlet) if traced else Classic(outlet, quiet=query.quiet)
        work: Work | None = None
        try:
            work = self._work(query, announced, source, narrator, cancellation)
            self._collect_after(stack, work)
            stack.enter_context(self._images.leases.hold([(LAYER, ANY), (BLOB, ANY)]))
            document = work.prepare()
            for text in query.warnings:
                narrator.warning(None, text)
            results = work.carry_out(document)
            self._keep(build, results)
            narrator.succeeded(work.outcome(results, build))
            self._remember(work, build, results)
        except Exception as error:
            if work is not None and work.parsed:
                work.failed = isinstance(error, StepError)
                self._remember(work, build, None, str(error))
            # As Docker: what is wrong with the request and its Dockerfile has a status, the rest is told.
            parsed = work is not None and work.parsed
            if not traced and (not parsed or isinstance(error, DockerfileError)) and not outlet.used:
                raise
            if not isinstance(error, CarboyError):
                _log.exception("a fault in the build %s", build)
            text, name = (work.text, work.name) if work is not None else ("", "Dockerfile")
            narrator.failed(failure_of(error, redacted(text), name=name))

    def _work(
        self,
        query: BuildQuery,
        announced: Announced,
        source: Source,
        narrator: Narrator,
        cancellation: Cancellation,
    ) -> Work:
        options = announced.options
        descriptors = Descriptors(announced.descriptors)
        request = build_request(
            query,
            options,
            context=self._main_context(query, announced, descriptors, source),
            contexts={
                name: context_of(given, name, descriptors, announced.sent)
                for name, given in options.contexts.items()
            },
            descriptors=descriptors,
        )
        return Work(self.tools, request, proxies_of(query, options, self._proxies), narrator, cancellation)

    def _main_context(
        self, query: BuildQuery, announced: Announced, descriptors: Descriptors, source: Source
    ) -> AnyContext | None:
        options = announced.options
        if options.empty:
            return None
        if options.context is not UNSET:
            return context_of(options.context, "", descriptors, announced.sent)
        if query.remote:
            return RemoteContext(url=query.remote)
        if "" not in announced.sent:
            received = self._receive(source)
            if received is None:
                if query.build and options.dockerfile is not UNSET:
                    return None
                raise InvalidArgument(
                    "the build context is empty: send a tar in the request's body, or name it by remote="
                )
            announced.sent[""] = received
        return TarContext(descriptor=announced.sent[""])

    def _receive(self, source: Source) -> int | None:
        """What a client sends, in a file without a name; None when it is nothing."""
        given = source.fileno()
        if given is not None:
            return os.dup(given)
        try:
            descriptor = os.open(self._paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, "receive the build context") from error
        try:
            size = _fill(descriptor, source)
            if not size:
                os.close(descriptor)
                return None
            os.lseek(descriptor, 0, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _keep(self, build: str, results: Results) -> None:
        """Hold what the client will fetch, and its layers."""
        if not results.exports:
            return
        stack = ExitStack()
        items: list[Key] = [(LAYER, str(layer)) for layer in results.layers]
        stack.callback(self._images.collect, items)
        stack.enter_context(self._images.leases.hold(items))
        for export in results.exports.values():
            stack.callback(export.close)
        self.bench.keep(build, results.exports, stack)

    def _remember(self, work: Work, build: str, results: Results | None, error: str = "") -> None:
        """Keep the record, beside whatever comes next: the client does not wait for it."""

        def put() -> None:
            try:
                self.tools.records.put(work.record(build, results, error))
                self._ended += 1
                if self._ended % _SELDOM == 0:
                    images = {str(record.id) for record in self._images.records.all()}
                    self.tools.records.trim(images=images)
                    self.tools.solver.cache.history.sweep()
            except (CarboyError, OSError):
                _log.exception("the record of build %s", build)

        self._behind.submit(put)

    def _collect_after(self, stack: ExitStack, work: Work) -> None:
        """Entered before the lease, so that it is left after it."""

        def collect() -> None:
            self._images.collect([(LAYER, str(layer)) for layer in work.layers()])
            self._after()
            self._behind.submit(malloc_trim)  # what a large context took would stay with us for ever

        stack.callback(collect)


class Job:
    """One build that the API runs on a thread of its own."""

    def __init__(self, builder: Builder, query: BuildQuery) -> None:
        self._builder = builder
        self._query = query
        self._cancellation = Cancellation()

    def run(self, source: Source, sink: Sink) -> None:
        """Read the context from `source`, write the messages to `sink`."""
        self._builder.run(self._query, self._cancellation, source, sink)

    def cancel(self) -> None:
        """The client went away."""
        self._cancellation.cancel("the client went away")


def _fill(descriptor: int, source: Source) -> int:
    size = 0
    while data := source.read(_PIECE):
        size += len(data)
        if size > _LARGEST:
            raise InvalidArgument(f"the build context has more than {_LARGEST} bytes")
        write_all(descriptor, data, "receive the build context")
    return size
