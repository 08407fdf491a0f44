"""Instructions to stages: what a build consists of, what each stage needs, and what nobody needs.

    read_document(file)  all instructions, in stages; arguments still open
    plan(document, …)    bases and platforms with their arguments, references resolved, targets known

References as BuildKit resolves them: FROM knows the stages before it, any other name is an image;
`COPY --from` and mounts know all stages by name or number, and one that is defined later is an error when
it is needed; stages that need each other are refused.  The last stage of a name is the one that is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from carboy.formats.dockerfile.grammar import parse_instruction
from carboy.formats.dockerfile.instructions import AnyInstruction, Arg, Copy, From, Onbuild, Run
from carboy.formats.dockerfile.nodes import File, parse_nodes
from carboy.formats.dockerfile.scope import BUILDER_ARGUMENTS, PLATFORM_ARGUMENTS, PROXIES
from carboy.formats.dockerfile.source import DEFAULT_LIMITS, DockerfileError, Limits, Span, suggestion
from carboy.formats.dockerfile.words import Expansion, Lexer, WordError

SCRATCH = "scratch"
_PLATFORM_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.()+")


class Part(msgspec.Struct, frozen=True):
    """The instructions of one stage as they are written."""

    start: From
    instructions: tuple[AnyInstruction, ...]


class Document(msgspec.Struct, frozen=True):
    """A Dockerfile in instructions."""

    file: File
    arguments: tuple[Arg, ...]
    """Before the first FROM: global."""
    parts: tuple[Part, ...]


class Origin(msgspec.Struct, frozen=True):
    """Where files come from."""

    kind: str
    """stage, image, scratch or context (a named one)."""
    name: str
    stage: int = -1
    """Its number, of a stage."""


class Need(msgspec.Struct, frozen=True):
    """An instruction that takes files from elsewhere than the build context."""

    instruction: int
    origin: Origin
    mount: int = -1
    """Which of RUN's mounts; -1 for `COPY --from`."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a plan."""

    index: int
    name: str
    """Empty when it has none."""
    start: From
    base: Origin
    platform: str = ""
    """As `FROM --platform` says it, expanded; empty: the target's."""
    instructions: tuple[AnyInstruction, ...]
    triggered: int = 0
    """How many of them the ONBUILDs of its base stage put in front."""
    needs: tuple[Need, ...] = ()
    used: tuple[str, ...] = ()
    """Global arguments that FROM asked for, set or not."""

    @property
    def label(self) -> str:
        """What to call it."""
        return self.name or f"stage-{self.index}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built."""

    stages: tuple[Stage, ...]
    targets: tuple[int, ...]
    reachable: tuple[int, ...]
    """In an order in which every stage comes behind what it needs."""
    global_arguments: tuple[tuple[str, str], ...]
    unconsumed: tuple[str, ...] = ()
    """Given arguments that no ARG declares."""


class Platforms(msgspec.Struct, frozen=True):
    """Where the build runs and what it is for: os/architecture[/variant]."""

    build: str = "linux/amd64"
    target: str = "linux/amd64"


DEFAULT_PLATFORMS = Platforms()


