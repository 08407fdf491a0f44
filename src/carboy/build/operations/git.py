"""`ADD https://….git#ref`."""

from __future__ import annotations

from collections.abc import Sequence

from carboy.build.graph import Git, Vertex
from carboy.build.operation import Ingredients, Result, Value
from carboy.build.progress import Console
from carboy.build.session import Session
from carboy.errors import Unsupported


class GitStep:
    """Fulfils operation.Step for graph.Git."""

    def __init__(self, vertex: Vertex, session: Session) -> None:
        assert isinstance(vertex.operation, Git)
        self._vertex = vertex
        self._operation = vertex.operation
        self._session = session

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:  # noqa: ARG002
        """The commit that the ref means now."""
        raise Unsupported("git repositories come in a moment")

    def run(self, inputs: Sequence[Value], console: Console) -> Result:  # noqa: ARG002
        """Fetch it."""
        raise Unsupported("git repositories come in a moment")
