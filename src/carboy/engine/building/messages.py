"""What a client is told of a build: Docker's messages, in the order of the Dockerfile.

Steps run side by side, but a classic client shows one list: what a later step says is held back until
all before it have ended, up to a bound.  A slow client slows the build down; one that is gone ends it.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from carboy.build.graph import Context, Graph, Image, Scratch, Vertex
from carboy.build.progress import Reporter
from carboy.engine.building.failures import Failure
from carboy.errors import Cancelled
from carboy.formats.dockerapi.build import TraceImage, TraceOutput
from carboy.formats.dockerapi.progress import Aux, ErrorDetail, ProgressDetail, ProgressMessage, line

Write = Callable[[bytes], None]

_HELD = 1 << 20
"""Characters of a step, or of a quiet build, that are held back."""
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build went."""

    images: Sequence[TraceImage]
    outputs: Sequence[TraceOutput]
    seconds: float
    record: str = ""


class Narrator(Reporter, Protocol):
    """Told by the solver of its steps, and by the service of the rest."""

    def planned(self, graph: Graph, instructions: Sequence[tuple[int, str]]) -> None:
        """What will be done; instructions are (line, text) of all stages that are needed."""
        ...

    def succeeded(self, outcome: Outcome) -> None: ...

    def failed(self, failure: Failure) -> None: ...


class Outlet:
    """Where messages go: after the client has left, nowhere."""

    def __init__(self, write: Write, gone: Callable[[str], None]) -> None:
        self._write = write
        self._gone = gone
        self._closed = False
        self.used = False
        """Something has been sent: a status cannot be any more."""

    def send(self, message: ProgressMessage) -> None:
        """One message."""
        self.raw(line(message))

    def raw(self, data: bytes) -> None:
        """The bytes of messages."""
        if self._closed:
            return
        self.used = True
        try:
            self._write(data)
        except (Cancelled, OSError):
            self._closed = True
            self._gone("the client went away")


@dataclass(slots=True)
class _Item:
    """One line of Docker's list."""

    text: str
    note: str = ""
    waiting: set[int] = field(default_factory=set)
    held: list[ProgressMessage] = field(default_factory=list)
    size: int = 0
    told: float = 0.0


