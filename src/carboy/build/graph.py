"""The graph of a build: operations as plain values, made by a frontend, run by the solver.

    Image ─▶ Directory ─▶ Files ─▶ Run ─▶ …            each an input of the next: its filesystem
                            ▲       ▲
    Context, Http, Git ─────┘       └── filesystems that are mounted

Everything is expanded and resolved as far as text can be: no variable, no stage name is left.  Values
are equal when they mean the same, and are what golden tests print.  Nothing in them depends on a clock,
a host or an order of execution.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.oci import ImageDocument


class Image(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The filesystem of an image in the store, already resolved.  No inputs."""

    reference: str
    """As the Dockerfile has it: for people."""
    image_id: str
    """sha256:… of its config."""
    layers: tuple[str, ...]
    """DiffIDs, bottom first."""
    platform: str


class Scratch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An empty filesystem.  No inputs."""


class Context(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The build context (name "") or a named one.  No inputs."""

    name: str = ""


class Http(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A file fetched by `ADD https://…`: a filesystem that holds only it, as `/filename`.  No inputs."""

    url: str
    filename: str
    checksum: str = ""
    """sha256:…, or empty."""


class Git(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A checked-out repository as a filesystem.  No inputs."""

    url: str
    """Without credentials in anything that is shown."""
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    checksum: str = ""
    """A commit that it must be, or empty."""
    submodules: bool = True


class FileSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Files operation takes something from."""

    input: int = -1
    """Index into the vertex' inputs; -1 for an inline file."""
    patterns: tuple[str, ...] = ()
    """As written, expanded: may have wildcards."""
    unpack: bool = False
    """Archives are unpacked (ADD's local ones)."""
    name: str = ""
    """Of an inline file (a heredoc)."""
    data: str = ""


class Files(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """COPY and ADD.  Input 0 is the filesystem that is added to."""

    sources: tuple[FileSource, ...]
    destination: str
    """As written: a slash at the end means a directory."""
    cwd: str = "/"
    """What a relative destination is relative to."""
    chown: str = ""
    chmod: str = ""
    """Octal or symbolic, expanded."""
    link: bool = False
    """The layer does not depend on what is below it: links in the destination are not followed."""
    parents: bool = False
    exclude: tuple[str, ...] = ()
    is_add: bool = False


class Directory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """WORKDIR: makes what is missing.  Input 0 is the filesystem."""

    path: str
    """Absolute."""
    user: str = ""
    """USER at that place: who owns what is made."""


class RunMount(msgspec.Struct, frozen=True, kw_only=True):
    """One `--mount` of a RUN."""

    type: str
    """bind, cache, tmpfs, secret or ssh."""
    target: str
    """Absolute; may be empty for a secret that comes in a variable only."""
    input: int = -1
    """Index into the vertex' inputs: what is mounted (bind), or fills it when empty (cache)."""
    source: str = ""
    """Path below that input."""
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    """Of a cache: shared, private or locked."""
    required: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int = 0
    """Bytes of a tmpfs, 0 for no bound."""
    env: str = ""
    """The variable that a secret comes in."""


class RunDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One `--device` of a RUN: a CDI name."""

    name: str
    required: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """RUN.  Input 0 is the filesystem."""

    args: tuple[str, ...]
    """The whole command line, SHELL included."""
    env: tuple[str, ...] = ()
    """NAME=VALUE: the image's ENV and the ARGs in effect, in order; proxies are not in it."""
    cwd: str = "/"
    user: str = ""
    network: str = "default"
    """default, none or host."""
    security: str = "sandbox"
    """sandbox or insecure."""
    mounts: tuple[RunMount, ...] = ()
    devices: tuple[RunDevice, ...] = ()
    script: str = ""
    """Content of a lone heredoc that begins with `#!`: args[0] is its path, see SCRIPT_PATH."""


SCRIPT_PATH = "/dev/pipes/EOF"
"""Where a heredoc script is, as with BuildKit; it never enters a layer."""

Operation: TypeAlias = Image | Scratch | Context | Http | Git | Files | Directory | Run


class Vertex(msgspec.Struct, frozen=True, kw_only=True):
    """One operation at its place."""

    index: int
    operation: Operation
    inputs: tuple[int, ...] = ()
    """Vertices that come before; for Files, Directory and Run the first is the filesystem."""
    name: str
    """For people: `[build 2/5] COPY . .`."""
    stage: str = ""
    """Its stage's label."""
    line: int = 0
    """In the Dockerfile, from 1; 0: it stands nowhere."""
    instruction: str = ""
    """As written, continuation lines joined: for people, and where an error stands."""
    ignore_cache: bool = False


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an image's history that this build makes."""

    created_by: str
    vertex: int = -1
    """Whose layer it is; -1: it changes the config only."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One image that the build is for."""

    stage: str
    platform: str
    vertex: int
    """Whose filesystem it has."""
    base: ImageDocument
    """What it begins from: architecture, history and layers of the base; an empty document for scratch."""
    config: ImageConfig
    author: str = ""
    history: tuple[HistoryStep, ...] = ()
    """In order, of all stages that it was made through since `base`."""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A whole build.  Vertices are in an order in which each stands behind its inputs."""

    vertices: tuple[Vertex, ...]
    targets: tuple[Target, ...]
    warnings: tuple[str, ...] = ()


def in_images(graph: Graph) -> frozenset[int]:
    """The vertices whose layers are in an image: each target's, and what that was made on."""
    found: set[int] = set()
    for target in graph.targets:
        index = target.vertex
        while index not in found:
            found.add(index)
            inputs = graph.vertices[index].inputs
            if not inputs:
                break
            index = inputs[0]
    return frozenset(found)
