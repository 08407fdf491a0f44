"""Why a build failed, in the words and with the lines that a client shows."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.build.executor import StepFailed
from carboy.build.solver import StepError
from carboy.errors import CarboyError
from carboy.formats.dockerfile.source import DockerfileError, printable

_AROUND = 2
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told."""

    text: str
    exit_code: int = 0
    status: int = 500
    line: int = 0
    excerpt: str = ""


def failure_of(error: BaseException, dockerfile: str, *, name: str = "Dockerfile") -> Failure:
    """What to say of an error of a build whose Dockerfile is known, or empty."""
    text = str(error) or type(error).__name__
    for note in getattr(error, "__notes__", ()):
        text += f" ({note})"
    where = _line(error)
    cause = error.cause if isinstance(error, StepError) else error
    code = cause.exit_code if isinstance(cause, StepFailed) else 0
    if not isinstance(error, CarboyError):
        text = f"the build failed by a fault of the daemon: {type(error).__name__}: {text}"
    status = error.status if isinstance(error, CarboyError) else 500
    return Failure(text, code, status, where, excerpt(dockerfile, where, name=name) if where else "")


def excerpt(text: str, line: int, *, name: str = "Dockerfile") -> str:
    """The lines around one, as BuildKit shows them."""
    lines = text.removeprefix("\ufeff").split("\n")
    if not 0 < line <= len(lines):
        return ""
    first, last = max(1, line - _AROUND), min(len(lines), line + _AROUND)
    while last > line and not lines[last - 1].strip():
        last -= 1
    rule = "-" * 20
    shown = [f"{name}:{line}", rule]
    width = max(4, len(str(last)))
    for number in range(first, last + 1):
        mark = ">>>" if number == line else "   "
        body = printable(lines[number - 1].rstrip("\r")[:_LONGEST])
        shown.append(f"{number:>{width}} | {mark} {body}".rstrip())
    return "\n".join([*shown, rule])


def _line(error: BaseException) -> int:
    if isinstance(error, DockerfileError):
        return error.line
    return error.vertex.line if isinstance(error, StepError) else 0