def read_document(unsafe_text: str | bytes, *, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Read a Dockerfile to the end of its syntax; raises DockerfileError."""
    file = parse_nodes(unsafe_text, limits=limits)
    arguments: list[Arg] = []
    parts: list[tuple[From, list[AnyInstruction]]] = []
    for node in file.nodes:
        instruction = parse_instruction(node)
        if isinstance(instruction, From):
            parts.append((instruction, []))
        elif parts:
            parts[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            message = "no build stage in current context"
            raise DockerfileError(message, node.keyword_span, mend="only ARG may stand before the first FROM")
    if not parts:
        raise DockerfileError("dockerfile contains no stages to build")
    if len(parts) > limits.stages:
        raise DockerfileError(f"more than {limits.stages} stages", parts[-1][0].node.keyword_span)
    return Document(file, tuple(arguments), tuple([Part(start, tuple(each)) for start, each in parts]))


def plan(
    document: Document,
    *,
    arguments: Mapping[str, str] | None = None,
    platforms: Platforms = DEFAULT_PLATFORMS,
    targets: Sequence[str] = (),
    contexts: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Plan:
    """What to build; raises DockerfileError.

    `arguments` are `--build-arg`s, `contexts` the names of `--build-context`s, `targets` names or
    numbers of stages (none: the last one).
    """
    given = dict(arguments or {})
    lexer = Lexer(document.file.escape, limits=limits)
    last = document.parts[-1].start.name
    values = default_arguments(platforms, given, targets[0] if targets else last)
    _read_global_arguments(document, lexer, given, values)
    names = frozenset(context.lower() for context in contexts)
    stages = _resolve(document, _starts(document, lexer, values, names), names, limits)
    _refuse_cycles(stages)
    wanted = tuple([_target(target, stages) for target in targets]) or (len(stages) - 1,)
    reachable = _reach(stages, wanted)
    for index in reachable:
        _refuse_later(stages, stages[index])
    return Plan(
        stages=stages,
        targets=wanted,
        reachable=reachable,
        global_arguments=tuple(values.items()),
        unconsumed=_unconsumed(document, stages, given),
    )


def default_arguments(platforms: Platforms, given: Mapping[str, str], target: str) -> dict[str, str]:
    """The global arguments that nobody declares."""
    values: dict[str, str] = {}
    for prefix, platform in (("BUILD", platforms.build), ("TARGET", platforms.target)):
        system, _, rest = platform.partition("/")
        architecture, _, variant = rest.partition("/")
        name, _, version = system.partition("(")
        values[prefix + "PLATFORM"] = platform
        values[prefix + "OS"] = name
        values[prefix + "OSVERSION"] = version.removesuffix(")")
        values[prefix + "ARCH"] = architecture
        values[prefix + "VARIANT"] = variant
    values["TARGETSTAGE"] = target or "default"
    return {name: given.get(name, values[name]) for name in PLATFORM_ARGUMENTS}


def _read_global_arguments(
    document: Document, lexer: Lexer, given: Mapping[str, str], values: dict[str, str]
) -> None:
    for instruction in document.arguments:
        for argument in instruction.arguments:
            value = given.get(argument.name, argument.default)
            if value is not None and argument.name not in given:
                value = _expand(lexer, value, values, instruction.node.whole_span).text
            if value is not None:
                values[argument.name] = value


def _expand(lexer: Lexer, text: str, values: Mapping[str, str], spans: tuple[Span, ...]) -> Expansion:
    try:
        return lexer.expand(text, values)
    except WordError as error:
        raise DockerfileError(str(error), spans) from error


def _starts(
    document: Document, lexer: Lexer, values: Mapping[str, str], contexts: frozenset[str]
) -> list[tuple[Origin, str, tuple[str, ...]]]:
    """(base, platform, arguments asked for) of each stage."""
    known: dict[str, int] = {}
    starts = []
    for index, part in enumerate(document.parts):
        start = part.start
        words = start.node.arguments
        spans = start.node.span_of(words[0])
        base = _expand(lexer, start.base, values, spans)
        if not base.text:
            raise DockerfileError(
                f"base name ({start.base}) should not be blank",
                spans,
                mend=_missing(base, values),
            )
        asked = base.used | base.unset
        platform = ""
        if start.platform:
            expansion = _expand(lexer, start.platform, values, start.node.whole_span)
            platform, asked = expansion.text, asked | expansion.used | expansion.unset
            _check_platform(start, expansion, values)
        starts.append((_base(base.text, start.name, known, contexts), platform, tuple(sorted(asked))))
        if start.name:
            known[start.name] = index
    return starts


def _missing(expansion: Expansion, values: Mapping[str, str]) -> str:
    if not expansion.unset:
        return "the argument is empty: give it a value with ARG NAME=value or --build-arg"
    name = min(expansion.unset)
    found = suggestion(name, tuple(values))
    return f"{name} is not set{found}: declare it with ARG {name}=value before the first FROM"


def _check_platform(start: From, expansion: Expansion, values: Mapping[str, str]) -> None:
    spans = start.node.span_of(start.node.flags[0])
    if not expansion.text:
        raise DockerfileError(
            f"empty platform value from expression {start.platform}", spans, mend=_missing(expansion, values)
        )
    pieces = expansion.text.split("/")
    if len(pieces) > 3 or not all(piece and set(piece) <= _PLATFORM_LETTERS for piece in pieces):
        raise DockerfileError(
            f'failed to parse platform {start.platform}: "{expansion.text}" is invalid',
            spans,
            mend="say os/architecture or os/architecture/variant, as linux/arm64",
        )


def _base(text: str, name: str, known: Mapping[str, int], contexts: frozenset[str]) -> Origin:
    if name in contexts:
        return Origin("context", name)  # --build-context NAME=… takes the place of the stage NAME
    lower = text.lower()
    if lower in known:
        return Origin("stage", lower, known[lower])
    if text == SCRATCH:
        return Origin("scratch", text)
    return Origin("context", lower) if lower in contexts else Origin("image", text)


def _resolve(
    document: Document,
    starts: list[tuple[Origin, str, tuple[str, ...]]],
    contexts: frozenset[str],
    limits: Limits,
) -> tuple[Stage, ...]:
    known = {part.start.name: index for index, part in enumerate(document.parts) if part.start.name}
    count = len(document.parts)
    onbuild = [_triggers(part) for part in document.parts]
    inherited = 0
    stages: list[Stage] = []
    for index, (part, (base, platform, used)) in enumerate(zip(document.parts, starts, strict=True)):
        triggers = onbuild[base.stage] if base.kind == "stage" else ()
        inherited += len(triggers)
        if inherited > limits.instructions:  # a few lines, and as many stages after them, make millions
            raise DockerfileError(
                f"the ONBUILDs of stages add more than {limits.instructions} instructions",
                part.start.node.keyword_span,
            )
        # A stage whose name is a named context is that context, whatever stands in it.
        replaced = base.kind == "context" and part.start.name == base.name
        instructions = () if replaced else triggers + part.instructions
        stages.append(
            Stage(
                index=index,
                name=part.start.name,
                start=part.start,
                base=base,
                platform=platform,
                instructions=instructions,
                triggered=0 if replaced else len(triggers),
                needs=tuple(_needs(instructions, known, count, contexts)),
                used=used,
            )
        )
    return tuple(stages)


def _triggers(part: Part) -> tuple[AnyInstruction, ...]:
    return tuple([each.trigger for each in part.instructions if isinstance(each, Onbuild)])


def _needs(
    instructions: tuple[AnyInstruction, ...], known: Mapping[str, int], count: int, contexts: frozenset[str]
) -> Iterator[Need]:
    for number, instruction in enumerate(instructions):
        if isinstance(instruction, Copy) and instruction.origin:
            origin = _origin(instruction.origin, known, count, contexts)
            if origin is None:
                word = next(word for word in instruction.node.flags if word.value.startswith("--from="))
                raise DockerfileError(
                    f"invalid stage index {instruction.origin}", instruction.node.span_of(word)
                )
            yield Need(number, origin)
        elif isinstance(instruction, Run):
            for place, mount in enumerate(instruction.mounts):
                if mount.origin:
                    name = mount.origin
                    found = _origin(name, known, count, contexts) or Origin("image", name)
                    yield Need(number, found, place)


def needs_of(
    instructions: tuple[AnyInstruction, ...], made: Plan, contexts: Sequence[str]
) -> tuple[Need, ...]:
    """What the instructions need that an image's ONBUILD adds to a stage; raises DockerfileError."""
    known = {stage.name: stage.index for stage in made.stages if stage.name}
    names = frozenset(context.lower() for context in contexts)
    return tuple(_needs(instructions, known, len(made.stages), names))


def _origin(
    unsafe_name: str, known: Mapping[str, int], count: int, contexts: frozenset[str]
) -> Origin | None:
    name = unsafe_name.lower()
    digits = name.lstrip("+-")
    if digits.isascii() and digits.isdigit() and len(name) - len(digits) <= 1:
        index = int(name) if len(name) < 10 else -1
        return Origin("stage", name, index) if 0 <= index < count else None
    if name in known:
        return Origin("stage", name, known[name])
    if name == SCRATCH:
        return Origin("scratch", name)
    return Origin("context", name) if name in contexts else Origin("image", unsafe_name)


def _edges(stage: Stage) -> list[int]:
    """The stages that one needs, its base first."""
    first = [stage.base.stage] if stage.base.kind == "stage" else []
    return first + [need.origin.stage for need in stage.needs if need.origin.kind == "stage"]


def _refuse_cycles(stages: tuple[Stage, ...]) -> None:
    done = [False] * len(stages)
    for root in range(len(stages)):
        trail: dict[int, Iterator[int]] = {}
        following: int | None = root
        while following is not None or trail:
            if following is not None and not done[following]:
                if following in trail:
                    _fail_cycle(stages, [*trail][[*trail].index(following) :])
                trail[following] = iter(_edges(stages[following]))
            top = next(reversed(trail), None)
            if top is None:
                break
            following = next(trail[top], None)
            if following is None:
                done[top] = True
                del trail[top]


def _fail_cycle(stages: tuple[Stage, ...], ring: list[int]) -> None:
    stage = stages[ring[0]]
    after = ring[1] if len(ring) > 1 else ring[0]
    spans = stage.start.node.whole_span
    for need in stage.needs:
        if need.origin.stage == after:
            spans = stage.instructions[need.instruction].node.whole_span
            break
    way = " → ".join(stages[index].label for index in [*ring, ring[0]][:12])
    raise DockerfileError(f"circular dependency detected on stage: {stage.label}", spans, mend=f"{way}")


def _target(unsafe_target: str, stages: tuple[Stage, ...]) -> int:
    name = unsafe_target.lower()
    for stage in reversed(stages):
        if stage.name == name or (not stage.name and stage.label == name):
            return stage.index
    if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(stages):
        return int(name)
    found = suggestion(unsafe_target, tuple([stage.name for stage in stages if stage.name]))
    raise DockerfileError(f'target stage "{unsafe_target}" could not be found{found}')


def _reach(stages: tuple[Stage, ...], targets: tuple[int, ...]) -> tuple[int, ...]:
    found: set[int] = set()
    waiting = list(targets)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += _edges(stages[index])
    return tuple(sorted(found))  # what a stage needs stands above it: the rest is refused


def _refuse_later(stages: tuple[Stage, ...], stage: Stage) -> None:
    for need in stage.needs:
        if need.origin.kind == "stage" and need.origin.stage >= stage.index:
            node = stage.instructions[need.instruction].node
            name = stages[need.origin.stage].label
            what = "copy" if need.mount < 0 else "mount"
            raise DockerfileError(
                f'cannot {what} from stage "{name}", '
                f'it needs to be defined before current stage "{stage.label}"',
                node.whole_span,
            )


def _unconsumed(document: Document, stages: tuple[Stage, ...], given: Mapping[str, str]) -> tuple[str, ...]:
    if not given:
        return ()
    declared = {each.name for instruction in document.arguments for each in instruction.arguments}
    for stage in stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Arg):
                declared.update(each.name for each in instruction.arguments)
    declared.update(PLATFORM_ARGUMENTS, BUILDER_ARGUMENTS)
    return tuple(sorted(name for name in given if name not in declared and name.upper() not in PROXIES))
