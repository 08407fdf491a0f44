"""The instructions that change an image's config and add no layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from carboy.build.frontend import naming
from carboy.build.frontend.ports import exposed
from carboy.build.frontend.signalnames import is_signal
from carboy.build.frontend.stagestate import DEFAULT_SHELL, StageState, is_proxy
from carboy.build.frontend.vertices import Vertices
from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import HealthConfig
from carboy.formats.dockerapi.images import ImageConfig
from carboy.formats.dockerapi.wire import Empty
from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.instructions import AnyInstruction, CommandLine


def set_config(
    vertices: Vertices, state: StageState, instruction: AnyInstruction, given: Mapping[str, str]
) -> None:
    """Change the config as an expanded instruction says, and remember it; raises InvalidArgument."""
    text = _SETTERS[type(instruction)](state, instruction, given)
    if text:
        vertices.weigh(8 * len(text))  # the text, and the strings and entries that it names
        state.remember(text)


def with_shell(config: ImageConfig, command: CommandLine) -> list[str]:
    """The whole command line of CMD, ENTRYPOINT or RUN."""
    if not command.shell:
        return list(command.arguments)
    return [*(config.shell or DEFAULT_SHELL), " ".join(command.arguments)]


def _arg(_: StageState, instruction: made.Arg, given: Mapping[str, str]) -> str:
    texts = [
        each.name
        if each.default is None or (each.name in given and is_proxy(each.name))
        else f"{each.name}={each.default}"
        for each in instruction.arguments
    ]
    return "ARG " + " ".join(texts)


def _env(_: StageState, instruction: made.Env, __: Mapping[str, str]) -> str:
    # The scope keeps them: the config gets them at the end, not anew for each of thousands.
    return naming.pairs("ENV", [(pair.key, pair.value) for pair in instruction.pairs])


def _label(state: StageState, instruction: made.Label, _: Mapping[str, str]) -> str:
    for pair in instruction.pairs:
        state.config.labels[pair.key] = pair.value
    return naming.pairs("LABEL", [(pair.key, pair.value) for pair in instruction.pairs])


def _expose(state: StageState, instruction: made.Expose, _: Mapping[str, str]) -> str:
    ports = exposed(instruction.ports)
    state.config.exposed_ports.update(dict.fromkeys(ports, Empty()))
    return "EXPOSE " + naming.listed(ports)


def _volume(state: StageState, instruction: made.Volume, _: Mapping[str, str]) -> str:
    state.config.volumes.update(dict.fromkeys(instruction.paths, Empty()))
    return "VOLUME " + naming.listed(instruction.paths)


def _user(state: StageState, instruction: made.User, _: Mapping[str, str]) -> str:
    state.config.user = instruction.user
    return f"USER {instruction.user}"


def _cmd(state: StageState, instruction: made.Cmd, _: Mapping[str, str]) -> str:
    state.config.cmd = with_shell(state.config, instruction.command)
    state.has_cmd = True
    return "CMD " + naming.quoted(state.config.cmd)


def _entrypoint(state: StageState, instruction: made.Entrypoint, _: Mapping[str, str]) -> str:
    state.config.entrypoint = with_shell(state.config, instruction.command)
    if not state.has_cmd:
        state.config.cmd = None  # a base's CMD was meant for the base's ENTRYPOINT
    return "ENTRYPOINT " + naming.quoted(state.config.entrypoint)


def _shell(state: StageState, instruction: made.Shell, _: Mapping[str, str]) -> str:
    state.config.shell = list(instruction.arguments)
    return "SHELL " + naming.listed(instruction.arguments)


def _stop_signal(state: StageState, instruction: made.StopSignal, _: Mapping[str, str]) -> str:
    if not is_signal(instruction.signal):
        raise InvalidArgument(f"Invalid signal: {instruction.signal[:40]}")
    state.config.stop_signal = instruction.signal
    return f"STOPSIGNAL {instruction.signal}"


def _healthcheck(state: StageState, instruction: made.Healthcheck, _: Mapping[str, str]) -> str:
    command = instruction.command
    if command is None:
        test = ["NONE"]
    elif command.shell:
        test = ["CMD-SHELL", " ".join(command.arguments)]
    else:
        test = ["CMD", *command.arguments]
    check = HealthConfig(
        test=test,
        interval=instruction.interval,
        timeout=instruction.timeout,
        start_period=instruction.start_period,
        start_interval=instruction.start_interval,
        retries=instruction.retries,
    )
    state.config.healthcheck = check
    return naming.health(check)


def _onbuild(state: StageState, instruction: made.Onbuild, _: Mapping[str, str]) -> str:
    state.config.on_build.append(instruction.expression)
    return ""


def _maintainer(state: StageState, instruction: made.Maintainer, _: Mapping[str, str]) -> str:
    state.author = instruction.name
    return f"MAINTAINER {instruction.name}"


_SETTERS: dict[type, Callable[[StageState, Any, Mapping[str, str]], str]] = {
    made.Arg: _arg,
    made.Cmd: _cmd,
    made.Entrypoint: _entrypoint,
    made.Env: _env,
    made.Expose: _expose,
    made.Healthcheck: _healthcheck,
    made.Label: _label,
    made.Maintainer: _maintainer,
    made.Onbuild: _onbuild,
    made.Shell: _shell,
    made.StopSignal: _stop_signal,
    made.User: _user,
    made.Volume: _volume,
}
