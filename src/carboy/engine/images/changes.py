"""Instructions that change an image's config: `--change` of import and commit.

The same words as in a Dockerfile, one instruction a text: CMD, ENTRYPOINT, ENV, EXPOSE,
HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.  Variables are not expanded.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HealthConfig
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.times import parse_duration
from carboy.formats.dockerapi.wire import Empty

_LONGEST = 1 << 16
_PORTS = 65536


def apply_changes(config: ImageConfig, unsafe_changes: list[str]) -> None:
    """Change `config` by each instruction in turn; raises InvalidArgument at the first wrong one."""
    for text in unsafe_changes:
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip():
                _apply(config, line.strip())


def merge_env(env: list[str], more: list[str]) -> list[str]:
    """`env` with the variables of `more` set: in place, or at the end."""
    merged = {entry.partition("=")[0]: entry for entry in env}
    merged.update({entry.partition("=")[0]: entry for entry in more})
    return list(merged.values())


def _apply(config: ImageConfig, line: str) -> None:
    if len(line) > _LONGEST:
        raise InvalidArgument(f"the change {line[:40]!r}... is longer than {_LONGEST} characters")
    word, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(word.upper())
    rest = rest.strip()
    if instruction is None:
        raise InvalidArgument(
            f"{word[:40]} is not a valid change command: use one of {', '.join(sorted(_INSTRUCTIONS))}"
        )
    if not rest:
        raise InvalidArgument(f"{word.upper()} requires at least one argument")
    try:
        instruction(config, rest)
    except ValueError as error:
        raise InvalidArgument(f"cannot read the change {line[:200]!r}: {error}") from error


def _words_or_json(text: str) -> list[str] | None:
    """A JSON list of strings, or None when the text is something else."""
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[str])
    except (msgspec.DecodeError, RecursionError):
        return None


def _command(text: str) -> list[str]:
    words = _words_or_json(text)
    return ["/bin/sh", "-c", text] if words is None else words


def _pairs(text: str, what: str) -> dict[str, str]:
    """`k=v k2="v 2"`, or the old form `k all the rest`."""
    words = shlex.split(text)
    if words and "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{what} must have two arguments: {text[:100]!r}")
        return {key: value.strip()}
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{what} is not name=value: {word[:100]!r}")
        pairs[key] = value
    return pairs


def _cmd(config: ImageConfig, text: str) -> None:
    config.cmd = _command(text)


def _entrypoint(config: ImageConfig, text: str) -> None:
    config.entrypoint = _command(text)


def _env(config: ImageConfig, text: str) -> None:
    config.env = merge_env(config.env, [f"{key}={value}" for key, value in _pairs(text, "ENV").items()])


def _label(config: ImageConfig, text: str) -> None:
    config.labels = {**config.labels, **_pairs(text, "LABEL")}


def _user(config: ImageConfig, text: str) -> None:
    if len(text.split()) != 1:
        raise InvalidArgument(f"USER requires exactly one argument: {text[:100]!r}")
    config.user = text


def _workdir(config: ImageConfig, text: str) -> None:
    config.working_dir = posixpath.normpath(posixpath.join("/", config.working_dir, text)).replace("//", "/")


def _volume(config: ImageConfig, text: str) -> None:
    words = _words_or_json(text)
    for path in shlex.split(text) if words is None else words:
        if not path.strip():
            raise InvalidArgument("VOLUME specified can not be an empty string")
        config.volumes = {**config.volumes, path: Empty()}


def _expose(config: ImageConfig, text: str) -> None:
    for word in text.split():
        ports, _, protocol = word.partition("/")
        first, dash, last = ports.partition("-")
        protocol = (protocol or "tcp").lower()
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and 0 < int(end[:6]) < _PORTS for end in ends):
            raise InvalidArgument(f"invalid containerPort: {word[:60]!r}")
        if protocol not in ("tcp", "udp", "sctp"):
            raise InvalidArgument(f"invalid protocol in EXPOSE: {word[:60]!r}")
        for port in range(int(ends[0]), int(ends[1]) + 1):
            config.exposed_ports = {**config.exposed_ports, f"{port}/{protocol}": Empty()}


def _stopsignal(config: ImageConfig, text: str) -> None:
    if not text.isascii() or not text.replace("+", "").replace("-", "").isalnum():
        raise InvalidArgument(f"invalid STOPSIGNAL: {text[:60]!r}")
    config.stop_signal = text


def _onbuild(config: ImageConfig, text: str) -> None:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{text.split()[0].upper()} isn't allowed as an ONBUILD trigger")
    config.on_build = [*config.on_build, text]


def _healthcheck(config: ImageConfig, text: str) -> None:
    health = HealthConfig()
    rest = text
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        name, _, value = option[2:].partition("=")
        rest = rest.strip()
        if name == "retries":
            health.retries = int(value)
        elif name in ("interval", "timeout", "start-period", "start-interval"):
            setattr(health, name.replace("-", "_"), parse_duration(value))
        else:
            raise InvalidArgument(f"unknown flag of HEALTHCHECK: --{name[:40]}")
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE" and not command:
        health.test = ["NONE"]
    elif kind.upper() == "CMD" and command.strip():
        words = _words_or_json(command.strip())
        health.test = ["CMD-SHELL", command.strip()] if words is None else ["CMD", *words]
    else:
        raise InvalidArgument(f"unknown type {kind[:40]!r} in HEALTHCHECK (try CMD)")
    config.healthcheck = health


_INSTRUCTIONS: dict[str, Callable[[ImageConfig, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
