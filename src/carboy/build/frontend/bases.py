"""Images, stages and contexts as what a stage begins from or copies from.

A named context takes the place of a stage, of an image under any of its names, or of a `--from`.  It is
files of any kind, or an image of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from carboy.build.frontend import naming
from carboy.build.frontend.addresses import redacted
from carboy.build.frontend.inputs import BaseImage, Bases, FrontendRequest
from carboy.build.frontend.platforms import normalized, of_image
from carboy.build.frontend.vertices import Place, Vertices
from carboy.build.graph import Image, Scratch
from carboy.errors import CarboyError, InvalidArgument, NotFound
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.source import DockerfileError, suggestion
from carboy.formats.dockerfile.stages import SCRATCH, Origin

SPECIAL = ("scratch", "context")
"""Names that a context cannot take."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What an Origin comes to: one of an image, a context's files, a stage, or nothing (scratch)."""

    image: str = ""
    context: str | None = None
    stage: int = -1


class Contexts:
    """Named contexts, found by any spelling."""

    def __init__(self, request: FrontendRequest) -> None:
        self._images = {name.lower(): image for name, image in request.contexts.items()}
        self._names = {name.lower(): name for name in request.contexts}
        self._keys = {naming.context_key(name): name.lower() for name in request.contexts}
        self.names = tuple([name for name in self._names if name not in SPECIAL])

    def ground(self, origin: Origin) -> Ground:
        """What it stands for, once contexts have taken their places."""
        if origin.kind == "stage":
            return Ground(stage=origin.stage)
        if origin.kind == "scratch":
            return Ground()
        name = origin.name.lower()
        if origin.kind == "image":
            name = self._keys.get(naming.context_key(origin.name), "")
            if name not in self.names:
                return Ground(image=origin.name)
        image = self._images[name]
        if not image:
            return Ground(context=self._names[name])
        return Ground() if image == SCRATCH else Ground(image=image)


class Images:
    """The images of one build: each is resolved once, and is one vertex."""

    def __init__(self, bases: Bases, vertices: Vertices) -> None:
        self._bases = bases
        self._vertices = vertices
        self.stages: tuple[str, ...] = ()
        """Names that may have been meant by an image that does not exist."""
        self._found: dict[tuple[str, str], BaseImage] = {}
        self._placed: dict[tuple[str, str], int] = {}

    def resolve(self, reference: str, platform: str, node: Node) -> BaseImage:
        """The image; an error says which line asked for it."""
        key = (reference, platform)
        if key not in self._found:
            try:
                self._found[key] = self._bases.resolve(reference, platform)
            except InvalidArgument as error:
                raise DockerfileError(f"{reference}: {error}", node.whole_span) from error
            except CarboyError as error:
                # Its category stays, and its words come first: clients know them.
                near = suggestion(reference, self.stages) if isinstance(error, NotFound) else ""
                error.args = (f"{error}{near} (line {node.line}: {redacted(node.source)})", *error.args[1:])
                raise
        return self._found[key]

    def vertex(self, reference: str, base: BaseImage, place: Place) -> int:
        """Its vertex, named by who asked first."""
        key = (base.image_id, platform_of(base))
        if key not in self._placed:
            operation = Image(
                reference=reference, image_id=base.image_id, layers=base.layers, platform=key[1]
            )
            self._placed[key] = self._vertices.add(operation, (), place)
        return self._placed[key]


def platform_of(base: BaseImage) -> str:
    """What an image is for."""
    document = base.document
    found = of_image(document.os, document.architecture, document.variant)
    return normalized(base.platform) if base.platform else found


def add_scratch(vertices: Vertices) -> int:
    """The vertex of nothing."""
    return vertices.add(Scratch(), (), Place(name="scratch"))
