"""Stages to vertices: one plan for each platform and target, on one graph.

    1. read the triggers of the base images: they may need stages that nothing else does
    2. draw the stages that are needed, in the order of the file: a stage stands above those that need it
    3. a Target for the stage that is wanted

What is the same on several platforms, or for several targets, is drawn once: the vertices see to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from carboy.build.frontend.addresses import redacted
from carboy.build.frontend.bases import SPECIAL, Contexts, Images
from carboy.build.frontend.beginning import begin, is_replaced, platform_of_stage
from carboy.build.frontend.copying import draw_add, draw_copy
from carboy.build.frontend.draft import Draft
from carboy.build.frontend.inputs import BaseImage, Bases, FrontendRequest
from carboy.build.frontend.onbuild import blamed, read_triggers
from carboy.build.frontend.platforms import normalized, read_platform
from carboy.build.frontend.running import draw_run
from carboy.build.frontend.settings import set_config
from carboy.build.frontend.stagestate import StageState
from carboy.build.frontend.vertices import ENTRY, Vertices
from carboy.build.graph import Directory, Graph, Target
from carboy.errors import InvalidArgument
from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.instructions import AnyInstruction
from carboy.formats.dockerfile.source import DockerfileError, suggestion
from carboy.formats.dockerfile.stages import (
    Document,
    Need,
    Origin,
    Platforms,
    Stage,
    needs_of,
    plan,
)

__all__ = ["BaseImage", "Bases", "FrontendRequest", "draw"]

_BUILT_IN = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::[^@/]+)?(?:@sha256:[0-9a-f]+)?")
_STEPS = (made.Run, made.Copy, made.Add, made.Workdir)
_EPOCH = "SOURCE_DATE_EPOCH"
_LONGEST_PATH = 4095
"""PATH_MAX without its NUL."""


def draw(document: Document, plan_request: FrontendRequest, bases: Bases) -> Graph:
    """The graph of a build; raises DockerfileError, and what `bases` raises."""
    request = plan_request
    vertices = Vertices()
    images = Images(bases, vertices)
    targets: list[Target] = []
    unconsumed: set[str] | None = None
    for draft in _drafts(document, request, vertices, images):
        images.stages = tuple([stage.name for stage in draft.plan.stages if stage.name])
        triggers = _read_triggers(draft)
        for index in sorted(triggers):
            draft.states[index] = _draw_stage(draft, draft.plan.stages[index], triggers[index])
        targets += [_target(draft, index) for index in draft.plan.targets]
        left = set(draft.plan.unconsumed) - _declared(triggers)
        unconsumed = left if unconsumed is None else unconsumed & left
    return Graph(
        vertices=vertices.all(),
        targets=tuple(targets),
        warnings=_warnings(document, request, sorted(unconsumed or ())),
    )


def _drafts(
    document: Document, request: FrontendRequest, vertices: Vertices, images: Images
) -> Iterator[Draft]:
    given = dict(request.arguments)
    if request.epoch is not None:
        given[_EPOCH] = str(request.epoch)
    for name, value in (*given.items(), *request.labels.items()):
        if not _is_text(name + value):
            raise InvalidArgument(f"the argument or label {name!r} holds bytes that are no text")
    contexts = Contexts(request)
    host = normalized(request.host_platform)
    for platform in dict.fromkeys(read_platform(each) for each in request.platforms) or ("",):
        for target in dict.fromkeys(request.targets) or ("",):
            made_plan = plan(
                document,
                arguments=given,
                platforms=Platforms(build=host, target=platform or host),
                targets=(target,) if target else (),
                contexts=contexts.names,
            )
            yield Draft(
                request=request,
                given=given,
                plan=made_plan,
                escape=document.file.escape,
                platform=platform,
                vertices=vertices,
                images=images,
                contexts=contexts,
            )


@dataclass(frozen=True, slots=True)
class _Triggers:
    """What a base image's ONBUILD puts in front of a stage."""

    instructions: tuple[AnyInstruction, ...] = ()
    texts: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()


