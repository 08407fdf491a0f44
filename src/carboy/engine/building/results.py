"""What becomes of a solved graph: images in the store, and exports that the client will fetch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import msgspec

from carboy.build.crew import Crew
from carboy.build.exporters.compressing import Compressing
from carboy.build.exporters.document import result_document
from carboy.build.exporters.encoders import parse_encoder
from carboy.build.exporters.flat import directory_names, write_flat
from carboy.build.exporters.layouts import BuiltImage, Layout, manifest_of, plan_layout
from carboy.build.graph import Graph
from carboy.build.operation import FORMAT_VERSION, Filesystem
from carboy.build.request import BuildRequest, Output
from carboy.build.solver import Solved
from carboy.digest import Digest
from carboy.engine.building.bench import Export
from carboy.engine.building.requests import parse_tag
from carboy.engine.images.service import ImageService
from carboy.errors import InvalidArgument
from carboy.formats import oci
from carboy.formats.dockerapi.build import TraceImage, TraceOutput
from carboy.formats.reference import Reference
from carboy.store.archiveout import Sink
from carboy.store.layers import LayerStore
from carboy.store.paths import Paths
from carboy.store.views import mounted

_LAYOUTS = ("oci", "docker")
"""Types of output that hold layers."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a build has made."""

    images: tuple[TraceImage, ...]
    outputs: tuple[TraceOutput, ...]
    exports: dict[int, Export]
    layers: tuple[Digest, ...]
    """All that the exports need."""


@dataclass(frozen=True, slots=True)
class Extras:
    """More that goes into configs, by their names there (the inline cache)."""

    fields: dict[str, object]


class _FlatExport:
    """Types tar and local."""

    def __init__(self, roots: list[tuple[str, tuple[Digest, ...]]], layers: LayerStore, paths: Paths) -> None:
        self._roots = roots
        self._layers = layers
        self._paths = paths

    def write(self, sink: Sink) -> None:
        write_flat(self._roots, self._view, sink)

    def close(self) -> None:
        """It holds nothing."""

    def _view(self, layers: tuple[Digest, ...]) -> AbstractContextManager[int]:
        return mounted(self._layers, layers, self._paths)


class _LayoutExport:
    """Types oci and docker."""

    def __init__(self, layout: Layout, layers: LayerStore) -> None:
        self._layout = layout
        self._layers = layers

    def write(self, sink: Sink) -> None:
        self._layout.write(self._layers, sink)

    def close(self) -> None:
        self._layout.close()


