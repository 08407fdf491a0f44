"""What RUN needs of the engine: a program in a container above some layers, and its changes as a layer.

The engine fulfils `Executor` (engine/building/executor.py); tests have a fake one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from carboy.build.graph import RunDevice
from carboy.build.progress import Console
from carboy.build.trees import LocalTree
from carboy.digest import Digest
from carboy.errors import CarboyError


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedTree:
    """`--mount=type=bind`: layers or a local context, read-only below; writes to it are thrown away."""

    target: str
    layers: tuple[Digest, ...] = ()
    local: LocalTree | None = None
    """Instead of layers: a directory of this machine, only what its .dockerignore lets in."""
    source: str = ""
    """Path within it; resolved inside its root, never outside."""
    readonly: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedCache:
    """`--mount=type=cache`: a directory that stays between builds."""

    target: str
    id: str
    sharing: str = "shared"
    readonly: bool = False
    layers: tuple[Digest, ...] = ()
    """What fills it when it is new, with `source`."""
    source: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedTmpfs:
    """`--mount=type=tmpfs`."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedSecret:
    """`--mount=type=secret`: a file of its own tmpfs, and, or a variable."""

    target: str
    data: bytes
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedAgent:
    """`--mount=type=ssh`: an ssh agent's socket; SSH_AUTH_SOCK says where."""

    target: str
    socket: str
    """Path on this machine of the agent to talk to."""
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


AnyMount = MountedTree | MountedCache | MountedTmpfs | MountedSecret | MountedAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """Bounds of RUN steps: the same words and units as in the Docker API's POST /build."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size: int = 0
    cgroup_parent: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    """(name, soft, hard)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One RUN."""

    layers: tuple[Digest, ...]
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    hostname: str = "buildkitsandbox"
    """Fixed, so that it enters no result by chance; BuildKit's own, which some scripts know."""
    network: str = "default"
    security: str = "sandbox"
    mounts: tuple[AnyMount, ...] = ()
    devices: tuple[RunDevice, ...] = ()
    script: str = ""
    extra_hosts: tuple[str, ...] = ()
    """NAME:IP."""
    limits: StepLimits = field(default_factory=StepLimits)
    hidden_env: tuple[str, ...] = ()
    """Variables that no image, key or history sees: proxies, SOURCE_DATE_EPOCH, secrets."""
    host_ca: bool = False
    """The host's CA certificates are trusted inside, for this step only, without entering the layer."""
    epoch: int = 0
    """Times in the layer are clamped to it (seconds)."""
    reproducible: bool = False
    """Known residues (logs, caches, machine ids …) are left out of the layer."""


@dataclass(frozen=True, slots=True)
class Executed:
    """How a RUN went (exit code 0)."""

    layer: Digest | None
    """None: nothing changed."""
    size: int = 0
    removed: tuple[str, ...] = ()
    """Residues that `reproducible` left out."""


class StepFailed(CarboyError):
    """A program of a RUN ended with another exit code than 0."""

    status = 400

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Executor(Protocol):
    """Runs programs in containers of their own."""

    def execute(self, job: Job, console: Console) -> Executed:
        """Run it to its end.  Everything it started is gone when this returns, however it returns.

        Raises StepFailed (the program's exit code), Cancelled, InvalidArgument (no such user …).
        """
        ...
