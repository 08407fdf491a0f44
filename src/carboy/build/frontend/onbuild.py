"""ONBUILD of base images: the instructions that come before a stage's own.

They are texts of an image's config, so of anybody: each must be one instruction, of those that a Dockerfile
may leave, and what is wrong with it is said at the FROM that brought it.
"""

from __future__ import annotations

from collections.abc import Sequence

from carboy.formats.dockerfile.grammar import parse_instruction
from carboy.formats.dockerfile.instructions import AnyInstruction, From
from carboy.formats.dockerfile.nodes import parse_nodes
from carboy.formats.dockerfile.source import DockerfileError

MOST_TRIGGERS = 1000
_REFUSED = ("ONBUILD", "FROM", "MAINTAINER")


def read_triggers(unsafe_texts: Sequence[str], start: From) -> tuple[AnyInstruction, ...]:
    """The instructions of an image's triggers; raises DockerfileError."""
    if len(unsafe_texts) > MOST_TRIGGERS:
        raise DockerfileError(
            f"the image {start.base} has more than {MOST_TRIGGERS} ONBUILD triggers", start.node.whole_span
        )
    return tuple([_read(text, start) for text in unsafe_texts])


def _read(unsafe_text: str, start: From) -> AnyInstruction:
    try:
        nodes = parse_nodes(unsafe_text).nodes
        if len(nodes) != 1:
            raise DockerfileError("onbuild trigger should be a single expression")
        if nodes[0].name in _REFUSED:
            raise DockerfileError(f"{nodes[0].name} isn't allowed as an ONBUILD trigger")
        return parse_instruction(nodes[0])
    except DockerfileError as error:
        raise blamed(error, unsafe_text, start) from error


def blamed(error: DockerfileError, unsafe_text: str, start: From) -> DockerfileError:
    """The same error at the FROM that brought the trigger."""
    shown = " ".join(unsafe_text[:200].split())
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    message = f"in the trigger ONBUILD {shown} of {start.base}: {error.message}"
    return DockerfileError(message, start.node.whole_span, mend=error.mend)
