"""FROM: what a stage finds when it begins.

FROM image      the image's layers and config
FROM stage      what that stage has come to
FROM scratch    nothing
FROM context    files, which become a layer; when the context stands for a stage, only if one is needed
"""

from __future__ import annotations

from carboy.build.frontend import naming
from carboy.build.frontend.bases import Ground, add_scratch, platform_of
from carboy.build.frontend.draft import Draft
from carboy.build.frontend.inputs import FrontendRequest
from carboy.build.frontend.platforms import normalized
from carboy.build.frontend.stagestate import StageState, add_context, new_config
from carboy.build.frontend.vertices import Place
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerfile.scope import Scope
from carboy.formats.dockerfile.stages import Stage
from carboy.formats.oci import ImageDocument


def is_replaced(stage: Stage) -> bool:
    """Whether a named context stands for the whole stage, whatever is written in it."""
    return stage.base.kind == "context" and stage.name == stage.base.name


def platform_of_stage(draft: Draft, stage: Stage) -> str:
    """What is asked of its image; empty when nothing is."""
    return normalized(stage.platform) if stage.platform else draft.platform


def begin(draft: Draft, stage: Stage, steps: int) -> StageState:
    """The state that its first instruction finds; `steps`: how many vertices it will have, FROM aside."""
    ground = draft.contexts.ground(stage.base)
    name = stage.label if len(draft.plan.stages) > 1 else ""
    ignored = _is_ignored(draft.request, stage)
    if ground.stage >= 0:
        parent = draft.states[ground.stage]
        draft.vertices.weigh(parent.weight)
        state = parent.child(label=stage.label, name=name, ignore_cache=ignored)
        state.total = steps
        return state
    if ground.image:
        return _begin_from_image(draft, stage, ground, name=name, ignored=ignored, total=steps + 1)
    document = ImageDocument()
    config = new_config(document)
    config.working_dir = "/"
    if ground.context is None:
        vertex = add_scratch(draft.vertices)
    else:
        vertex = add_context(draft.vertices, ground.context)
    state = StageState(
        label=stage.label,
        name=name,
        vertex=vertex,
        platform=platform_of_stage(draft, stage) or normalized(draft.request.host_platform),
        base=document,
        config=config,
        scope=_scope(draft, config),
        ignore_cache=ignored,
    )
    state.is_bare_context = ground.context is not None
    state.total = steps
    return state


def _begin_from_image(
    draft: Draft, stage: Stage, ground: Ground, *, name: str, ignored: bool, total: int
) -> StageState:
    node = stage.start.node
    base = draft.images.resolve(ground.image, platform_of_stage(draft, stage), node)
    config = new_config(base.document)
    state = StageState(
        label=stage.label,
        name=name,
        vertex=-1,
        platform=platform_of(base)
        or platform_of_stage(draft, stage)
        or normalized(draft.request.host_platform),
        base=base.document,
        config=config,
        scope=_scope(draft, config),
        ignore_cache=ignored,
    )
    state.total = total
    shown = f"{draft.prefix(state)}FROM {naming.image_name(ground.image)}"
    place = Place(name=shown, stage=stage.label, line=node.line, instruction=node.source)
    state.vertex = draft.images.vertex(ground.image, base, place)
    state.layers = len(base.layers)
    return state


def _scope(draft: Draft, config: ImageConfig) -> Scope:
    return Scope(
        environment=config.env,
        given=draft.given,
        global_arguments=dict(draft.plan.global_arguments),
        escape=draft.escape,
    )


def _is_ignored(request: FrontendRequest, stage: Stage) -> bool:
    if request.no_cache:
        return True
    wanted = {each.lower() for each in request.no_cache_filter}
    return bool(wanted & {stage.name, stage.label, str(stage.index)})
