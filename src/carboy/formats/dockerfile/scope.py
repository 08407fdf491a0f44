"""What variables mean at one point of a stage, and instructions with their variables replaced.

A stage begins with the variables of its base; every ARG and ENV changes them for what follows:

    ARG n        the build argument n; else the global n (an ARG before the first FROM, or one of the
                 platform's); else unset, unless the base has it
    ARG n=d      the build argument n; else d, expanded here
    ENV n=v      v, expanded with what was there before the whole instruction

As with BuildKit, both share one name space and the last one wins; what a stage declared is inherited by
a stage that begins from it.  Proxies may be given as arguments and are not declared: RUN sees them, and
neither image, history nor cache key does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.instructions import AnyInstruction, Argument, InlineFile, Pair
from carboy.formats.dockerfile.modes import ModeError, read_mode
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.runflags import FlagError, MountFlag, resolve_mount
from carboy.formats.dockerfile.source import DEFAULT_LIMITS, DockerfileError, Limits, Span
from carboy.formats.dockerfile.words import Lexer, WordError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""Arguments that need no ARG, in capitals or small letters."""

PLATFORM_ARGUMENTS = (
    "BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT",
    "TARGETPLATFORM", "TARGETOS", "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
)  # fmt: skip
"""Global arguments that are always there."""

BUILDER_ARGUMENTS = (
    "SOURCE_DATE_EPOCH", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME", "BUILDKIT_SYNTAX", "BUILDKIT_BUILD_NAME",
)  # fmt: skip
"""Arguments that speak to the builder: nobody has to declare them."""

_Made = TypeVar("_Made", bound=made.Instruction)


class Expanded(msgspec.Struct, frozen=True):
    """An instruction with its variables replaced."""

    instruction: AnyInstruction
    used: frozenset[str] = frozenset()
    """Variables that it asked for and that are set."""
    unset: frozenset[str] = frozenset()
    """Variables that it asked for and that are not."""


