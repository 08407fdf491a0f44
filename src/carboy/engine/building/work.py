"""One build, from its contexts to its outputs: straight on, each step once.

contexts ─▶ Dockerfile ─▶ graph ─▶ solver ─▶ results
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from carboy.build.exporters.compressing import Compressing
from carboy.build.frontend.addresses import redacted
from carboy.build.frontend.drawing import FrontendRequest, draw
from carboy.build.frontend.inputs import Bases
from carboy.build.graph import Context, Graph, in_images
from carboy.build.operation import Filesystem, Value
from carboy.build.progress import Cancellation
from carboy.build.records import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    BuildRecord,
    BuildRecords,
    ImageRecord,
    bases_of,
    steps_of,
    summary_of,
)
from carboy.build.request import BuildRequest, ImageContext
from carboy.build.session import EPOCH, Session, Workshop
from carboy.build.solver import Solved, Solver
from carboy.build.sources.contexts import ContextOpener, OpenedContext
from carboy.build.sources.images import emulation
from carboy.build.sources.reading import read_dockerfile
from carboy.digest import Digest
from carboy.engine.building.cachelocations import CacheLocations
from carboy.engine.building.messages import Narrator, Outcome
from carboy.engine.building.requests import LATEST
from carboy.engine.building.results import Finisher, Results
from carboy.formats.dockerfile.stages import Document, Platforms, plan, read_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a build is done with."""

    workshop: Workshop
    solver: Solver
    finisher: Finisher
    bases: Callable[[BuildRequest, Callable[[str], None]], Bases]
    host_platform: str
    records: BuildRecords
    locations: CacheLocations


