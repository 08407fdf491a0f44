"""What Docker's rules look for: as BuildKit looks for it, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carboy.errors import InvalidArgument
from carboy.formats import reference
from carboy.formats.dockerfile.instructions import (
    Add,
    AnyInstruction,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Workdir,
)
from carboy.formats.dockerfile.lint import dockerrules as rules
from carboy.formats.dockerfile.lint.findings import Collector
from carboy.formats.dockerfile.lint.stages import Step
from carboy.formats.dockerfile.stages import Document
from carboy.formats.dockerfile.tree import File, Node
from carboy.formats.dockerfile.words import Expansion, Lexer, WordError
from carboy.formats.dockerignore import Ignore, clean

_SECRET_WORDS = frozenset(
    ("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token")
)
_HARMLESS_WORDS = frozenset(("public", "file", "version"))
_RESERVED = frozenset(("context", "scratch"))


def check_file(file: File, instructions: Sequence[AnyInstruction], found: Collector) -> None:
    """What can be seen of the instructions alone, also when one behind them is wrong."""
    for remark in file.warnings:
        if remark.rule == rules.NO_EMPTY_CONTINUATION.name:
            found.add_lines(rules.NO_EMPTY_CONTINUATION, remark.spans[0].line, remark.spans[-1].line)
    for instruction in instructions:
        match instruction:
            case From():
                _check_from_words(instruction, found)
                _check_description(instruction, "FROM", [instruction.name] if instruction.name else [], found)
            case Arg():
                names = [argument.name for argument in instruction.arguments]
                _check_description(instruction, "ARG", names, found)
            case Maintainer():
                found.add(rules.MAINTAINER_DEPRECATED, instruction.node)
            case _:
                pass


def _check_from_words(instruction: From, found: Collector) -> None:
    words = instruction.node.arguments
    if len(words) < 3:
        return
    keyword, link, name = instruction.node.keyword, words[1].value, words[2].value
    if name != name.lower():
        found.add(rules.STAGE_NAME_CASING, instruction.node, name)
    if keyword in (keyword.lower(), keyword.upper()):
        expected = link.lower() if keyword == keyword.lower() else link.upper()
        if link != expected:
            found.add(rules.FROM_AS_CASING, instruction.node, link, keyword)


def _check_description(instruction: AnyInstruction, keyword: str, names: list[str], found: Collector) -> None:
    comments = instruction.node.comments
    if not comments or not names or comments[-1].line != instruction.node.line - 1 or not comments[-1].text:
        return
    if comments[-1].text.split(" ")[0] not in names:
        shown = names[0] if len(names) == 1 else "<arg_key>"
        found.add(rules.INVALID_DEFINITION_DESCRIPTION, instruction.node, keyword, shown)


def check_document(
    document: Document, values: Mapping[str, str], defaults: Mapping[str, str], found: Collector
) -> None:
    """What concerns all stages, needed or not.

    `values`: global arguments; `defaults`: the same as they are without `--build-arg`.
    """
    _check_casing(document, found)
    names: set[str] = set()
    lexer = Lexer(document.file.escape)
    known = {argument.name for each in document.arguments for argument in each.arguments} | values.keys()
    for part in document.parts:
        start = part.start
        if start.name in _RESERVED:
            found.add(rules.RESERVED_STAGE_NAME, start.node, start.name)
        if start.name in names:
            found.add(rules.DUPLICATE_STAGE_NAME, start.node, start.name)
        names.add(start.name or " ")
        try:
            _check_base(start, lexer, values, defaults, known, found)
        except WordError:
            continue  # the plan says what is wrong with it


def _check_casing(document: Document, found: Collector) -> None:
    nodes = [instruction.node for part in document.parts for instruction in (part.start, *part.instructions)]
    lower = sum(node.keyword == node.keyword.lower() for node in nodes)
    upper = sum(node.keyword == node.keyword.upper() for node in nodes)
    wanted = "lowercase" if lower > upper else "uppercase"
    for node in nodes:
        if node.keyword != (node.keyword.lower() if lower > upper else node.keyword.upper()):
            found.add(rules.CONSISTENT_INSTRUCTION_CASING, node, node.keyword, wanted)


def _check_base(
    start: From,
    lexer: Lexer,
    values: Mapping[str, str],
    defaults: Mapping[str, str],
    known: set[str],
    found: Collector,
) -> None:
    base = lexer.expand(start.base, values)
    _check_declared(start, base, known, found)
    try:
        reference.parse(lexer.expand(start.base, defaults).text)
    except InvalidArgument:
        found.add(rules.INVALID_DEFAULT_ARG_IN_FROM, start.node, start.base)
    if not start.platform:
        return
    platform = lexer.expand(start.platform, values)
    _check_declared(start, platform, known, found)
    if platform.used == {"TARGETPLATFORM"} and not platform.unset:
        if platform.text == values.get("TARGETPLATFORM"):
            found.add(rules.REDUNDANT_TARGET_PLATFORM, start.node, start.platform)
    elif not platform.used and not platform.unset:
        parts = platform.text.split("/")
        if not any(part and part in start.name for part in parts[:2]):
            found.add(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, start.node, platform.text)


def _check_declared(start: From, expansion: Expansion, known: set[str], found: Collector) -> None:
    for name in sorted(expansion.unset - known):
        found.add(rules.UNDEFINED_ARG_IN_FROM, start.node, name, found.near(name, known, "{}"))


class StageCheck:
    """What concerns one stage that is needed, step by step."""

    def __init__(self, ignore: Ignore | None, found: Collector) -> None:
        self._ignore = ignore
        self._found = found
        self._last: dict[str, Node] = {}

    def step(self, step: Step) -> None:
        """Look at the next one."""
        node = step.written.node
        for name in step.undefined:
            suggestion = self._found.near(name, step.variables, "${}")
            self._found.add(rules.UNDEFINED_VAR, node, name, suggestion)
        if isinstance(step.written, Cmd | Entrypoint | Healthcheck):
            before = self._last.get(node.name)
            if before is not None:  # it is the one that counts for nothing
                self._found.add(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, before, node.keyword)
            self._last[node.name] = node
        _check_step(step, self._ignore, self._found)


def _check_step(step: Step, ignore: Ignore | None, found: Collector) -> None:
    instruction, node = step.meant, step.written.node
    match instruction:
        case Cmd() | Entrypoint():
            if instruction.command.shell and not step.has_shell:
                found.add(rules.JSON_ARGS_RECOMMENDED, node, node.keyword)
        case Workdir():
            if not step.has_workdir and not instruction.path.startswith("/"):
                found.add(rules.WORKDIR_RELATIVE_PATH, node, instruction.path)
        case Env() | Label():
            if instruction.legacy:
                found.add(rules.LEGACY_KEY_VALUE_FORMAT, node, node.keyword)
            if isinstance(instruction, Env):
                _check_names("ENV", [pair.key for pair in instruction.pairs], step, found)
        case Arg():
            _check_names("ARG", [argument.name for argument in instruction.arguments], step, found)
        case Expose():
            _check_ports(instruction, step, found)
        case Copy() | Add():
            if ignore is not None and not ignore.has_exceptions:
                _check_sources(instruction, ignore, step, found)
        case _:
            pass


def _check_names(keyword: str, names: list[str], step: Step, found: Collector) -> None:
    for name in names:
        words = set(name.lower().split("_"))
        if words & _SECRET_WORDS and not words & _HARMLESS_WORDS:
            found.add(rules.SECRETS_USED_IN_ARG_OR_ENV, step.written.node, keyword, name)


def _check_ports(instruction: Expose, step: Step, found: Collector) -> None:
    for port in instruction.ports:
        protocol = port.partition("/")[2]
        if protocol != protocol.lower():
            found.add(rules.EXPOSE_PROTO_CASING, step.written.node, port)
        if ":" in port:
            found.add(rules.EXPOSE_INVALID_FORMAT, step.written.node, port)


def _check_sources(instruction: Copy | Add, ignore: Ignore, step: Step, found: Collector) -> None:
    if isinstance(instruction, Copy) and instruction.origin:
        return
    verb = "Add" if isinstance(instruction, Add) else "Copy"
    for source in instruction.sources:
        if is_remote(source):
            continue
        path = clean(source)
        if ignore.excludes(path):
            found.add(rules.COPY_IGNORED_FILE, step.written.node, verb, path)


def is_remote(source: str) -> bool:
    """Whether ADD fetches it."""
    return source.startswith(("http://", "https://", "git://", "ssh://", "git@"))
