"""What a client that knows it is told of a build: everything, as it happens, as Traces."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from carboy.build.graph import Graph, Vertex
from carboy.engine.building.failures import Failure
from carboy.engine.building.messages import Outcome, Outlet
from carboy.formats.dockerapi.build import Trace, TraceMessage, TraceVertex
from carboy.formats.dockerapi.progress import Aux, ErrorDetail, ProgressMessage
from carboy.formats.dockerapi.wire import encode

_PROGRESS_SECONDS = 0.05


class Tracer:
    """A Narrator for `POST /build?build=ID`."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._started: dict[int, float] = {}
        self._told: dict[int, float] = {}

    def planned(self, graph: Graph, instructions: Sequence[tuple[int, str]]) -> None:
        """The whole plan."""
        del instructions
        vertices = [
            TraceVertex(
                index=vertex.index,
                name=vertex.name,
                stage=vertex.stage,
                line=vertex.line,
                instruction=vertex.instruction,
                inputs=list(vertex.inputs),
            )
            for vertex in graph.vertices
        ]
        self._tell(Trace(kind="vertices", vertices=vertices))
        for text in graph.warnings:
            self._tell(Trace(kind="warning", text=text))

    def succeeded(self, outcome: Outcome) -> None:
        """What was made."""
        self._tell(
            Trace(
                kind="result",
                images=list(outcome.images),
                outputs=list(outcome.outputs),
                seconds=round(outcome.seconds, 4),
                record=outcome.record,
            )
        )
        for image in outcome.images:
            self._outlet.send(ProgressMessage(aux=Aux(id=image.id)))

    def failed(self, failure: Failure) -> None:
        """Why nothing was made."""
        self._tell(
            Trace(
                kind="failed",
                text=failure.text,
                line=failure.line,
                excerpt=failure.excerpt,
                exit_code=failure.exit_code,
            )
        )
        detail = ErrorDetail(code=failure.exit_code, message=failure.text)
        self._outlet.send(ProgressMessage(error=failure.text, error_detail=detail))

    def started(self, vertex: Vertex) -> None:
        """It runs."""
        self._started[vertex.index] = time.monotonic()
        self._tell(Trace(kind="started", vertex=vertex.index))

    def cached(self, vertex: Vertex) -> None:
        """It need not be run."""
        self._tell(Trace(kind="cached", vertex=vertex.index))

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None:
        """Why it ran, or did not."""
        self._tell(Trace(kind="explained", vertex=vertex.index, reasons=list(reasons)))

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """What a program printed."""
        self._tell(Trace(kind="output", vertex=vertex.index, stream=stream, data=data))

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None:
        """How far a transfer is, some times a second."""
        now = time.monotonic()
        if now - self._told.get(vertex.index, 0.0) < _PROGRESS_SECONDS and current != total:
            return
        self._told[vertex.index] = now
        self._tell(Trace(kind="progress", vertex=vertex.index, text=what, current=current, total=total))

    def finished(self, vertex: Vertex, error: str) -> None:
        """It ended."""
        begin = self._started.get(vertex.index)
        seconds = 0.0 if begin is None else time.monotonic() - begin
        self._tell(Trace(kind="finished", vertex=vertex.index, seconds=round(seconds, 4), text=error))

    def warning(self, vertex: Vertex | None, text: str) -> None:
        """Something to be known."""
        self._tell(Trace(kind="warning", vertex=-1 if vertex is None else vertex.index, text=text))

    def _tell(self, trace: Trace) -> None:
        trace.time = round(time.monotonic() - self._begin, 4)
        data = encode(TraceMessage(aux=trace)) + b"\r\n"
        with self._lock:
            self._outlet.raw(data)
