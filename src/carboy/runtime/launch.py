"""The parent side of a container's birth: see the drawing in `sync.py`.

`create` returns when init has built everything and waits; `Created.start` lets it execute the
program.  Whatever fails raises a StepError, and nothing of the container is left but what
the caller gave.
"""

from __future__ import annotations

import os

from carboy.errors import InvalidArgument
from carboy.formats.spawner import StepError
from carboy.linux import capabilities, namespaces, process
from carboy.runtime import clone, hooks, init, labels, seccomp, sources, sync
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.streams import Streams
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups import Cgroup, Layout
    from carboy.runtime.seccomp import Filter
    from carboy.runtime.spec import Spec

__all__ = ["Created", "Streams", "create"]

STEP_TIMEOUT = 120
"""Seconds that one step of init may take (hooks included) before it is given up."""


DEFAULT_DEVICE_RULES = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1))
    ),
)
"""null, zero, full, random, urandom, tty, ptmx and the terminals of devpts."""


class Plan:
    """Everything init needs, gathered before the fork."""

    def __init__(self, spec: Spec, container_id: str, bundle: str, streams: Streams) -> None:
        self.spec = spec
        self.container_id = container_id
        self.bundle = bundle
        self.place = bundle
        self.streams = streams
        self.sources: sources.Sources
        self.joined: dict[str, int] = {}
        self.cgroup_paths: dict[str, str] = {}
        self.layout: Layout | None = None
        self.filter: Filter | None = None
        self.reap = False
        self.die_with_parent = True
        self.preserve_fds = 0
        self.start_socket: Socket | None = None
        self.on_fork: Callable[[int], None] | None = None
        self.last_capability = capabilities.last_capability()
        self.explicit_limits = spec.explicit_limits
        self.pid = 0

    def state(self, status: str) -> dict[str, Any]:
        """The state document that hooks read (runtime.md, "State")."""
        document: dict[str, Any] = {
            "ociVersion": self.spec.version,
            "id": self.container_id,
            "status": status,
            "bundle": self.bundle,
            "annotations": self.spec.annotations,
        }
        if self.pid:
            document["pid"] = self.pid
        return document


class Created:
    """A container whose init waits for `start`.

    The caller owns `pidfd` and the parent's ends in `streams`.
    """

    __slots__ = ("_socket", "cgroup", "container_id", "pid", "pidfd", "plan", "spec", "streams", "warnings")

    def __init__(self, plan: Plan, socket: Socket, pid: int, pidfd: int, cgroup: Cgroup | None) -> None:
        self.plan = plan
        self.container_id = plan.container_id
        self.spec = plan.spec
        self.streams = plan.streams
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup
        self.warnings: list[str] = []
        self._socket = socket

    def start(self) -> None:
        """Release init; returns when the program has been executed, else raises what init says."""
        release(self._socket, self.warnings)
        poststart(self.plan, self.pidfd)

    def start_descriptor(self) -> int:
        """What `release` needs in the process that this one hands the container over to."""
        return self._socket.fileno()

    def leave(self) -> None:
        """Let go of an init that listens for its `start` elsewhere (`start_socket` of `create`)."""
        self._socket.close()


def release(socket: Socket, warnings: list[str] | None = None) -> None:
    """Let an init that waits execute its program; closes `socket`."""
    sync.send(socket, {"op": "start"})
    try:
        wait_for_exec(socket, warnings)
    finally:
        socket.close()


def poststart(plan: Plan, pidfd: int) -> None:
    """The hooks after `release`; the container ends when one fails."""
    try:
        with Failing("hook", "poststart"):
            hooks.run(plan.spec.hooks.get("poststart", []), plan.state("running"))
    except StepError:
        process.pidfd_send_signal(pidfd, init.KILL)
        raise


def wait_for_exec(socket: Socket, warnings: list[str] | None = None) -> None:
    """Until the end of file that an execve leaves; raises the StepError that came instead."""
    while True:
        try:
            message, _ = sync.receive(socket)
        except ConnectionResetError:
            return
        if message is None:
            return
        if "warning" not in message:
            raise StepError.from_message(message.get("error") or {})
        if warnings is not None:
            warnings.append(str(message["warning"]))


def create(
    spec: Spec,
    *,
    container_id: str,
    bundle: str,
    rootfs_fd: int | None,
    streams: Streams,
    cgroup: Cgroup | None,
    init: bool = False,
    on_namespaces: Callable[[int, int], None] | None = None,
    preserve_fds: int = 0,
    die_with_parent: bool = True,
    seccomp_cache: str | None = None,
    start_socket: Socket | None = None,
    on_fork: Callable[[int], None] | None = None,
    mount_fds: list[int] | None = None,
) -> Created:
    """Make a container up to the point where only `start` is missing.

    rootfs_fd: a detached mount to use instead of `spec.root_path`; it stays the caller's.
    mount_fds: detached mounts that `carboy.descriptor=N` names; they stay the caller's, too.
    on_namespaces(pid, pidfd): called as soon as the namespaces are there, while init goes on.
    start_socket: a listening socket on which init waits for `start`, from whatever process (carboy-runtime).
    on_fork(pid): the caller is a launcher (monitor/launcher.py): init becomes the child of its parent, who
    reaps it and every other process that is told here.
    """
    plan = Plan(spec, container_id, bundle, streams)
    plan.reap, plan.die_with_parent, plan.preserve_fds = init, die_with_parent, preserve_fds
    plan.start_socket, plan.on_fork = start_socket, on_fork
    if rootfs_fd is None:
        # Where createContainer hooks look for it: they run in the new mount namespace, before the pivot.
        plan.place = os.path.join(bundle, spec.root_path)
    try:
        with Failing("seccomp"):
            plan.filter = (
                seccomp.filter_for(spec.linux.seccomp, seccomp_cache) if spec.linux.seccomp else None
            )
        with Failing("label"):
            if spec.process is not None:
                labels.require(spec.process)
        _known_capabilities(plan)
        plan.layout = cgroup.layout if cgroup is not None else None
        _open_namespaces(plan)
        with Failing("rootfs"):
            plan.sources = sources.open_sources(spec, bundle, rootfs_fd, mount_fds or [])
        return _birth(plan, cgroup, on_namespaces)
    except BaseException:
        streams.close()
        raise


