"""A Dockerfile to a report: reads it, and has every rule look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.grammar import parse_instruction
from carboy.formats.dockerfile.instructions import AnyInstruction
from carboy.formats.dockerfile.lint import docker, options, own
from carboy.formats.dockerfile.lint.findings import Collector, Report
from carboy.formats.dockerfile.lint.stages import views
from carboy.formats.dockerfile.nodes import parse_nodes
from carboy.formats.dockerfile.source import DEFAULT_LIMITS, DockerfileError, Limits
from carboy.formats.dockerfile.stages import (
    DEFAULT_PLATFORMS,
    Document,
    Platforms,
    default_arguments,
    plan,
    read_document,
)
from carboy.formats.dockerfile.tree import File
from carboy.formats.dockerfile.words import Lexer, WordError
from carboy.formats.dockerignore import Ignore


def lint(
    unsafe_text: str | bytes,
    *,
    arguments: Mapping[str, str] | None = None,
    targets: Sequence[str] = (),
    contexts: Sequence[str] = (),
    ignore: Ignore | None = None,
    platforms: Platforms = DEFAULT_PLATFORMS,
    environments: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Everything that is to be said; a Dockerfile that is wrong is an error in the report.

    Without `targets` all stages are looked at, else those that are needed. `ignore`: the context's patterns;
    `environments`: NAME=value of base images that are known, by the name that FROM says.
    """
    text = unsafe_text if isinstance(unsafe_text, str) else unsafe_text.decode("utf-8", "surrogateescape")
    try:
        file = parse_nodes(text, limits=limits)
    except DockerfileError as error:
        return Report(text=text, findings=(), error=error)
    given = dict(arguments or {})
    chosen = given.get(options.ARGUMENT) or file.directive("check")
    try:
        wanted = options.parse(chosen)
    except InvalidArgument as error:
        spans = tuple(each.span for each in file.directives if each.name == "check")
        return Report(text=text, findings=(), error=DockerfileError(str(error), spans))
    found = Collector(wanted)
    failure: DockerfileError | None = None
    instructions, failure = _instructions(file)
    docker.check_file(file, instructions, found)
    if failure is None:
        try:
            document = read_document(text, limits=limits)
            _check_document(document, given, platforms, found)
            count = len(document.parts)
            planned = plan(
                document,
                arguments=given,
                platforms=platforms,
                targets=targets or [str(index) for index in range(count)],
                contexts=contexts,
                limits=limits,
            )
            for view in views(planned, escape=file.escape, given=given, environments=environments or {}):
                own.check_base(view, found)
                checks = (docker.StageCheck(ignore, found), own.StageCheck(found))
                for number, step in enumerate(view.steps):
                    if number >= view.stage.triggered:  # what a base's ONBUILD adds was looked at there
                        for check in checks:
                            check.step(step)
        except DockerfileError as error:
            failure = error
    return Report(text=text, findings=found.sorted(), error=failure, fails=wanted.error)


def _instructions(file: File) -> tuple[list[AnyInstruction], DockerfileError | None]:
    """The instructions up to the first that is wrong, and what is wrong with it."""
    instructions: list[AnyInstruction] = []
    for node in file.nodes:
        try:
            instructions.append(parse_instruction(node))
        except DockerfileError as error:
            return instructions, error
    return instructions, None


def _check_document(
    document: Document, given: Mapping[str, str], platforms: Platforms, found: Collector
) -> None:
    last = document.parts[-1].start.name
    try:
        values = _global_values(document, given, default_arguments(platforms, given, last))
        defaults = _global_values(document, {}, default_arguments(platforms, {}, last))
    except WordError:
        return  # the plan says so, with its place
    docker.check_document(document, values, defaults, found)


def _global_values(document: Document, given: Mapping[str, str], values: dict[str, str]) -> dict[str, str]:
    """Global arguments, when only `given` ones were given."""
    lexer = Lexer(document.file.escape)
    for instruction in document.arguments:
        for argument in instruction.arguments:
            value = given.get(argument.name)
            if value is None and argument.default is not None:
                value = lexer.expand(argument.default, values).text
            if value is not None:
                values[argument.name] = value
    return values