@dataclass(slots=True)
class Work:
    """See the module; what it has come to so far is there when it fails."""

    tools: Tools
    request: BuildRequest
    proxies: Mapping[str, str]
    narrator: Narrator
    cancellation: Cancellation
    text: str = ""
    """The Dockerfile."""
    name: str = "Dockerfile"
    epoch: int = EPOCH
    graph: Graph | None = None
    solved: Solved | None = None
    opened: dict[str, OpenedContext] = field(default_factory=dict)
    failed: bool = False
    """By a step, not by being cancelled."""
    parsed: bool = False
    """The Dockerfile can be read: what goes wrong from here on is the build's, not the request's."""
    begin: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.time)

    def prepare(self) -> Document:
        """The main context and the Dockerfile, read; raises what is wrong with them."""
        bases = self._bases()
        opener = self._opener(bases)
        request = self.request
        main = opener.open(request.context, dockerfile_name=request.dockerfile_name, ignore=request.ignore)
        self.opened[""] = main
        self.cancellation.check()
        if request.dockerfile is not None:
            self.name, data = request.dockerfile_name or "Dockerfile", request.dockerfile
        elif main.dockerfile is not None:
            data = main.dockerfile
        else:
            self.name, data = read_dockerfile(
                main.origin, self.tools.workshop.layers, request.dockerfile_name
            )
        self.text = data.decode("utf-8", "replace")
        if request.epoch is not None:
            self.epoch = request.epoch
        elif main.commit_time is not None and main.commit_time <= LATEST:
            self.epoch = main.commit_time  # a later one, which git allows, tells nothing
        document = read_document(data)
        self.parsed = True
        return document

    def carry_out(self, document: Document) -> Results:
        """The graph, its values, and what is made of them."""
        request, check = self.request, self.cancellation.check
        bases = self._bases()
        graph = self.graph = draw(document, self._plan_request(), bases)
        self.narrator.planned(graph, _instructions(document, request, graph))
        for platform in dict.fromkeys(target.platform for target in graph.targets):
            told = emulation(platform, self.tools.host_platform)
            if told:
                self.narrator.warning(None, told)
        self._open_named(graph, bases)
        check()
        with closing(self.tools.finisher.compressing(request, check)) as compressing:
            solved = self.solved = self._solve(graph, compressing)
            check()
            return self.tools.finisher.finish(
                request,
                graph,
                solved,
                epoch=self.epoch,
                extras=self.tools.locations.export(request, graph, solved),
                compressing=compressing,
                check=check,
            )

    def _solve(self, graph: Graph, compressing: Compressing) -> Solved:
        exported = in_images(graph)

        def made(index: int, value: Value) -> None:
            if index in exported and isinstance(value, Filesystem):
                compressing.begin(value.layers)

        session = Session(
            workshop=self.tools.workshop,
            request=self.request,
            contexts={name: context.value for name, context in self.opened.items()},
            epoch=self.epoch,
            proxies=self.proxies,
            reporter=self.narrator,
            cancellation=self.cancellation,
            made=made,
        )
        sources = self.tools.locations.sources(self.request, lambda text: self.narrator.warning(None, text))
        return self.tools.solver.solve(graph, session, sources=sources)

    def outcome(self, results: Results, record: str) -> Outcome:
        """For the narrator's last words."""
        return Outcome(results.images, results.outputs, time.monotonic() - self.begin, record)

    def record(self, build: str, results: Results | None, error: str) -> BuildRecord:
        """What is remembered of it."""
        graph, solved = self.graph, self.solved
        status = SUCCEEDED if results is not None else FAILED
        if results is None and self.cancellation.requested and solved is None and not self.failed:
            status = CANCELLED
        vertices = {} if graph is None else {(one.stage, one.platform): one.vertex for one in graph.targets}
        return BuildRecord(
            id=build,
            started_at=self.began_at,
            ended_at=time.time(),
            status=status,
            error=error,
            epoch=self.epoch,
            dockerfile=redacted(self.text),
            request=summary_of(self.request),
            contexts={name: dict(context.record) for name, context in sorted(self.opened.items())},
            bases=bases_of(graph) if graph is not None else (),
            steps=steps_of(graph, solved) if graph is not None and solved is not None else (),
            images=tuple(
                ImageRecord(
                    id=image.id,
                    target=image.target,
                    platform=image.platform,
                    vertex=vertices.get((image.target, image.platform), -1),
                    names=tuple(image.names),
                )
                for image in (results.images if results is not None else ())
            ),
            encoders=tuple(
                sorted(
                    {one.encoder for one in (results.outputs if results is not None else ()) if one.encoder}
                )
            ),
        )

    def layers(self) -> list[Digest]:
        """Every layer that was met: some may be garbage now."""
        values: list[Value] = []
        for context in self.opened.values():
            values += [context.value, context.origin]
        if self.solved is not None:
            values += self.solved.values.values()
        found: dict[Digest, None] = {}
        for value in values:
            if isinstance(value, Filesystem):
                found.update(dict.fromkeys(value.layers))
        return list(found)

    def _plan_request(self) -> FrontendRequest:
        request = self.request
        return FrontendRequest(
            arguments=request.arguments,
            labels=request.labels,
            targets=request.targets,
            platforms=request.platforms,
            contexts={
                name: context.reference if isinstance(context, ImageContext) else ""
                for name, context in request.contexts.items()
            },
            no_cache=request.no_cache,
            no_cache_filter=request.no_cache_filter,
            network=request.network,
            epoch=request.epoch,
            host_platform=self.tools.host_platform,
        )

    def _bases(self) -> Bases:
        return self.tools.bases(self.request, lambda text: self.narrator.warning(None, text))

    def _opener(self, bases: Bases) -> ContextOpener:
        return ContextOpener(
            workshop=self.tools.workshop,
            bases=bases,
            cancellation=self.cancellation,
            proxies=self.proxies,
            agents=self.request.agents,
            secrets=self.request.secrets,
        )

    def _open_named(self, graph: Graph, bases: Bases) -> None:
        """The contexts that the graph takes files from; others are never fetched."""
        opener = self._opener(bases)
        for vertex in graph.vertices:
            operation = vertex.operation
            if isinstance(operation, Context) and operation.name and operation.name not in self.opened:
                context = self.request.contexts.get(operation.name)
                if context is not None:
                    self.opened[operation.name] = opener.open(context)


def _instructions(document: Document, request: BuildRequest, graph: Graph) -> list[tuple[int, str]]:
    """(line, text) of every instruction that the targets need, in the order of the file."""
    platform = graph.targets[0].platform if graph.targets else "linux/amd64"
    planned = plan(
        document,
        arguments=request.arguments,
        platforms=Platforms(platform, platform),
        targets=request.targets,
        contexts=tuple(request.contexts),
    )
    found: list[tuple[int, str]] = []
    for index in sorted(planned.reachable):
        stage = planned.stages[index]
        for instruction in (stage.start, *stage.instructions):
            found.append((instruction.node.line, redacted(instruction.node.source)))
    return found