class Scope:
    """Variables at one point; `apply` moves it behind an instruction."""

    def __init__(
        self,
        *,
        environment: Iterable[str] = (),
        given: Mapping[str, str] | None = None,
        global_arguments: Mapping[str, str] | None = None,
        escape: str = "\\",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`environment`: the base image's, NAME=value each; `given`: the build arguments."""
        self.environment: dict[str, str] = {}
        """What the image gets: the base's, and every ENV."""
        for each in environment:
            name, _, value = each.partition("=")
            self.environment[name] = value
        self.variables = dict(self.environment)
        """What words are expanded with, and what RUN sees (beside proxies)."""
        self.arguments: dict[str, str | None] = {}
        """Declared so far, None for those that have no value."""
        self._given = given or {}
        self._globals = global_arguments or {}
        self._limits = limits
        self._lexer = Lexer(escape, limits=limits)
        self._inline = Lexer("\\", keep_quotes=True, limits=limits)
        self._used: set[str] = set()
        self._unset: set[str] = set()

    def child(self) -> Scope:
        """That of a stage that begins from this one."""
        scope = Scope(given=self._given, global_arguments=self._globals, limits=self._limits)
        scope._lexer = self._lexer
        scope.environment = dict(self.environment)
        scope.variables = dict(self.variables)
        scope.arguments = dict(self.arguments)
        return scope

    @property
    def proxies(self) -> dict[str, str]:
        """Given proxies, for RUN alone."""
        return {name: value for name, value in self._given.items() if name.upper() in PROXIES}

    def apply(self, instruction: AnyInstruction) -> Expanded:
        """Replace its variables, and have it change them; raises DockerfileError."""
        self._used, self._unset = set(), set()
        expander = _EXPANDERS.get(type(instruction))
        if expander is None:
            return Expanded(instruction)
        try:
            result = expander(self, instruction)
        except WordError as error:
            raise DockerfileError(str(error), _place(instruction.node, error.word)) from error
        except (FlagError, ModeError) as error:
            raise DockerfileError(str(error), instruction.node.whole_span) from error
        return Expanded(result, frozenset(self._used), frozenset(self._unset))

    def _word(self, text: str) -> str:
        expansion = self._lexer.expand(text, self.variables)
        self._used |= expansion.used
        self._unset |= expansion.unset
        return expansion.text

    def _words(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([self._word(text) for text in texts])

    def _pairs(self, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple([Pair(self._word(pair.key), self._word(pair.value)) for pair in pairs])

    def _inlines(self, files: tuple[InlineFile, ...]) -> tuple[InlineFile, ...]:
        results = []
        for file in files:
            if file.expand:
                expansion = self._inline.expand(file.data, self.variables)
                self._used |= expansion.used
                self._unset |= expansion.unset
                file = InlineFile(file.name, expansion.text, False)
            results.append(file)
        return tuple(results)

    def _mode(self, text: str) -> str:
        mode = self._word(text)
        if mode:
            read_mode(mode)
        return mode

    def _arg(self, instruction: made.Arg) -> made.Arg:
        results = []
        for argument in instruction.arguments:
            name, value = argument.name, argument.default
            if name in self._given:
                value = self._given[name]
            elif value is not None:
                value = self._word(value)
            elif name in self._globals:
                value = self._globals[name]
            self.arguments[name] = value
            if value is not None:
                self.variables[name] = value
            results.append(Argument(name, value, argument.comment))
        return _with(instruction, arguments=tuple(results))

    def _env(self, instruction: made.Env) -> made.Env:
        pairs = self._pairs(instruction.pairs)
        for pair in pairs:
            self.environment[pair.key] = self.variables[pair.key] = pair.value
        return _with(instruction, pairs=pairs)

    def _label(self, instruction: made.Label) -> made.Label:
        return _with(instruction, pairs=self._pairs(instruction.pairs))

    def _run(self, instruction: made.Run) -> made.Run:
        mounts = []
        for flag in instruction.mounts:
            fields = [
                (key, value if value is None or key == "from" else self._word(value))
                for key, value in flag.fields
            ]
            mounts.append(MountFlag(tuple(fields)))
            resolve_mount(mounts[-1])
        return _with(instruction, mounts=tuple(mounts)) if mounts else instruction

    def _copy(self, instruction: made.Copy) -> made.Copy:
        return _with(
            instruction,
            chown=self._word(instruction.chown),
            chmod=self._mode(instruction.chmod),
            exclude=self._words(instruction.exclude),
            sources=self._words(instruction.sources),
            destination=self._word(instruction.destination),
            inline=self._inlines(instruction.inline),
        )

    def _add(self, instruction: made.Add) -> made.Add:
        return _with(
            instruction,
            chown=self._word(instruction.chown),
            chmod=self._mode(instruction.chmod),
            checksum=self._word(instruction.checksum),
            exclude=self._words(instruction.exclude),
            sources=self._words(instruction.sources),
            destination=self._word(instruction.destination),
            inline=self._inlines(instruction.inline),
        )

    def _expose(self, instruction: made.Expose) -> made.Expose:
        ports: list[str] = []
        for text in instruction.ports:
            # Here alone one word may become several: `EXPOSE $PORTS`.
            self._word(text)
            ports += self._lexer.words(text, self.variables)
        return _with(instruction, ports=tuple(ports))

    def _volume(self, instruction: made.Volume) -> made.Volume:
        paths = self._words(instruction.paths)
        if "" in paths:
            raise WordError("VOLUME specified can not be an empty string")
        return _with(instruction, paths=paths)

    def _workdir(self, instruction: made.Workdir) -> made.Workdir:
        return _with(instruction, path=self._word(instruction.path))

    def _user(self, instruction: made.User) -> made.User:
        return _with(instruction, user=self._word(instruction.user))

    def _stop_signal(self, instruction: made.StopSignal) -> made.StopSignal:
        return _with(instruction, signal=self._word(instruction.signal))


def _place(node: Node, text: str) -> tuple[Span, ...]:
    """Where the word stands that could not be expanded."""
    for word in (*node.flags, *node.arguments):
        if text and text in word.value:
            return node.span_of(word)
    return node.whole_span


def _with(instruction: _Made, **changes: object) -> _Made:
    return msgspec.structs.replace(instruction, **changes)


_EXPANDERS: dict[type, Callable[..., AnyInstruction]] = {
    made.Arg: Scope._arg,
    made.Env: Scope._env,
    made.Label: Scope._label,
    made.Run: Scope._run,
    made.Copy: Scope._copy,
    made.Add: Scope._add,
    made.Expose: Scope._expose,
    made.Volume: Scope._volume,
    made.Workdir: Scope._workdir,
    made.User: Scope._user,
    made.StopSignal: Scope._stop_signal,
}
"""What is not here is not expanded: RUN's command, CMD, ENTRYPOINT … are their shell's to read."""
