"""Builds without a kernel: steps that are functions, a reporter that remembers."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carboy.build.caching.cache import BuildCache
from carboy.build.executor import Executed, Job
from carboy.build.graph import Graph, Image, Run, Target, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Step, Value
from carboy.build.progress import Cancellation, Console
from carboy.build.request import BuildRequest
from carboy.build.session import EPOCH, Session, Workshop
from carboy.build.solver import Solved, Solver
from carboy.digest import Digest
from carboy.errors import Unsupported
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.oci import ImageDocument
from carboy.store.content import ContentStore
from carboy.store.layers import DirectoryLayers
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from support.archives import make_tar

Action = Callable[["FakeStep", Console], None]


class NoExecutor:
    """There is no kernel."""

    def execute(self, job: Job, console: Console) -> Executed:
        raise Unsupported(f"nothing is run here: {job.args}, {console.vertex.name}")


class Told:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.reasons: dict[str, tuple[str, ...]] = {}
        self.errors: dict[str, str] = {}

    def started(self, vertex: Vertex) -> None:
        self.events.append(("started", vertex.name))

    def cached(self, vertex: Vertex) -> None:
        self.events.append(("cached", vertex.name))

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None:
        self.reasons[vertex.name] = reasons

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        self.events.append((f"output {stream} {data!r}", vertex.name))

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None:
        self.events.append((f"progress {what} {current} {total}", vertex.name))

    def finished(self, vertex: Vertex, error: str) -> None:
        self.events.append(("finished", vertex.name))
        self.errors[vertex.name] = error

    def warning(self, vertex: Vertex | None, text: str) -> None:
        self.events.append((f"warning {text}", vertex.name if vertex else ""))

    def of(self, kind: str) -> list[str]:
        """The vertices of which this was told."""
        return [name for event, name in self.events if event == kind]


class FakeStep:
    """Writes a layer that holds its command's text; `false` in the arguments: no layer."""

    def __init__(self, workplace: Workplace, vertex: Vertex, session: Session) -> None:
        self._workplace = workplace
        self.vertex = vertex
        self.session = session

    @property
    def args(self) -> tuple[str, ...]:
        operation = self.vertex.operation
        assert isinstance(operation, Run)
        return operation.args

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        base = [value.identity for value in inputs if isinstance(value, Filesystem)]
        operation = self.vertex.operation
        assert isinstance(operation, Run)
        values = {"command": " ".join(self.args), **{f"input {n}": one for n, one in enumerate(base[1:], 1)}}
        if base:
            values["base"] = base[0]
        for variable in operation.env:
            name, _, value = variable.partition("=")
            values[f"variable {name}"] = value
        values.update(self._workplace.files)
        return Ingredients("run", values, cacheable="uncacheable" not in self.args)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        self._workplace.ran(self, console)
        base = inputs[0] if inputs else Filesystem()
        assert isinstance(base, Filesystem)
        layer = None if "false" in self.args else self._workplace.layer(" ".join(self.args))
        return Result(base.above(layer), layer, {"ran": self.vertex.name})


@dataclass
class Workplace:
    """A store, a cache and a solver whose steps are FakeSteps."""

    directory: Path
    slots: int = 3
    action: Action = field(default=lambda step, console: None)
    files: dict[str, str] = field(default_factory=dict)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.runs: list[str] = []
        self.paths = Paths(str(self.directory / "root"), str(self.directory / "run"))
        self.paths.create()
        self.layers = DirectoryLayers(self.paths)
        self.content = ContentStore(self.paths.blobs, self.paths.ingest)
        self._open()

    def reopen(self) -> None:
        """As after the daemon's death."""
        self.close()
        self._open()

    def _open(self) -> None:
        self.database = Database(self.paths.db)
        self.cache = BuildCache(self.database, self.layers, clock=lambda: self.now)
        self.solver = Solver(self.cache, make_step=self._make_step, slots=self.slots, clock=lambda: self.now)

    def close(self) -> None:
        self.solver.close()
        self.database.close()

    def _make_step(self, vertex: Vertex, session: Session) -> Step:
        return FakeStep(self, vertex, session)

    def ran(self, step: FakeStep, console: Console) -> None:
        with self._lock:
            self.runs.append(step.vertex.name)
        self.action(step, console)

    def layer(self, text: str) -> Digest:
        return self.layers.ingest(io.BytesIO(make_tar({"text": text.encode()}))).diff_id

    def session(
        self,
        request: BuildRequest | None = None,
        *,
        told: Told | None = None,
        contexts: Mapping[str, Value] | None = None,
    ) -> Session:
        return Session(
            workshop=Workshop(self.paths, self.database, self.layers, self.content, NoExecutor()),
            request=request or BuildRequest(context=None),
            contexts=contexts or {},
            epoch=EPOCH,
            proxies={},
            reporter=told or Told(),
            cancellation=Cancellation(),
        )

    def solve(self, graph: Graph, request: BuildRequest | None = None, *, told: Told | None = None) -> Solved:
        solved = self.solver.solve(graph, self.session(request, told=told))
        self.cache.flush()
        return solved


def target(vertex: int) -> Target:
    """A target at a vertex."""
    return Target(stage="", platform="linux/amd64", vertex=vertex, base=ImageDocument(), config=ImageConfig())


def chain(
    *commands: str, base: Image | None = None, ignore_cache: bool = False, stage: str = "stage"
) -> Graph:
    """FROM, and a RUN above the other."""
    vertices = [Vertex(index=0, operation=base or image(), name="FROM", stage=stage, instruction="FROM base")]
    for number, command in enumerate(commands, 1):
        vertices.append(run(number, command, number - 1, ignore_cache=ignore_cache, stage=stage))
    return Graph(vertices=tuple(vertices), targets=(target(len(commands)),))


def image(layer: str = "a" * 64, reference: str = "base") -> Image:
    """A base image of one layer."""
    return Image(
        reference=reference,
        image_id="sha256:" + "0" * 64,
        layers=(f"sha256:{layer}",),
        platform="linux/amd64",
    )


def run(
    index: int,
    command: str,
    *inputs: int,
    ignore_cache: bool = False,
    stage: str = "stage",
    env: tuple[str, ...] = (),
) -> Vertex:
    """One RUN."""
    return Vertex(
        index=index,
        operation=Run(args=tuple(command.split()), env=env),
        inputs=inputs,
        name=f"RUN {command}",
        stage=stage,
        line=index + 1,
        instruction=f"RUN {command}",
        ignore_cache=ignore_cache,
    )
