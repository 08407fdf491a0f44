"""The instructions: one typed, frozen value for each, nothing expanded yet.

`grammar` makes them of nodes.  Texts are as written, quotes, escapes and variables included: what they become
depends on ARG and ENV, and `scope` replaces them.  What a flag may be (a mount's option, a mode) is
checked here when it holds no variable, else when it is expanded.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from carboy.formats.dockerfile.nodes import Heredoc, Node, read_heredoc
from carboy.formats.dockerfile.runflags import Device, MountFlag
from carboy.formats.dockerfile.words import WordError


class Pair(msgspec.Struct, frozen=True):
    """`key=value`."""

    key: str
    value: str


class Argument(msgspec.Struct, frozen=True):
    """One name of an ARG."""

    name: str
    default: str | None = None
    """None: it has none, which is not the same as an empty one."""
    comment: str = ""
    """Of a line `# NAME what it is` above."""


class CommandLine(msgspec.Struct, frozen=True):
    """What RUN, CMD, ENTRYPOINT and HEALTHCHECK run."""

    arguments: tuple[str, ...]
    """The exec form's words; the shell form's one text, or none at all."""
    shell: bool
    """The shell form: SHELL (else `/bin/sh -c`) goes in front."""
    heredocs: tuple[Heredoc, ...] = ()


class Script(msgspec.Struct, frozen=True):
    """How a RUN with heredocs is to be run."""

    text: str
    """For the shell; empty when `file` is to be run itself."""
    file: Heredoc | None = None
    """A lone heredoc that begins with `#!`: a file of this content, mode 0755, executed."""


class InlineFile(msgspec.Struct, frozen=True):
    """A heredoc as a source of COPY or ADD."""

    name: str
    data: str
    expand: bool


class Instruction(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What all have: the node that they are made of."""

    node: Node


class From(Instruction, frozen=True, kw_only=True, tag="FROM"):
    """Begins a stage."""

    base: str
    name: str = ""
    """In small letters: names of stages do not depend on case."""
    platform: str = ""


class Arg(Instruction, frozen=True, kw_only=True, tag="ARG"):
    """Declares build arguments."""

    arguments: tuple[Argument, ...]


class Env(Instruction, frozen=True, kw_only=True, tag="ENV"):
    """Sets variables, of the build and of the image."""

    pairs: tuple[Pair, ...]
    legacy: bool = False
    """`ENV name value`."""


class Label(Instruction, frozen=True, kw_only=True, tag="LABEL"):
    """Sets labels."""

    pairs: tuple[Pair, ...]
    legacy: bool = False


class Run(Instruction, frozen=True, kw_only=True, tag="RUN"):
    """Runs a command; what it changes is a layer."""

    command: CommandLine
    mounts: tuple[MountFlag, ...] = ()
    network: str = ""
    """default, none or host; empty: not said."""
    security: str = ""
    """sandbox or insecure; empty: not said."""
    devices: tuple[Device, ...] = ()


class Copy(Instruction, frozen=True, kw_only=True, tag="COPY"):
    """Copies from the context, a stage or an image."""

    sources: tuple[str, ...]
    inline: tuple[InlineFile, ...] = ()
    destination: str
    origin: str = ""
    """`--from`: a stage, an image or a named context; empty: the build context."""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


class Add(Instruction, frozen=True, kw_only=True, tag="ADD"):
    """Copies from the context, an address or a git repository; unpacks archives."""

    sources: tuple[str, ...]
    inline: tuple[InlineFile, ...] = ()
    destination: str
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None
    """None: local archives are unpacked, fetched ones are not."""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


class Workdir(Instruction, frozen=True, kw_only=True, tag="WORKDIR"):
    """Sets (and makes) the working directory."""

    path: str


class Expose(Instruction, frozen=True, kw_only=True, tag="EXPOSE"):
    """Notes ports."""

    ports: tuple[str, ...]


class Volume(Instruction, frozen=True, kw_only=True, tag="VOLUME"):
    """Declares volumes."""

    paths: tuple[str, ...]


class User(Instruction, frozen=True, kw_only=True, tag="USER"):
    """Sets the user."""

    user: str


class Entrypoint(Instruction, frozen=True, kw_only=True, tag="ENTRYPOINT"):
    """Sets the entrypoint."""

    command: CommandLine


class Cmd(Instruction, frozen=True, kw_only=True, tag="CMD"):
    """Sets the default command."""

    command: CommandLine


class Shell(Instruction, frozen=True, kw_only=True, tag="SHELL"):
    """Sets the shell of shell forms."""

    arguments: tuple[str, ...]


class StopSignal(Instruction, frozen=True, kw_only=True, tag="STOPSIGNAL"):
    """Sets the signal that stops a container."""

    signal: str


class Healthcheck(Instruction, frozen=True, kw_only=True, tag="HEALTHCHECK"):
    """Sets the health check; times are nanoseconds, 0 where nothing is said."""

    command: CommandLine | None
    """None: HEALTHCHECK NONE."""
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Onbuild(Instruction, frozen=True, kw_only=True, tag="ONBUILD"):
    """Leaves an instruction for the builds that begin from this image."""

    trigger: AnyInstruction
    expression: str
    """Its text, as the image's config carries it."""


class Maintainer(Instruction, frozen=True, kw_only=True, tag="MAINTAINER"):
    """Names the author."""

    name: str


AnyInstruction: TypeAlias = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Workdir
    | Expose
    | Volume
    | User
    | Entrypoint
    | Cmd
    | Shell
    | StopSignal
    | Healthcheck
    | Onbuild
    | Maintainer
)


def script_of(command: CommandLine) -> Script:
    """What a shell-form RUN hands to its shell, heredocs included."""
    text = command.arguments[0] if command.arguments else ""
    if not command.heredocs:
        return Script(text)
    first = command.heredocs[0]
    if is_lone_heredoc(text):
        return Script("", first) if first.text.startswith("#!") else Script(first.text)
    return Script("\n".join((text, *(each.content + each.name for each in command.heredocs))))


def is_lone_heredoc(text: str) -> bool:
    """Whether a RUN is nothing but `<<NAME`: its content is the script."""
    try:
        return read_heredoc(text) is not None
    except WordError:
        return False