class Classic:
    """Docker's own stream."""

    def __init__(self, outlet: Outlet, *, quiet: bool = False) -> None:
        self._outlet = outlet
        self._quiet = quiet
        self._lock = threading.RLock()
        self._items: list[_Item] = []
        self._by_line: dict[int, int] = {}
        self._by_vertex: dict[int, int] = {}
        self._front = 0
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}
        self._kept: deque[ProgressMessage] = deque()
        self._kept_size = 0

    # Of the whole build

    def planned(self, graph: Graph, instructions: Sequence[tuple[int, str]]) -> None:
        """Number the steps, and tell the ones that take no time."""
        with self._lock:
            for number, text in instructions:
                self._by_line.setdefault(number, len(self._items))
                self._items.append(_Item(text))
            for vertex in graph.vertices:
                place = self._by_line.get(vertex.line)
                if place is None:
                    continue
                self._by_vertex[vertex.index] = place
                if isinstance(vertex.operation, Image):
                    self._items[place].note = f" ---> {vertex.operation.image_id.partition(':')[2][:12]}\n"
                elif not isinstance(vertex.operation, Scratch | Context):
                    self._items[place].waiting.add(vertex.index)
            for text in graph.warnings:
                self._say(_warned(text))
            self._open(self._front)
            self._advance()

    def succeeded(self, outcome: Outcome) -> None:
        """The last messages."""
        with self._lock:
            self._front = len(self._items)
            for image in outcome.images:
                self._outlet.send(ProgressMessage(aux=Aux(id=image.id)))
                if self._quiet:
                    self._outlet.send(ProgressMessage(stream=f"{image.id}\n"))
                    continue
                self._say(f"Successfully built {image.id.partition(':')[2][:12]}\n")
                for name in image.names:
                    self._say(f"Successfully tagged {name}\n")

    def failed(self, failure: Failure) -> None:
        """The last message of a build that failed."""
        with self._lock:
            # What other steps said does not matter any more; what the failed one did tells why.
            place = self._by_line.get(failure.line, self._front)
            if place > self._front:
                self._open(place)
            for item in self._items:
                item.held.clear()
            for message in self._kept:
                self._outlet.send(message)
            self._kept.clear()
            detail = ErrorDetail(code=failure.exit_code, message=failure.text)
            self._outlet.send(ProgressMessage(error=failure.text, error_detail=detail))

    # Of its steps

    def started(self, vertex: Vertex) -> None:
        """Nothing is said: Docker's line stands there already, or will."""

    def cached(self, vertex: Vertex) -> None:
        """It need not be run."""
        self._step(vertex, ProgressMessage(stream=" ---> Using cache\n"))

    def explained(self, vertex: Vertex, reasons: tuple[str, ...]) -> None:
        """Only a trace tells why."""

    def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """What a program printed."""
        with self._lock:
            decoder = self._decoders.get((vertex.index, stream))
            if decoder is None:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                self._decoders[vertex.index, stream] = decoder
            text = decoder.decode(data)
            if text:
                self._step(vertex, ProgressMessage(stream=text))

    def progress(self, vertex: Vertex, what: str, current: int, total: int) -> None:
        """How far a transfer is, a few times a second."""
        with self._lock:
            place = self._by_vertex.get(vertex.index)
            if place is None or place != self._front or self._quiet or not (current or total):
                return
            now = time.monotonic()
            item = self._items[place]
            if now - item.told < _PROGRESS_SECONDS and current != total:
                return
            item.told = now
            detail = ProgressDetail(current=current, total=total)
            self._outlet.send(ProgressMessage(status=what, id=f"step {place + 1}", progress_detail=detail))

    def finished(self, vertex: Vertex, error: str) -> None:
        """It ended; how a failed one did is told by `failed`."""
        with self._lock:
            for stream in (1, 2):
                self._decoders.pop((vertex.index, stream), None)
            place = self._by_vertex.get(vertex.index)
            if place is None or error:
                return
            self._items[place].waiting.discard(vertex.index)
            self._advance()

    def warning(self, vertex: Vertex | None, text: str) -> None:
        """Something to be known."""
        message = ProgressMessage(stream=_warned(text))
        with self._lock:
            if vertex is None:
                self._send(message)
            else:
                self._step(vertex, message)

    # Inside

    def _step(self, vertex: Vertex, message: ProgressMessage) -> None:
        with self._lock:
            place = self._by_vertex.get(vertex.index, self._front)
            if place <= self._front:
                self._send(message)
                return
            item = self._items[place]
            item.held.append(message)
            item.size += len(message.stream or "")
            if item.size > _HELD:  # out of order is better than without bound
                self._release(item)

    def _advance(self) -> None:
        while self._front < len(self._items) and not self._items[self._front].waiting:
            self._front += 1
            self._open(self._front)

    def _open(self, place: int) -> None:
        if place >= len(self._items):
            return
        item = self._items[place]
        self._say(f"Step {place + 1}/{len(self._items)} : {item.text}\n")
        if item.note:
            self._say(item.note)
        self._release(item)

    def _release(self, item: _Item) -> None:
        for message in item.held:
            self._send(message)
        item.held.clear()
        item.size = 0

    def _say(self, text: str) -> None:
        self._send(ProgressMessage(stream=text))

    def _send(self, message: ProgressMessage) -> None:
        if not self._quiet:
            self._outlet.send(message)
            return
        self._kept.append(message)
        self._kept_size += len(message.stream or "")
        while self._kept_size > _HELD:
            self._kept_size -= len(self._kept.popleft().stream or "")


def _warned(text: str) -> str:
    return text + "\n" if text.startswith("[Warning]") else f"[Warning] {text}\n"