@dataclass(frozen=True, slots=True)
class Finisher:
    """Makes the results of builds."""

    images: ImageService
    layers: LayerStore
    paths: Paths
    host_platform: str
    crew: Crew
    """Compresses."""

    def compressing(self, request: BuildRequest, check: Callable[[], None]) -> Compressing:
        """What compresses layers for the request's outputs, from the end of their steps on; close it."""
        encoders = [
            parse_encoder(dict(output.attributes)) for output in request.outputs if output.type in _LAYOUTS
        ]
        return Compressing(self.layers, self.paths.ingest, self.crew, encoders=encoders, check=check)

    def finish(
        self,
        request: BuildRequest,
        graph: Graph,
        solved: Solved,
        *,
        epoch: int,
        extras: Extras,
        compressing: Compressing,
        check: Callable[[], None],
    ) -> Results:
        """All outputs; nothing of them is visible when one cannot be made."""
        built = self._built(graph, solved, epoch, extras)
        names = self._names(request, built)
        exports: dict[int, Export] = {}
        outputs: list[TraceOutput] = []
        stored: dict[int, list[Reference]] = {}
        with ExitStack() as unfinished:
            for index, output in enumerate(request.outputs):
                check()
                if output.type == "image":
                    for place, references in enumerate(_with_attribute(names, output)):
                        stored.setdefault(place, []).extend(references)
                    outputs.append(TraceOutput(index=index, type="image", image_id=str(built[-1].id)))
                elif output.type != "cacheonly":
                    exports[index], told = self._export(index, output, built, names, compressing)
                    unfinished.callback(exports[index].close)
                    outputs.append(told)
            if stored:
                self._store(built, stored)
            unfinished.pop_all()
        told_images = [self._told(image, stored.get(place, ())) for place, image in enumerate(built)]
        needed = dict.fromkeys(diff_id for image in built for diff_id, _ in image.layers)
        return Results(tuple(told_images), tuple(outputs), exports, tuple(needed))

    def _built(self, graph: Graph, solved: Solved, epoch: int, extras: Extras) -> list[BuiltImage]:
        values, own, built = solved.values, solved.layers, []
        for target in graph.targets:
            value = values[target.vertex]
            if not isinstance(value, Filesystem):
                raise InvalidArgument(f"the stage {target.stage} is a context, and no image")
            document = result_document(target, value.layers, own, epoch=epoch)
            config = oci.encode_image(document)
            if extras.fields:
                plain = msgspec.json.decode(config, type=dict[str, object])
                config = msgspec.json.encode({**plain, **extras.fields}, order="sorted")
            sized = tuple((layer, self.layers.get(layer).size) for layer in value.layers)
            built.append(BuiltImage(target.stage, target.platform, config, sized))
        return built

    def _store(self, built: Sequence[BuiltImage], names: Mapping[int, Sequence[Reference]]) -> None:
        self.images.add_built(
            [(image.config, list(dict.fromkeys(names.get(place, ())))) for place, image in enumerate(built)],
            form=FORMAT_VERSION,
        )

    def _names(self, request: BuildRequest, built: Sequence[BuiltImage]) -> list[list[Reference]]:
        """Which names each image gets: all those of the last target, on this machine's platform."""
        references = [parse_tag(tag) for tag in request.tags]
        targets = list(dict.fromkeys(image.target for image in built))
        if len(targets) > 1 and len(references) == len(targets):
            by_target = dict(zip(targets, ([one] for one in references), strict=True))
        else:
            by_target = {targets[-1]: references}
        found: list[list[Reference]] = [[] for _ in built]
        for target, own in by_target.items():
            places = [place for place, image in enumerate(built) if image.target == target]
            native = [place for place in places if built[place].platform == self.host_platform]
            found[(native or places)[0]] = own
        return found

    def _export(
        self,
        index: int,
        output: Output,
        built: list[BuiltImage],
        names: list[list[Reference]],
        compressing: Compressing,
    ) -> tuple[Export, TraceOutput]:
        if output.type in ("tar", "local"):
            directories = directory_names([(image.target, image.platform) for image in built])
            if output.attributes.get("platform-split", "").lower() in ("false", "0"):
                directories = [""] * len(built) if len(built) == 1 else directories
            elif output.attributes.get("platform-split", "").lower() in ("true", "1") and len(built) == 1:
                directories = [built[0].platform.replace("/", "_")]
            roots = [
                (directory, tuple(diff_id for diff_id, _ in image.layers))
                for directory, image in zip(directories, built, strict=True)
            ]
            return _FlatExport(roots, self.layers, self.paths), TraceOutput(index=index, type=output.type)
        layout = plan_layout(
            output.type,
            built,
            encoder=parse_encoder(dict(output.attributes)),
            oci_types=_oci_types(output),
            names=[one for references in _with_attribute(names, output) for one in references],
            compressing=compressing,
        )
        told = TraceOutput(
            index=index,
            type=output.type,
            digest=str(layout.digest),
            image_id=str(built[0].id),
            encoder=layout.encoder,
        )
        return _LayoutExport(layout, self.layers), told

    def _told(self, image: BuiltImage, references: Sequence[Reference]) -> TraceImage:
        return TraceImage(
            id=str(image.id),
            target=image.target,
            platform=image.platform,
            names=[reference.familiar for reference in references],
            digest=str(Digest.of(manifest_of(image))),
            layers=[str(diff_id) for diff_id, _ in image.layers],
            size=sum(size for _, size in image.layers),
        )


def _with_attribute(names: list[list[Reference]], output: Output) -> list[list[Reference]]:
    """`name=a,b` names the image that has the tags, too."""
    more = [parse_tag(name) for name in output.attributes.get("name", "").split(",") if name]
    if not more:
        return names
    place = next((index for index, own in enumerate(names) if own), len(names) - 1)
    return [[*own, *more] if index == place else own for index, own in enumerate(names)]


def _oci_types(output: Output) -> bool:
    given = output.attributes.get("oci-mediatypes", "").lower()
    if given not in ("", "true", "false", "1", "0"):
        raise InvalidArgument(f"invalid oci-mediatypes {given[:20]!r}: use true or false")
    return given not in ("false", "0")
