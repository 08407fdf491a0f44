"""RUN: the command line, the variables it sees, and what is mounted."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from carboy.build.frontend import naming
from carboy.build.frontend.addresses import redacted
from carboy.build.frontend.draft import Draft
from carboy.build.frontend.settings import with_shell
from carboy.build.frontend.stagestate import StageState, add_context
from carboy.build.frontend.vertices import ENTRY, input_number
from carboy.build.graph import SCRIPT_PATH, Run, RunDevice, RunMount
from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.instructions import CommandLine, script_of
from carboy.formats.dockerfile.nodes import Node
from carboy.formats.dockerfile.runflags import FlagError, Mount, resolve_mount
from carboy.formats.dockerfile.source import DockerfileError
from carboy.formats.dockerfile.stages import Origin

SECRETS = "/run/secrets"
AGENTS = "/run/buildkit/ssh_agent."
CACHE_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"


def draw_run(draft: Draft, state: StageState, instruction: made.Run, origins: Mapping[int, Origin]) -> None:
    """Add a RUN; `origins` are those of its mounts, by their number."""
    node = instruction.node
    args, script = _command(state, instruction.command, node)
    inputs = [state.filesystem(draft.vertices)]
    mounts = _mounts(draft, state, instruction, origins, inputs)
    env = state.environment(draft.given)
    draft.vertices.weigh(sum([len(each) + ENTRY for each in env]))
    operation = Run(
        args=tuple(args),
        env=env,
        cwd=state.cwd,
        user=state.config.user,
        network=instruction.network if instruction.network in ("none", "host") else draft.request.network,
        security=instruction.security or "sandbox",
        mounts=mounts,
        devices=tuple([RunDevice(name=each.name, required=each.required) for each in instruction.devices]),
        script=script,
    )
    shown = dict([each.split("=", 1) for each in env])
    shown.update((mount.env, "****") for mount in mounts if mount.env)
    name = draft.prefix(state) + draft.names.of_run(node, instruction.command, shown)
    place = state.place(node, name, instruction=redacted(node.source))
    vertex = draft.vertices.add(operation, tuple(inputs), place)
    history = _history(state, draft, args)
    draft.vertices.weigh(len(history) + ENTRY)
    state.grown(vertex, history)


def _command(state: StageState, command: CommandLine, node: Node) -> tuple[list[str], str]:
    if not command.shell:
        if not command.arguments:
            raise DockerfileError("RUN [] has no command", node.whole_span, mend="name a program to run")
        return list(command.arguments), ""
    script = script_of(command)
    if script.file is not None:
        return [SCRIPT_PATH], script.file.text
    return with_shell(state.config, CommandLine((script.text,), True)), ""


def _history(state: StageState, draft: Draft, args: list[str]) -> str:
    arguments = [f"{name}={value}" for name, value in state.arguments(draft.given)]
    counted = [f"|{len(arguments)}", *arguments] if arguments else []
    return "RUN " + " ".join([*counted, *args]) + naming.MARK


def _mounts(
    draft: Draft,
    state: StageState,
    instruction: made.Run,
    origins: Mapping[int, Origin],
    inputs: list[int],
) -> tuple[RunMount, ...]:
    results, agents = [], 0
    for place, flag in enumerate(instruction.mounts):
        try:
            mount = resolve_mount(flag)
            if mount.type == "secret":
                results.append(_secret(mount))
                continue
            if mount.type == "ssh":
                results.append(_agent(mount, agents))
                agents += 1
                continue
            target = _target(state, mount)
        except FlagError as error:
            raise DockerfileError(str(error), instruction.node.whole_span) from error
        source = _source(draft, state, mount, origins.get(place), instruction.node)
        number = -1 if source is None else input_number(inputs, source)
        results.append(_tree(draft, mount, target, number))
    return tuple(results)


def _source(draft: Draft, state: StageState, mount: Mount, origin: Origin | None, node: Node) -> int | None:
    if mount.type == "tmpfs":
        return None
    if origin is None:
        return None if mount.type == "cache" else add_context(draft.vertices, "")
    if mount.type == "cache" and origin.kind == "scratch":
        return None
    return draft.source(origin, node, state, verb="mount")


def _target(state: StageState, mount: Mount) -> str:
    target = state.absolute(mount.target)
    if target == "/":
        raise FlagError(f'invalid mount target "{mount.target}"')
    return target


def _tree(draft: Draft, mount: Mount, target: str, number: int) -> RunMount:
    """A bind, a cache or a tmpfs."""
    is_cache = mount.type == "cache"
    namespace = draft.given.get(CACHE_NAMESPACE, "")
    name = mount.id or target
    source = posixpath.normpath("/" + mount.source).lstrip("/") if mount.source else ""
    return RunMount(
        type=mount.type,
        target=target,
        input=number,
        source="/" + source if source else "",
        readonly=mount.readonly,
        id=(f"{namespace}/{name}" if namespace else name) if is_cache else "",
        sharing=mount.sharing or "shared",
        mode=mount.mode,
        uid=mount.uid,
        gid=mount.gid,
        size=mount.size,
    )


def _secret(mount: Mount) -> RunMount:
    name = mount.source or mount.id or posixpath.basename(mount.target.rstrip("/"))
    if not name:
        raise FlagError("one of source, target required")
    target = mount.target
    if not target and not mount.env:
        target = f"{SECRETS}/{posixpath.basename(name)}"
    return RunMount(
        type="secret",
        target=posixpath.normpath("/" + target.lstrip("/")) if target else "",
        id=name,
        required=mount.required,
        mode=mount.mode,
        uid=mount.uid,
        gid=mount.gid,
        env=mount.env,
    )


def _agent(mount: Mount, number: int) -> RunMount:
    if mount.source:
        raise FlagError("ssh does not support source")
    target = mount.target or f"{AGENTS}{number}"
    return RunMount(
        type="ssh",
        target=posixpath.normpath("/" + target.lstrip("/")),
        id=mount.id or "default",
        required=mount.required,
        mode=mount.mode,
        uid=mount.uid,
        gid=mount.gid,
    )