def _read_triggers(draft: Draft) -> dict[int, _Triggers]:
    """The stages that are needed, each with its triggers."""
    found: dict[int, _Triggers] = {}
    waiting = list(draft.plan.targets)
    while waiting:
        index = waiting.pop()
        if index in found or index < 0:
            continue
        stage = draft.plan.stages[index]
        found[index] = _triggers_of(draft, stage)
        waiting.append(stage.base.stage)
        for need in (*stage.needs, *found[index].needs):
            waiting.append(need.origin.stage)
    return found


def _triggers_of(draft: Draft, stage: Stage) -> _Triggers:
    image = draft.contexts.ground(stage.base).image
    if not image or is_replaced(stage):
        return _Triggers()
    base = draft.images.resolve(image, platform_of_stage(draft, stage), stage.start.node)
    texts = tuple(base.document.config.on_build)
    instructions = read_triggers(texts, stage.start)
    try:
        needs = needs_of(instructions, draft.plan, draft.contexts.names)
    except DockerfileError as error:
        raise blamed(error, "COPY", stage.start) from error
    return _Triggers(instructions, texts, needs)


def _declared(triggers: Mapping[int, _Triggers]) -> set[str]:
    return {
        argument.name
        for each in triggers.values()
        for instruction in each.instructions
        if isinstance(instruction, made.Arg)
        for argument in instruction.arguments
    }


def _arguments(document: Document) -> tuple[str, ...]:
    """The names of all build arguments of a Dockerfile."""
    found = [*document.arguments]
    for part in document.parts:
        found += [each for each in part.instructions if isinstance(each, made.Arg)]
    return tuple({argument.name for each in found for argument in each.arguments})


def _draw_stage(draft: Draft, stage: Stage, triggers: _Triggers) -> StageState:
    try:
        state = begin(draft, stage, _count_steps((*triggers.instructions, *stage.instructions)))
    except DockerfileError:
        raise
    except InvalidArgument as error:
        raise DockerfileError(str(error), stage.start.node.whole_span) from error
    if not is_replaced(stage):
        state.filesystem(draft.vertices)
    origins = _by_place(triggers.needs)
    for number, instruction in enumerate(triggers.instructions):
        state.is_trigger, state.trigger_line = True, stage.start.node.line
        try:
            _apply(draft, state, instruction, origins.get(number, {}))
        except DockerfileError as error:
            raise blamed(error, triggers.texts[number], stage.start) from error
    state.trigger_line = 0
    origins = _by_place(stage.needs)
    for number, instruction in enumerate(stage.instructions):
        state.is_trigger = number < stage.triggered
        _apply(draft, state, instruction, origins.get(number, {}))
    return state


def _by_place(needs: Sequence[Need]) -> dict[int, dict[int, Origin]]:
    """Origins by instruction, then by mount (-1: `--from`)."""
    found: dict[int, dict[int, Origin]] = {}
    for need in needs:
        found.setdefault(need.instruction, {})[need.mount] = need.origin
    return found


def _count_steps(instructions: Sequence[AnyInstruction]) -> int:
    return sum([isinstance(each, _STEPS) for each in instructions])


def _apply(
    draft: Draft, state: StageState, instruction: AnyInstruction, origins: Mapping[int, Origin]
) -> None:
    """Have one instruction change the stage."""
    _check_text(instruction)
    expanded = state.scope.apply(instruction).instruction
    try:
        draft.vertices.weigh(_weight(expanded))
        match expanded:
            case made.Run():
                draw_run(draft, state, expanded, origins)
            case made.Copy():
                draw_copy(draft, state, expanded, origins.get(-1))
            case made.Add():
                draw_add(draft, state, expanded)
            case made.Workdir():
                _draw_workdir(draft, state, expanded)
            case _:
                set_config(draft.vertices, state, expanded, draft.given)
    except DockerfileError:
        raise
    except InvalidArgument as error:
        raise DockerfileError(str(error), instruction.node.whole_span) from error


