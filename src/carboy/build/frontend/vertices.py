"""The vertices of a graph as it grows: an operation with the same inputs is there once.

Stages that are alike, and those of another platform that do not depend on it, share their vertices; the
first one gives the name.
"""

from __future__ import annotations

from dataclasses import dataclass

from carboy.build.graph import Operation, Vertex
from carboy.errors import InvalidArgument

MOST = 64 << 20
"""Bytes, roughly, that a graph may hold: a file of a megabyte can ask for any number of copies of itself."""
ENTRY = 64
"""What an entry of a list or map counts besides its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an operation stands, for people."""

    name: str
    stage: str = ""
    line: int = 0
    instruction: str = ""
    ignore_cache: bool = False


class Vertices:
    """Grows; indexes stay."""

    def __init__(self) -> None:
        self._vertices: list[Vertex] = []
        self._known: dict[tuple[Operation, tuple[int, ...], bool], int] = {}
        self._left = MOST

    def weigh(self, size: int) -> None:
        """Count what is about to be kept; raises InvalidArgument when it is too much in all."""
        self._left -= size
        if self._left < 0:
            raise InvalidArgument(
                f"what the Dockerfile comes to is larger than {MOST >> 20} MiB: "
                "it has too many or too large variables, labels or ports for its number of steps"
            )

    def add(self, operation: Operation, inputs: tuple[int, ...], place: Place) -> int:
        """The index of this operation on these inputs."""
        key = (operation, inputs, place.ignore_cache)
        found = self._known.get(key)
        if found is not None:
            return found
        index = len(self._vertices)
        self._known[key] = index
        self._vertices.append(
            Vertex(
                index=index,
                operation=operation,
                inputs=inputs,
                name=place.name,
                stage=place.stage,
                line=place.line,
                instruction=place.instruction,
                ignore_cache=place.ignore_cache,
            )
        )
        return index

    def all(self) -> tuple[Vertex, ...]:
        """In an order in which each stands behind its inputs."""
        return tuple(self._vertices)


def input_number(inputs: list[int], vertex: int) -> int:
    """The place of a source among the inputs of a vertex; the first is the filesystem, whatever it is."""
    if vertex not in inputs[1:]:
        inputs.append(vertex)
    return inputs.index(vertex, 1)
