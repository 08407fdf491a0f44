"""A stage under way: its filesystem so far, its config, its variables and its history."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping

import msgspec

from carboy.build.frontend.vertices import ENTRY, Place, Vertices
from carboy.build.graph import Context, Files, FileSource, HistoryStep, Scratch
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.scope import PROXIES, Scope
from carboy.formats.oci import MOST_LAYERS, ImageDocument

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


class StageState:
    """What the instructions of one stage have come to."""

    def __init__(
        self,
        *,
        label: str,
        name: str,
        vertex: int,
        platform: str,
        base: ImageDocument,
        config: ImageConfig,
        scope: Scope,
        ignore_cache: bool = False,
    ) -> None:
        self.label = label
        self.name = name
        """What its vertices show: empty when there is only one stage."""
        self.vertex = vertex
        """Its filesystem; a bare Context when a named context stands for the stage."""
        self.platform = platform
        self.base = base
        self.config = config
        self.scope = scope
        self.author = base.author
        self.history: list[HistoryStep] = []
        self.layers = len(base.rootfs.diff_ids)
        self.ignore_cache = ignore_cache
        self.is_bare_context = False
        self.has_cmd = False
        self.total = 0
        self.done = 0
        self.is_trigger = False
        self.trigger_line = 0
        """Where the instructions of a base image's ONBUILD stand: the line of FROM."""

    def child(self, *, label: str, name: str, ignore_cache: bool) -> StageState:
        """That of a stage that begins from this one; triggers do not reach it.  See `weight`."""
        state = StageState(
            label=label,
            name=name,
            vertex=self.vertex,
            platform=self.platform,
            base=self.base,
            config=copied(self.config),
            scope=self.scope.child(),
            ignore_cache=ignore_cache,
        )
        state.author = self.author
        state.history = list(self.history)
        state.layers = self.layers
        state.is_bare_context = self.is_bare_context
        return state

    @property
    def weight(self) -> int:
        """Roughly the bytes of a copy."""
        config = self.config
        entries = len(self.history) + len(config.exposed_ports) + len(config.labels) + len(config.volumes)
        return ENTRY * (entries + 3 * len(self.scope.variables))

    @property
    def cwd(self) -> str:
        """Where relative paths begin."""
        return self.config.working_dir or "/"

    def absolute(self, path: str) -> str:
        """A path of the image, from the working directory when it is relative; lexically."""
        joined = posixpath.normpath(posixpath.join("/", self.cwd, path))
        return "/" + joined.lstrip("/")

    def prefix(self, platform: str) -> str:
        """`[build 2/5] ` of the next vertex."""
        self.done += 1
        width = int(1 + math.log10(max(self.total, 1)))
        words = [word for word in (platform, self.name) if word]
        shown = " ".join([*words, f"{self.done:>{width}}/{self.total}"])
        return f"[{shown}] " + ("ONBUILD " if self.is_trigger else "")

    def place(self, node: Node, name: str, *, instruction: str) -> Place:
        """Where a vertex of this stage stands."""
        return Place(
            name=name,
            stage=self.label,
            line=self.trigger_line or node.line,
            instruction=instruction,
            ignore_cache=self.ignore_cache,
        )

    def filesystem(self, vertices: Vertices) -> int:
        """The vertex to build upon: a context that stands for a stage becomes a layer first."""
        if self.is_bare_context:
            place = Place(name=f"[{self.label}] COPY . /", stage=self.label)
            bottom = vertices.add(Scratch(), (), Place(name="scratch"))
            files = Files(sources=(FileSource(input=1, patterns=(".",)),), destination="/")
            self.vertex = vertices.add(files, (bottom, self.vertex), place)
            self.is_bare_context = False
            self.remember("COPY . / # buildkit", self.vertex)
            self.layers += 1
        return self.vertex

    def remember(self, created_by: str, vertex: int = -1) -> None:
        """A line of history."""
        self.history.append(HistoryStep(created_by=created_by, vertex=vertex))

    def grown(self, vertex: int, created_by: str) -> None:
        """A layer more."""
        self.vertex = vertex
        self.remember(created_by, vertex)
        self.layers += 1
        if self.layers > MOST_LAYERS:
            raise InvalidArgument(
                f"the stage {self.label} would have more than {MOST_LAYERS} layers: "
                "join RUN instructions with &&, or COPY what another stage has made"
            )

    def arguments(self, given: Mapping[str, str]) -> list[tuple[str, str]]:
        """The ARGs in effect as history shows them, without proxies that were given."""
        return [
            (name, self.scope.variables.get(name, value or ""))
            for name, value in self.scope.arguments.items()
            if not self._is_proxy(name, given)
        ]

    def environment(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """NAME=VALUE for RUN: ENV and ARGs, without proxies that were given."""
        return tuple(
            [
                f"{name}={value}"
                for name, value in self.scope.variables.items()
                if not self._is_proxy(name, given)
            ]
        )

    def _is_proxy(self, name: str, given: Mapping[str, str]) -> bool:
        return name in given and is_proxy(name) and name not in self.scope.environment


def is_proxy(name: str) -> bool:
    """Whether it is one of the variables that RUN gets and nothing else sees."""
    return name.upper() in PROXIES


def new_config(document: ImageDocument) -> ImageConfig:
    """The config that a stage begins with: the image's, with a PATH and without its triggers."""
    config = copied(document.config)
    config.on_build = []
    if not any(each.startswith("PATH=") for each in config.env):
        config.env.append("PATH=" + DEFAULT_PATH)
    if config.working_dir:
        config.working_dir = "/" + posixpath.normpath("/" + config.working_dir).lstrip("/")
    return config


def copied(config: ImageConfig) -> ImageConfig:
    """One that may be changed."""
    return msgspec.structs.replace(
        config,
        exposed_ports=dict(config.exposed_ports),
        env=list(config.env),
        volumes=dict(config.volumes),
        on_build=[],
        labels=dict(config.labels),
    )


def _context_place(name: str) -> Place:
    """Where a context stands, for people."""
    return Place(name=f"[context {name}] load from client" if name else "[internal] load build context")


def add_context(vertices: Vertices, name: str) -> int:
    """The vertex of a context."""
    return vertices.add(Context(name=name), (), _context_place(name))
