"""Everything around the stages while they are drawn for one platform and one target."""

from __future__ import annotations

from collections.abc import Mapping

from carboy.build.frontend import naming
from carboy.build.frontend.bases import Contexts, Images, add_scratch
from carboy.build.frontend.inputs import FrontendRequest
from carboy.build.frontend.naming import Names
from carboy.build.frontend.platforms import normalized
from carboy.build.frontend.stagestate import StageState, add_context
from carboy.build.frontend.vertices import Place, Vertices
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.source import DockerfileError
from carboy.formats.dockerfile.stages import Origin, Plan


class Draft:
    """What the instructions of all stages share."""

    def __init__(
        self,
        *,
        request: FrontendRequest,
        given: Mapping[str, str],
        plan: Plan,
        escape: str,
        platform: str,
        vertices: Vertices,
        images: Images,
        contexts: Contexts,
    ) -> None:
        self.request = request
        self.given = given
        """Build arguments."""
        self.plan = plan
        self.escape = escape
        self.platform = platform
        """What was asked for; empty when nothing was."""
        self.vertices = vertices
        self.images = images
        self.contexts = contexts
        self.names = Names(escape)
        self.states: dict[int, StageState] = {}

    def source(self, origin: Origin, node: Node, state: StageState, *, verb: str) -> int:
        """The vertex of `COPY --from` or of a mount's `from`; raises DockerfileError."""
        ground = self.contexts.ground(origin)
        if ground.stage >= 0:
            found = self.states.get(ground.stage)
            if found is None:
                label = self.plan.stages[ground.stage].label
                raise DockerfileError(
                    f'cannot {verb} from stage "{label}", '
                    f'it needs to be defined before current stage "{state.label}"',
                    node.whole_span,
                )
            return found.vertex
        if ground.context is not None:
            return add_context(self.vertices, ground.context)
        if not ground.image:
            return add_scratch(self.vertices)
        base = self.images.resolve(ground.image, self.platform, node)
        name = f"FROM {naming.image_name(ground.image)}"
        place = Place(name=name, line=state.trigger_line or node.line, instruction=name)
        return self.images.vertex(ground.image, base, place)

    def prefix(self, state: StageState) -> str:
        """What stands before the instruction in a vertex' name."""
        if len(self.request.platforms) < 2:
            return state.prefix("")
        return state.prefix(state.platform + _crossed(state))


def _crossed(state: StageState) -> str:
    """`->arm64` when a stage of one platform works for another."""
    target = state.scope.variables.get("TARGETPLATFORM", "")
    architecture = state.scope.variables.get("TARGETARCH", "")
    system = state.platform.partition("/")[0]
    wanted = normalized(target or f"{system}/{architecture}") if target or architecture else state.platform
    mine, theirs = state.platform.split("/"), wanted.split("/")
    if mine[0] != theirs[0]:
        return "->" + wanted
    return "->" + "/".join(theirs[1:]) if mine[1:2] != theirs[1:2] else ""