def _check_text(instruction: AnyInstruction) -> None:
    """Refuse what no command line, path or config can hold; a heredoc that is a file may be anything."""
    node = instruction.node
    texts = [node.text]
    if isinstance(instruction, made.Run):
        texts += [each.content for each in node.heredocs]
    for text in texts:
        if not _is_text(text):
            raise DockerfileError(
                f"{node.name} holds bytes that are no text", node.whole_span, mend="save the file as UTF-8"
            )


def _is_text(text: str) -> bool:
    """Whether it has no NUL and no bytes that were not UTF-8."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def _weight(instruction: AnyInstruction) -> int:
    """Roughly the bytes that it leaves in a config or an operation."""
    match instruction:
        case made.Env() | made.Label():
            return sum([2 * (len(pair.key) + len(pair.value)) + ENTRY for pair in instruction.pairs])
        case made.Arg():
            return sum([2 * len(each.default or "") + ENTRY for each in instruction.arguments])
        case made.Copy() | made.Add():
            size = sum([len(file.data) for file in instruction.inline])
            return size + 2 * sum([len(source) for source in instruction.sources]) + ENTRY
        case _:
            return ENTRY


def _draw_workdir(draft: Draft, state: StageState, instruction: made.Workdir) -> None:
    path = state.absolute(instruction.path)
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
        raise InvalidArgument(f"WORKDIR {path[:80]}…: the path is too long: more than {_LONGEST_PATH} bytes")
    state.config.working_dir = path
    if path == "/":
        state.remember("WORKDIR /")
        return
    node = instruction.node
    name = draft.prefix(state) + draft.names.of_other(node, state.scope.variables)
    place = state.place(node, name, instruction=redacted(node.source))
    inputs = (state.filesystem(draft.vertices),)
    draft.vertices.weigh(4 * len(path))  # the operation, its key, its history, what is told
    state.vertex = draft.vertices.add(Directory(path=path, user=state.config.user), inputs, place)
    state.remember(f"WORKDIR {path}", state.vertex)


def _target(draft: Draft, index: int) -> Target:
    state = draft.states[index]
    vertex = state.filesystem(draft.vertices)
    state.config.env = [f"{name}={value}" for name, value in state.scope.environment.items()]
    state.config.labels.update(sorted(draft.request.labels.items()))
    return Target(
        stage=state.label,
        platform=draft.platform or state.platform,
        vertex=vertex,
        base=state.base,
        config=state.config,
        author=state.author,
        history=tuple(state.history),
    )


def _warnings(document: Document, request: FrontendRequest, unconsumed: list[str]) -> tuple[str, ...]:
    found = []
    syntax = request.arguments.get("BUILDKIT_SYNTAX") or document.file.directive("syntax").partition(" ")[0]
    if syntax and not _BUILT_IN.fullmatch(syntax):
        found.append(
            f"[Warning] the frontend {syntax} is not run: this file is read as docker/dockerfile's language"
        )
    names = tuple([part.start.name for part in document.parts if part.start.name])
    for wanted in request.no_cache_filter:
        if wanted.lower() not in names and not wanted.removeprefix("stage-").isdigit():
            found.append(
                f"[Warning] no stage is named {wanted}{suggestion(wanted, names)}: --no-cache-filter"
            )
    found += [
        f"[Warning] the name {name} of a context is not used" for name in request.contexts if name in SPECIAL
    ]
    if unconsumed:
        near = dict.fromkeys(suggestion(name, _arguments(document)) for name in unconsumed)
        found.append(
            f"[Warning] One or more build-args [{' '.join(unconsumed)}] were not consumed{''.join(near)}"
        )
    return tuple(found)
