"""Nodes to instructions: what each instruction takes, and what is wrong with one that takes more.

`parse_instruction(node)` checks flags, counts and forms; a `DockerfileError` points at the word that is
wrong, in BuildKit's words where it has some.  One function per instruction, one table of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.instructions import AnyInstruction, CommandLine
from carboy.formats.dockerfile.modes import ModeError, read_mode
from carboy.formats.dockerfile.nodes import STYLES, Node, Word, read_heredoc
from carboy.formats.dockerfile.runflags import (
    Device,
    FlagError,
    MountFlag,
    read_device,
    read_mount,
    resolve_mount,
)
from carboy.formats.dockerfile.source import DockerfileError, suggestion
from carboy.formats.dockerfile.words import WordError

NETWORKS = ("default", "none", "host")
SECURITIES = ("sandbox", "insecure")
MINIMUM_DURATION = 1_000_000
"""Nanoseconds: Docker takes no shorter time in a HEALTHCHECK."""

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_DURATION = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_MAX_DURATION = (1 << 63) - 1

TEXT, TEXTS, SWITCH = "text", "texts", "switch"
"""Kinds of flags: one value; one or more; true or false, true when no value is said."""

FLAGS: dict[str, dict[str, str]] = {
    "FROM": {"platform": TEXT},
    "RUN": {"mount": TEXTS, "network": TEXT, "security": TEXT, "device": TEXTS},
    "COPY": {
        "from": TEXT, "chown": TEXT, "chmod": TEXT, "link": SWITCH, "parents": SWITCH, "exclude": TEXTS,
    },
    "ADD": {
        "chown": TEXT, "chmod": TEXT, "link": SWITCH, "keep-git-dir": SWITCH, "checksum": TEXT,
        "unpack": SWITCH, "exclude": TEXTS,
    },
    "HEALTHCHECK": {
        "interval": TEXT, "timeout": TEXT, "start-period": TEXT, "start-interval": TEXT, "retries": TEXT,
    },
}  # fmt: skip
"""Every flag that there is; instructions that are not named take none."""

_NO_FLAGS: dict[str, str] = {}


def parse_instruction(node: Node) -> AnyInstruction:
    """What a node means; raises DockerfileError."""
    reader = _READERS.get(node.name)
    if reader is None:
        found = suggestion(node.keyword, tuple(STYLES))
        raise DockerfileError(f"unknown instruction: {node.keyword}{found}", node.keyword_span)
    return reader(node)


class _Flags:
    """The flags of one node, checked against the table."""

    __slots__ = ("_found", "_node")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._found: dict[str, list[tuple[str, Word]]] = {}
        kinds = FLAGS.get(node.name, _NO_FLAGS)
        for word in node.flags:
            name, equals, value = word.value[2:].partition("=")
            kind = kinds.get(name)
            if kind is None:
                found = suggestion(name, tuple(kinds))
                _fail(node, word, f"unknown flag: --{name}{found}")
            if name in self._found and kind != TEXTS:
                _fail(node, word, f"duplicate flag specified: {name}")
            if kind == SWITCH:
                value = self._switch(name, value, word, said=bool(equals))
            elif not equals:
                _fail(node, word, f"missing a value on flag: {name}")
            self._found.setdefault(name, []).append((value, word))

    def _switch(self, name: str, value: str, word: Word, *, said: bool) -> str:
        if not said:
            return "true"
        if not value:
            _fail(self._node, word, f"missing a value on flag: {name}")
        if value.lower() not in ("true", "false"):
            _fail(self._node, word, f"expecting boolean value for flag {name}, not: {value}")
        return value.lower()

    def text(self, name: str) -> str:
        found = self._found.get(name)
        return found[0][0] if found else ""

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(value for value, _ in self._found.get(name, ()))

    def words(self, name: str) -> list[tuple[str, Word]]:
        return self._found.get(name, [])

    def is_on(self, name: str) -> bool:
        return self.text(name) == "true"

    def choice(self, name: str) -> bool | None:
        return self.is_on(name) if name in self._found else None

    def one_of(self, name: str, known: tuple[str, ...], what: str) -> str:
        value = self.text(name)
        if value and value not in known:
            word = self._found[name][0][1]
            _fail(self._node, word, f'{what} "{value}"{suggestion(value, known)}')
        return value


def _fail(node: Node, word: Word | None, message: str, *, mend: str = "") -> NoReturn:
    raise DockerfileError(message, node.span_of(word) if word else node.whole_span, mend=mend)


def _values(node: Node) -> tuple[str, ...]:
    return tuple([word.value for word in node.arguments])


def _at_least_one(node: Node) -> None:
    if not node.arguments:
        _fail(node, None, f"{node.name} requires at least one argument")


def _only(node: Node) -> str:
    """The argument of an instruction that takes one."""
    if len(node.arguments) != 1:
        _fail(node, None, f"{node.name} requires exactly one argument")
    _Flags(node)
    return node.arguments[0].value


def _command(node: Node, words: tuple[Word, ...]) -> CommandLine:
    return CommandLine(tuple([word.value for word in words]), not node.is_json, node.heredocs)


def _from(node: Node) -> AnyInstruction:
    words = node.arguments
    name = ""
    if len(words) == 3 and words[1].value.lower() == "as":
        name = words[2].value.lower()
        if not _STAGE_NAME.fullmatch(name):
            _fail(
                node,
                words[2],
                f'invalid name for build stage: "{words[2].value}", '
                "name can't start with a number or contain symbols",
            )
    elif len(words) != 1:
        _fail(node, words[1] if len(words) > 1 else None, "FROM requires either one or three arguments")
    return made.From(node=node, base=words[0].value, name=name, platform=_Flags(node).text("platform"))


def _arg(node: Node) -> AnyInstruction:
    _at_least_one(node)
    _Flags(node)
    comments: dict[str, str] = {}
    for each in node.comments:
        about, space, text = each.text.partition(" ")
        if space:
            comments.setdefault(about, text)
    arguments = []
    for word in node.arguments:
        name, equals, default = word.value.partition("=")
        if not name:
            _fail(node, word, "ARG names can not be blank")
        arguments.append(made.Argument(name, default if equals else None, comments.get(name, "")))
    return made.Arg(node=node, arguments=tuple(arguments))


def _pairs(node: Node) -> tuple[made.Pair, ...]:
    _Flags(node)
    _at_least_one(node)
    words = node.arguments
    for word in words[::2]:
        if not word.value:
            _fail(node, word, f"{node.name} names can not be blank")
    return tuple([made.Pair(words[n].value, words[n + 1].value) for n in range(0, len(words), 2)])


def _env(node: Node) -> AnyInstruction:
    return made.Env(node=node, pairs=_pairs(node), legacy=node.is_legacy)


def _label(node: Node) -> AnyInstruction:
    return made.Label(node=node, pairs=_pairs(node), legacy=node.is_legacy)


def _run(node: Node) -> AnyInstruction:
    command = _command(node, node.arguments)
    if not node.flags:
        return made.Run(node=node, command=command)
    flags = _Flags(node)
    mounts: list[MountFlag] = []
    devices: list[Device] = []
    for value, word in flags.words("mount"):
        try:
            mounts.append(read_mount(value))
            if not mounts[-1].has_variables:
                resolve_mount(mounts[-1])
        except FlagError as error:
            _fail(node, word, str(error))
    for value, word in flags.words("device"):
        try:
            devices.append(read_device(value))
        except FlagError as error:
            _fail(node, word, str(error))
    return made.Run(
        node=node,
        command=command,
        mounts=tuple(mounts),
        network=flags.one_of("network", NETWORKS, "unsupported network mode"),
        security=flags.one_of("security", SECURITIES, "unsupported security mode"),
        devices=tuple(devices),
    )


def _places(node: Node) -> tuple[tuple[str, ...], tuple[made.InlineFile, ...], str]:
    """Sources, heredocs and the destination of COPY and ADD."""
    words = node.arguments
    if len(words) < 2:
        message = "requires at least two arguments, but only one was provided."
        _fail(node, None, f"{node.name} {message} Destination could not be determined")
    if _heredoc_name(words[-1].value) is not None:
        _fail(node, words[-1], f"{node.name} cannot accept a heredoc as a destination")
    sources, inline = [], []
    contents = {each.name: each for each in node.heredocs}
    for word in words[:-1]:
        name = _heredoc_name(word.value) if contents else None
        found = contents.get(name) if name is not None else None
        if found:
            inline.append(made.InlineFile(found.name, found.text, found.expand))
        else:
            sources.append(word.value)
    return tuple(sources), tuple(inline), words[-1].value


def _heredoc_name(word: str) -> str | None:
    if "<<" not in word:
        return None
    try:
        found = read_heredoc(word)
    except WordError:
        return None
    return found[0] if found else None


def _mode(node: Node, flags: _Flags) -> str:
    """The value of `--chmod`, checked when it is final."""
    mode = flags.text("chmod")
    if mode and "$" not in mode:
        try:
            read_mode(mode)
        except ModeError as error:
            _fail(node, flags.words("chmod")[0][1], str(error))
    return mode


def _copy(node: Node) -> AnyInstruction:
    sources, inline, destination = _places(node)
    if not node.flags:
        return made.Copy(node=node, sources=sources, inline=inline, destination=destination)
    flags = _Flags(node)
    if "$" in flags.text("from")[:-1]:
        _fail(
            node,
            flags.words("from")[0][1],
            "variable expansion is not supported for --from, "
            "define a new stage with FROM using ARG from global scope as a workaround",
        )
    return made.Copy(
        node=node,
        sources=sources,
        inline=inline,
        destination=destination,
        origin=flags.text("from"),
        chown=flags.text("chown"),
        chmod=_mode(node, flags),
        link=flags.is_on("link"),
        parents=flags.is_on("parents"),
        exclude=flags.texts("exclude"),
    )


def _add(node: Node) -> AnyInstruction:
    sources, inline, destination = _places(node)
    flags = _Flags(node)
    return made.Add(
        node=node,
        sources=sources,
        inline=inline,
        destination=destination,
        checksum=flags.text("checksum"),
        keep_git_dir=flags.choice("keep-git-dir"),
        unpack=flags.choice("unpack"),
        chown=flags.text("chown"),
        chmod=_mode(node, flags),
        link=flags.is_on("link"),
        exclude=flags.texts("exclude"),
    )


def _workdir(node: Node) -> AnyInstruction:
    return made.Workdir(node=node, path=_only(node))


def _user(node: Node) -> AnyInstruction:
    return made.User(node=node, user=_only(node))


def _stop_signal(node: Node) -> AnyInstruction:
    return made.StopSignal(node=node, signal=_only(node))


def _maintainer(node: Node) -> AnyInstruction:
    return made.Maintainer(node=node, name=_only(node))


def _expose(node: Node) -> AnyInstruction:
    _at_least_one(node)
    _Flags(node)
    # In order of text: the same ports in another order are the same instruction.
    return made.Expose(node=node, ports=tuple(sorted(_values(node))))


def _volume(node: Node) -> AnyInstruction:
    _at_least_one(node)
    _Flags(node)
    for word in node.arguments:
        if not word.value.strip():
            _fail(node, word, "VOLUME specified can not be an empty string")
    return made.Volume(node=node, paths=tuple([word.value.strip() for word in node.arguments]))


def _entrypoint(node: Node) -> AnyInstruction:
    _Flags(node)
    return made.Entrypoint(node=node, command=_command(node, node.arguments))


def _cmd(node: Node) -> AnyInstruction:
    _Flags(node)
    return made.Cmd(node=node, command=_command(node, node.arguments))


def _shell(node: Node) -> AnyInstruction:
    _Flags(node)
    _at_least_one(node)
    if not node.is_json:
        shown = node.arguments[0].value
        _fail(
            node,
            node.arguments[0],
            f"SHELL requires the arguments to be in JSON form, not: {shown}",
            mend='write it as SHELL ["program", "argument"]',
        )
    return made.Shell(node=node, arguments=_values(node))


def _healthcheck(node: Node) -> AnyInstruction:
    _at_least_one(node)
    kind, *rest = node.arguments
    if kind.value.upper() == "NONE":
        if rest:
            _fail(node, rest[0], "HEALTHCHECK NONE takes no arguments")
        return made.Healthcheck(node=node, command=None)
    flags = _Flags(node)
    if kind.value.upper() != "CMD":
        _fail(node, kind, f'Unknown type "{kind.value.upper()}" in HEALTHCHECK (try CMD)')
    if not rest:
        _fail(node, kind, "Missing command after HEALTHCHECK CMD")
    return made.Healthcheck(
        node=node,
        command=CommandLine(tuple([word.value for word in rest]), not node.is_json),
        interval=_interval(node, flags, "interval"),
        timeout=_interval(node, flags, "timeout"),
        start_period=_interval(node, flags, "start-period"),
        start_interval=_interval(node, flags, "start-interval"),
        retries=_retries(node, flags),
    )


def _interval(node: Node, flags: _Flags, name: str) -> int:
    for value, word in flags.words(name):
        if not value:
            return 0
        time = read_duration(value)
        if time is None:
            _fail(node, word, f'time: invalid duration "{value}"', mend="say something like 30s or 1m30s")
        if time and time < MINIMUM_DURATION:
            _fail(node, word, f'Interval "{name}" cannot be less than 1ms')
        return time
    return 0


def read_duration(unsafe_text: str) -> int | None:
    """Nanoseconds of what Go's time.ParseDuration takes; None when it does not."""
    if unsafe_text in ("0", "+0", "-0"):
        return 0
    if not _DURATION.match(unsafe_text) or len(unsafe_text) > 100:
        return None
    body = unsafe_text.lstrip("+-")
    total, at = 0, 0
    while at < len(body):
        match = _DURATION_PART.match(body, at)
        if not match:
            return None
        whole, _, fraction = match[1].partition(".")
        unit = _NANOSECONDS[match[2]]
        total += int(whole or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = match.end()
    if total > _MAX_DURATION:
        return None
    return -total if unsafe_text.startswith("-") else total


def _retries(node: Node, flags: _Flags) -> int:
    for value, word in flags.words("retries"):
        digits = value.lstrip("+-")
        if not value:
            return 0
        if not (digits.isascii() and digits.isdigit()) or len(value) - len(digits) > 1:
            _fail(node, word, f"--retries must be a number, not: {value}")
        if value.startswith("-") and int(digits[:20]):
            _fail(node, word, f"--retries cannot be negative ({value})")
        if len(digits) > 10 or int(digits) >= 1 << 31:
            _fail(node, word, f"--retries is too large: {value}")
        return int(digits)
    return 0


def _onbuild(node: Node) -> AnyInstruction:
    _Flags(node)
    child = node.child
    if child is None:
        _fail(node, None, "ONBUILD requires at least one argument")
    if child.name == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", child.keyword_span)
    if child.name in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{child.name} isn't allowed as an ONBUILD trigger", child.keyword_span)
    expression = "".join((child.source, *("\n" + each.content + each.name for each in child.heredocs)))
    return made.Onbuild(node=node, trigger=parse_instruction(child), expression=expression)


_READERS: dict[str, Callable[[Node], AnyInstruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
