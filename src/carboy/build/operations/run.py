"""RUN: what its result depends on, and the job that the executor gets.

Not in the key, because no result may depend on them: limits, proxies, the values of secrets, the agent
behind an ssh mount, the host's certificates, what a cache mount holds.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence

from carboy.build import residues
from carboy.build.executor import (
    AnyMount,
    Job,
    MountedAgent,
    MountedCache,
    MountedSecret,
    MountedTmpfs,
    MountedTree,
    StepFailed,
)
from carboy.build.graph import Run, RunMount, Vertex
from carboy.build.operation import Filesystem, Ingredients, Result, Value
from carboy.build.progress import Console
from carboy.build.session import Session
from carboy.build.trees import LocalTree
from carboy.digest import Digest
from carboy.errors import Internal, InvalidArgument, PermissionDenied

NETWORKS = ("default", "none", "host")
_SECRET_MODE = 0o400
_AGENT_MODE = 0o600
_CACHE_MODE = 0o755
_MOST_TOLD = 8


class RunStep:
    """One RUN of one build."""

    def __init__(self, vertex: Vertex, session: Session) -> None:
        operation = vertex.operation
        if not isinstance(operation, Run):
            raise Internal(f"{vertex.name} is no RUN")
        self._operation = operation
        self._vertex = vertex
        self._session = session
        self._network = _network(operation, session)
        self._check_rights()

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        """What the result depends on."""
        operation, request = self._operation, self._session.request
        values = {
            "base": _filesystem(inputs[0]).identity,
            "command": shlex.join(operation.args),
            "directory": operation.cwd,
        }
        optional = {
            "user": operation.user,
            "network": self._network if self._network != "default" else "",
            "security": operation.security if operation.security != "sandbox" else "",
            "script": _digest(operation.script) if operation.script else "",
            "hosts": " ".join(sorted(request.extra_hosts)),
            "reproducible": str(self._session.epoch) if request.reproducible else "",
            "devices": " ".join(device.name for device in operation.devices),
        }
        values |= {name: text for name, text in optional.items() if text}
        for variable in operation.env:
            name, _, text = variable.partition("=")
            values[f"variable {name}"] = text
        for mount in operation.mounts:
            values[_mount_name(mount, values)] = self._describe(mount, inputs)
        return Ingredients("run", values)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        """Have the program run."""
        base = _filesystem(inputs[0])
        job = self._job(base, inputs)
        try:
            executed = self._session.workshop.executor.execute(job, console)
        except StepFailed:
            if absent := self._absent():
                console.output(2, absent.encode("utf-8", "surrogateescape"))
            raise
        record = {"removed": "\n".join(executed.removed)} if executed.removed else {}
        if executed.removed:
            console.output(1, _told(executed.removed).encode("utf-8", "surrogateescape"))
        return Result(base.above(executed.layer), executed.layer, record)

    def _job(self, base: Filesystem, inputs: Sequence[Value]) -> Job:
        operation, session = self._operation, self._session
        request = session.request
        return Job(
            layers=base.layers,
            args=operation.args,
            env=operation.env,
            cwd=operation.cwd,
            user=operation.user,
            network=self._network,
            security=operation.security,
            mounts=tuple(
                found for mount in operation.mounts if (found := self._mount(mount, inputs)) is not None
            ),
            devices=operation.devices,
            script=operation.script,
            extra_hosts=request.extra_hosts,
            limits=request.limits,
            hidden_env=self._hidden(),
            host_ca=request.host_ca,
            epoch=session.epoch,
            reproducible=request.reproducible,
        )

    def _hidden(self) -> tuple[str, ...]:
        found = [f"{name}={text}" for name, text in self._session.proxies.items()]
        if self._session.request.reproducible:
            found += [f"SOURCE_DATE_EPOCH={self._session.epoch}", *residues.VARIABLES]
        return tuple(found)

    def _check_rights(self) -> None:
        """Raise PermissionDenied for what a Dockerfile cannot give to itself."""
        allow = self._session.request.allow
        operation = self._operation
        if operation.security == "insecure" and "security.insecure" not in allow:
            raise _not_allowed("RUN --security=insecure", "security.insecure")
        if (
            operation.network == "host"
            and self._session.request.network != "host"
            and "network.host" not in allow
        ):
            raise _not_allowed("RUN --network=host", "network.host")
        for device in operation.devices:
            kind = device.name.partition("=")[0]
            if not {"device", f"device={device.name}", f"device={kind}"} & {*allow}:
                raise _not_allowed(f"RUN --device={device.name}", f"device={device.name}")

    # Mounts

    def _describe(self, mount: RunMount, inputs: Sequence[Value]) -> str:
        words = [mount.type]
        if mount.type in ("bind", "cache"):
            words.append("ro" if mount.readonly else "rw")
        if mount.input >= 0:
            words += [f"source={mount.source or '/'}", self._identity(inputs[mount.input], mount.source)]
        if mount.type in ("cache", "secret", "ssh"):
            words.append(f"id={mount.id}")
        if mount.type == "cache":
            words.append(mount.sharing)
        for name, number in (("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)):
            if number is not None:
                words.append(f"{name}={number:o}" if name == "mode" else f"{name}={number}")
        if mount.size:
            words.append(f"size={mount.size}")
        if mount.env:
            words.append(f"env={mount.env}")
        return " ".join(words)

    def _identity(self, value: Value, source: str) -> str:
        if isinstance(value, Filesystem):
            return value.identity
        from carboy.build.copying.treedigest import tree_identity  # most builds mount no context

        return tree_identity(value, source, self._session)

    def _mount(self, mount: RunMount, inputs: Sequence[Value]) -> AnyMount | None:
        layers, local = _taken_from(mount, inputs)
        match mount.type:
            case "bind":
                return MountedTree(
                    target=mount.target,
                    layers=layers,
                    local=local,
                    source=mount.source,
                    readonly=mount.readonly,
                )
            case "cache":
                if local is not None:
                    raise InvalidArgument(
                        f"RUN --mount=type=cache,target={mount.target}: from= must be a stage or an image"
                    )
                return MountedCache(
                    target=mount.target,
                    id=mount.id or mount.target,
                    sharing=mount.sharing,
                    readonly=mount.readonly,
                    layers=layers,
                    source=mount.source,
                    mode=_CACHE_MODE if mount.mode is None else mount.mode,
                    uid=mount.uid or 0,
                    gid=mount.gid or 0,
                )
            case "tmpfs":
                return MountedTmpfs(target=mount.target, size=mount.size)
            case "secret":
                return self._secret(mount)
            case "ssh":
                return self._agent(mount)
            case _:
                raise InvalidArgument(f"RUN --mount: type {mount.type[:80]!r} is not known")

    def _absent(self) -> str:
        """What a program that failed may have missed, a line for each."""
        request, lines = self._session.request, []
        for mount in self._operation.mounts:
            if mount.type == "secret" and mount.id not in request.secrets:
                lines.append(f"the secret {mount.id} was not given: --secret id={mount.id},src=FILE\n")
            elif mount.type == "ssh" and (name := mount.id or "default") not in request.agents:
                lines.append(f"the ssh agent {name} was not given: --ssh {name}\n")
        return "".join(lines)

    def _secret(self, mount: RunMount) -> MountedSecret | None:
        data = self._session.request.secrets.get(mount.id)
        if data is None:
            if mount.required:
                raise InvalidArgument(
                    f"secret {mount.id}: not found: give it with --secret id={mount.id},src=FILE"
                )
            return None
        return MountedSecret(
            target=mount.target,
            data=data,
            mode=_SECRET_MODE if mount.mode is None else mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
            env=mount.env,
        )

    def _agent(self, mount: RunMount) -> MountedAgent | None:
        name = mount.id or "default"
        socket = self._session.request.agents.get(name)
        if socket is None:
            if mount.required:
                raise InvalidArgument(f"ssh agent {name}: not found: give it with --ssh {name}")
            return None
        return MountedAgent(
            target=mount.target,
            socket=socket,
            mode=_AGENT_MODE if mount.mode is None else mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
        )


def _taken_from(mount: RunMount, inputs: Sequence[Value]) -> tuple[tuple[Digest, ...], LocalTree | None]:
    if mount.input < 0:
        return (), None
    value = inputs[mount.input]
    return (value.layers, None) if isinstance(value, Filesystem) else ((), value)


def _network(operation: Run, session: Session) -> str:
    """The RUN's own word, else the build's."""
    name = operation.network
    if name in ("", "default"):
        name = session.request.network or "default"
    if name == "bridge":
        name = "default"
    if name not in NETWORKS:
        raise InvalidArgument(f"network {name[:80]!r} cannot be used in a build: use default, none or host")
    return name


def _filesystem(value: Value) -> Filesystem:
    if not isinstance(value, Filesystem):
        raise Internal("a build context cannot be the root filesystem of a RUN")
    return value


def _mount_name(mount: RunMount, taken: dict[str, str]) -> str:
    name = f"mount {mount.target}" if mount.target else f"mount of {mount.type} {mount.id}"
    return name if name not in taken else f"{name} ({mount.type} {mount.id})"


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _not_allowed(what: str, entitlement: str) -> PermissionDenied:
    return PermissionDenied(
        f"{what} is not allowed: give --allow {entitlement} when you trust this Dockerfile"
    )


def _told(removed: Sequence[str]) -> str:
    """A line for a file, or for all files of a directory; `removed` in the record has every name."""
    beside: dict[str, list[str]] = {}
    for path in removed:
        beside.setdefault(path.rpartition("/")[0], []).append(path)
    lines = [
        f"left out of the layer: {paths[0]}"
        if len(paths) == 1
        else f"left out of the layer: {len(paths)} files of {directory or '/'}"
        for directory, paths in beside.items()
    ]
    if len(lines) > _MOST_TOLD:
        rest = sum(map(len, [*beside.values()][_MOST_TOLD:]))
        lines[_MOST_TOLD:] = [f"... and {rest} files of {len(lines) - _MOST_TOLD} other directories"]
    return "\n".join(lines) + "\n"