def _with_default_devices(resources: dict[str, Any]) -> dict[str, Any]:
    """What is denied by the rules: never the default nodes, and never making a node (as with runc)."""
    rules = resources.get("devices")
    if not rules:
        return resources
    return {**resources, "devices": [*rules, *DEFAULT_DEVICE_RULES]}


def _known_capabilities(plan: Plan) -> None:
    """Capabilities beyond this kernel's last one cannot be set: leave them out."""
    one = plan.spec.process
    if one is None:
        return
    known = (1 << plan.last_capability + 1) - 1
    caps = one.capabilities
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        setattr(caps, name, getattr(caps, name) & known)


def _open_namespaces(plan: Plan) -> None:
    """Descriptors of the namespaces to join, each checked to be of its kind."""
    for kind in NAMESPACES:
        path = plan.spec.linux.namespaces.get(kind)
        if not path:
            continue
        with Failing("namespace", f"{kind} {path}"):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if namespaces.namespace_type(fd) != NAMESPACES[kind]:
                os.close(fd)
                raise InvalidArgument(f"{path} is not a {kind} namespace")
        plan.joined[kind] = fd


def _birth(plan: Plan, cgroup: Cgroup | None, on_namespaces: Callable[[int, int], None] | None) -> Created:
    ours, theirs = sync.pair()
    try:
        with Failing("fork"):
            pid, pidfd = clone.clone(plan)
    except BaseException:
        plan.sources.close()
        raise
    if pid == 0:
        ours.close()
        init.main(plan, theirs)
    plan.pid = pid
    if plan.on_fork is not None:
        plan.on_fork(pid)
    theirs.close()
    plan.sources.close()
    for fd in plan.joined.values():
        os.close(fd)
    plan.streams.close_child()
    created = Created(plan, ours, pid, pidfd, cgroup)
    try:
        _converse(created, ours, on_namespaces)
    except BaseException:
        _kill(created)
        ours.close()
        raise
    return created


def _converse(created: Created, socket: Socket, on_namespaces: Callable[[int, int], None] | None) -> None:
    plan, spec = created.plan, created.spec
    sync.set_timeout(socket, STEP_TIMEOUT)
    if created.cgroup is not None:
        with Failing("cgroup"):  # while init makes its namespaces
            created.cgroup.create()
            created.cgroup.apply(_with_default_devices(spec.linux.resources))
            plan.cgroup_paths = created.cgroup.paths()
    sync.expect(socket, "namespaces", created.warnings)
    if on_namespaces is not None:
        on_namespaces(created.pid, created.pidfd)
    if created.cgroup is not None:
        with Failing("cgroup"):  # while init mounts
            created.cgroup.add_process(created.pid)
    with Failing("oom_score_adj"):
        if spec.process is not None and spec.process.oom_score_adj is not None:
            _write_oom_score(created, spec.process.oom_score_adj)
    with Failing("namespace", "time offsets"):
        _write_time_offsets(created.pid, spec)
    sync.send(socket, {"op": "ready", "pid": created.pid, "cgroup": plan.cgroup_paths})
    sync.expect(socket, "built", created.warnings)
    with Failing("hook"):
        for name in hooks.IN_PARENT:
            hooks.run(spec.hooks.get(name, []), plan.state("creating"))
    sync.send(socket, {"op": "proceed"})
    _, descriptors = sync.expect(socket, "created", created.warnings)
    if plan.streams.terminal:
        if len(descriptors) != 1:
            raise StepError("Internal", "console", "init did not hand over its terminal")
        created.streams.console = descriptors[0]
    sync.set_timeout(socket, 0)


def _write_time_offsets(pid: int, spec: Spec) -> None:
    """Before anybody is in the new time namespace; init itself is undumpable and could not open the file."""
    if spec.linux.namespaces.get("time") != "" or not spec.linux.time_offsets:
        return
    lines = [
        f"{clock} {int(value.get('secs') or 0)} {int(value.get('nanosecs') or 0)}\n"
        for clock, value in spec.linux.time_offsets.items()
    ]
    with open(f"/proc/{pid}/timens_offsets", "w") as file:
        file.write("".join(lines))


def _write_oom_score(created: Created, wanted: int) -> None:
    path = f"/proc/{created.pid}/oom_score_adj"
    try:
        with open(path, "w") as file:
            file.write(str(wanted))
    except PermissionError:
        with open(path) as file:
            have = file.read().strip()
        created.warnings.append(
            f"oom_score_adj {wanted} is refused without CAP_SYS_RESOURCE: it stays {have}"
        )


def _kill(created: Created) -> None:
    try:
        process.pidfd_send_signal(created.pidfd, init.KILL)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(created.pid, 0)
    except ChildProcessError:
        pass
    os.close(created.pidfd)
