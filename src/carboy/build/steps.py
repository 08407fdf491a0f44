"""From the operations of a graph to what does them.

Each module is imported when a build first needs it: a daemon that does not build pays for none.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from carboy.build.graph import Context, Directory, Files, Git, Http, Image, Operation, Run, Scratch, Vertex
from carboy.build.operation import Filesystem, Step, Value
from carboy.build.session import Session
from carboy.digest import Digest
from carboy.errors import NotFound

Given: TypeAlias = Image | Scratch | Context
"""Operations that do nothing: their value is there from the beginning."""


def make_step(vertex: Vertex, session: Session) -> Step:
    """What does the vertex' operation, which must not be a Given."""
    # Imported by need: a build loads only the operations that it has.
    match vertex.operation:
        case Files():
            from carboy.build.operations.files import FilesStep

            return FilesStep(vertex, session)
        case Directory():
            from carboy.build.operations.directory import DirectoryStep

            return DirectoryStep(vertex, session)
        case Run():
            from carboy.build.operations.run import RunStep

            return RunStep(vertex, session)
        case Http():
            from carboy.build.operations.http import HttpStep

            return HttpStep(vertex, session)
        case Git():
            from carboy.build.operations.git import GitStep

            return GitStep(vertex, session)
        case Image() | Scratch() | Context():
            raise ValueError(f"{vertex.name} is given, and no step")
        case _:
            assert_never(vertex.operation)


def is_given(operation: Operation) -> bool:
    """Whether `given_value` knows it, and `make_step` does not."""
    return isinstance(operation, Given)


def given_value(operation: Operation, session: Session) -> Value:
    """The value of an operation that does nothing."""
    match operation:
        case Image(layers=layers):
            return Filesystem(tuple(Digest.parse(layer) for layer in layers))
        case Context(name=name):
            context = session.contexts.get(name)
            if context is None:
                raise NotFound(
                    f"the build has no context named {name!r}" if name else "the build has no context"
                )
            return context
        case _:
            return Filesystem()
