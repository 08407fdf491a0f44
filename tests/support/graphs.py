"""Build graphs as text, for golden tests: Dockerfiles of tests/golden/build and their images."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import msgspec

from carboy.build.frontend.drawing import BaseImage, FrontendRequest
from carboy.build.graph import Graph, Target, Vertex
from carboy.errors import NotFound
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.wire import from_plain
from carboy.formats.oci import History, ImageDocument, RootFS, encode_image
from carboy.formats.reference import parse


class BaseOptions(msgspec.Struct, forbid_unknown_fields=True):
    """One image of case.json."""

    config: dict[str, Any] = {}
    """As in an image's config: Env, Cmd, OnBuild …"""
    layers: int = 1
    author: str = ""
    platforms: list[str] = []
    """Which it has; empty: any."""
    missing: bool = False


class CaseOptions(msgspec.Struct, forbid_unknown_fields=True):
    """case.json: what a build is told beside the Dockerfile."""

    arguments: dict[str, str] = {}
    labels: dict[str, str] = {}
    targets: list[str] = []
    platforms: list[str] = []
    contexts: dict[str, str] = {}
    bases: dict[str, BaseOptions] = {}
    no_cache: bool = False
    no_cache_filter: list[str] = []
    network: str = "default"
    epoch: int | None = None
    host_platform: str = "linux/amd64"

    def request(self) -> FrontendRequest:
        """What the frontend is told."""
        return FrontendRequest(
            arguments=self.arguments,
            labels=self.labels,
            targets=tuple(self.targets),
            platforms=tuple(self.platforms),
            contexts=self.contexts,
            no_cache=self.no_cache,
            no_cache_filter=tuple(self.no_cache_filter),
            network=self.network,
            epoch=self.epoch,
            host_platform=self.host_platform,
        )


class FakeBases:
    """Images that a case names, and for all other references a plain one."""

    def __init__(self, options: CaseOptions) -> None:
        self._options = options

    def resolve(self, reference: str, platform: str) -> BaseImage:
        options = self._options.bases.get(reference, BaseOptions())
        wanted = platform or self._options.host_platform
        if options.platforms and wanted not in options.platforms:
            if platform:
                raise NotFound(f"no match for platform {platform} in {reference}: not found")
            wanted = options.platforms[0]
        if options.missing:
            raise NotFound(f"no such image: {reference}: not found")
        return base_image(reference, wanted, options)


def base_image(reference: str, platform: str, options: BaseOptions) -> BaseImage:
    """An image that is always the same."""
    name = str(parse(reference).tagged())
    names = [f"{name} {platform} layer {number}" for number in range(options.layers)]
    layers = ["sha256:" + sha256(name.encode()).hexdigest() for name in names]
    config, unknown = from_plain(options.config, ImageConfig)
    assert not unknown, unknown
    system, architecture, *rest = platform.split("/")
    document = ImageDocument(
        architecture=architecture,
        variant=rest[0] if rest else "",
        os=system,
        author=options.author,
        config=config,
        rootfs=RootFS(diff_ids=layers),
        history=[History(created_by=f"{name} step {number}") for number in range(options.layers)],
    )
    digest = "sha256:" + sha256(encode_image(document)).hexdigest()
    return BaseImage(digest, document, tuple(layers), platform)


def graph_text(graph: Graph) -> str:
    """Vertices, each with its inputs and what it has besides defaults, and warnings."""
    lines: list[str] = []
    for vertex in graph.vertices:
        lines += _vertex(vertex)
    lines += [f"warning: {text}" for text in graph.warnings]
    return "\n".join(lines) + "\n"


def _vertex(vertex: Vertex) -> list[str]:
    inputs = " ".join(f"#{number}" for number in vertex.inputs)
    lines = [f"#{vertex.index} {type(vertex.operation).__name__}" + (f" <- {inputs}" if inputs else "")]
    lines.append(f"    {vertex.name}")
    if vertex.stage:
        lines.append(f"    at: stage {vertex.stage}, line {vertex.line}")
    if vertex.instruction and not vertex.name.endswith(vertex.instruction):
        lines.append(f"    as: {vertex.instruction}")
    if vertex.ignore_cache:
        lines.append("    the cache is not asked")
    lines += [f"    {name}: {value}" for name, value in _fields(vertex.operation).items()]
    return lines


def _fields(value: msgspec.Struct) -> dict[str, str]:
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    shown: dict[str, str] = {}
    for name in value.__struct_fields__:
        one = getattr(value, name)
        if name in defaults and defaults[name] == one:
            continue
        if name in ("image_id", "layers"):
            one = _short(one)
        if name == "mode":
            one = f"{one:04o}"
        if isinstance(one, tuple) and one and isinstance(one[0], msgspec.Struct):
            for number, each in enumerate(one):
                parts = [f"{key}={text}" for key, text in _fields(each).items()]
                shown[f"{name}[{number}]"] = " ".join(parts)
            continue
        shown[name] = json.dumps(one, ensure_ascii=False)
    return shown


def _short(value: str | tuple[str, ...]) -> str | list[str]:
    if isinstance(value, str):
        return value[:19]
    return [each[:19] for each in value]


def config_text(graph: Graph) -> str:
    """The images of a graph: what each becomes, without what the base's own history says."""
    return json.dumps([_target(target) for target in graph.targets], indent=1, ensure_ascii=False) + "\n"


def _target(target: Target) -> dict[str, Any]:
    document = ImageDocument(config=target.config)
    config = json.loads(encode_image(document)).get("config", {})
    result = {
        "stage": target.stage,
        "platform": target.platform,
        "vertex": target.vertex,
        "base_layers": len(target.base.rootfs.diff_ids),
        "author": target.author,
        "config": config,
        "history": [
            (f"#{step.vertex} " if step.vertex >= 0 else "") + step.created_by for step in target.history
        ],
    }
    return {key: value for key, value in result.items() if value or key == "vertex"}
