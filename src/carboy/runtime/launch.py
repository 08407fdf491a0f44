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
    from carboy.runtime.spec import Process, Spec

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
    """Everything init needs: gathered before the fork, or by `prepare` in init itself."""

    def __init__(self, container_id: str, bundle: str, streams: Streams) -> None:
        self.spec: Spec
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
        self.prepare: Callable[[Plan, Socket], None] | None = None
        self.enter_group: Callable[[], None] | None = None
        self.last_capability = capabilities.last_capability()
        self.pid = 0

    def specify(
        self, spec: Spec, *, rootfs_fd: int | None, mount_fds: list[int], seccomp_cache: str | None
    ) -> None:
        """What follows from the specification: checked, compiled, opened."""
        self.spec = spec
        if rootfs_fd is None:
            # Where createContainer hooks look for it: they run in the new mount namespace, before the pivot.
            self.place = os.path.join(self.bundle, spec.root_path)
        with Failing("seccomp"):
            self.filter = (
                seccomp.filter_for(spec.linux.seccomp, seccomp_cache) if spec.linux.seccomp else None
            )
        with Failing("label"):
            if spec.process is not None:
                labels.require(spec.process)
            labels.require_selinux(spec.linux.mount_label, "linux.mountLabel")
        _known_capabilities(self)
        _open_namespaces(self)
        with Failing("rootfs"):
            self.sources = sources.open_sources(spec, self.bundle, rootfs_fd, mount_fds)

    def close(self) -> None:
        """In the parent: what only init needs."""
        if self.prepare is None:
            self.sources.close()
        for fd in self.joined.values():
            os.close(fd)

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

    __slots__ = ("cgroup", "container_id", "pid", "pidfd", "plan", "socket", "streams", "warnings")

    def __init__(self, plan: Plan, socket: Socket, pid: int, pidfd: int) -> None:
        self.plan = plan
        self.container_id = plan.container_id
        self.streams = plan.streams
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup: Cgroup | None = None
        self.warnings: list[str] = []
        self.socket = socket

    @property
    def spec(self) -> Spec:
        """The specification, where the parent has read it."""
        return self.plan.spec

    def start(self) -> None:
        """Release init; returns when the program has been executed, else raises what init says."""
        release(self.socket, self.warnings)
        poststart(self.plan, self.pidfd)

    def leave(self) -> None:
        """Let go of an init that listens for its `start` elsewhere (`start_socket` of `create`)."""
        self.socket.close()


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
    mount_fds: list[int] | None = None,
) -> Created:
    """Make a container up to the point where only `start` is missing.

    rootfs_fd: a detached mount to use instead of `spec.root_path`; it stays the caller's.
    mount_fds: detached mounts that `carboy.descriptor=N` names; they stay the caller's, too.
    on_namespaces(pid, pidfd): called as soon as the namespaces are there, while init goes on.
    start_socket: a listening socket on which init waits for `start`, from whatever process (carboy-runtime).
    """
    plan = Plan(container_id, bundle, streams)
    plan.reap, plan.die_with_parent, plan.preserve_fds = init, die_with_parent, preserve_fds
    plan.start_socket = start_socket
    try:
        plan.layout = cgroup.layout if cgroup is not None else None
        plan.specify(spec, rootfs_fd=rootfs_fd, mount_fds=mount_fds or [], seccomp_cache=seccomp_cache)
        created = _birth(plan, lambda: clone.clone(plan))
        created.cgroup = cgroup
        with _Undone(created):
            _converse(created, on_namespaces)
        return created
    except BaseException:
        streams.close()
        raise


def create_lightly(
    *,
    container_id: str,
    bundle: str,
    streams: Streams,
    pid_namespace: str | None,
    init: bool,
    prepare: Callable[[Plan, Socket], None],
    on_prepared: Callable[[dict[str, Any], list[int]], None],
    on_namespaces: Callable[[int], None],
) -> Created:
    """As `create`, for a parent that stays small: init reads the specification and makes its group itself.

    For containers without hooks, a user namespace or offsets of clocks.  What a launch writes to memory,
    about 1 MiB with CPython's reference counts, is then init's, and goes when the program is executed.

    pid_namespace: "" for a new one, the path of one to join, None for the parent's.
    prepare(plan, socket): in init, before its namespaces; ends with the packet `prepared`.
    on_prepared(packet, descriptors): that packet.
    on_namespaces(pid): as with `create`; it also moves init into those of its groups that `plan.enter_group`,
    which `prepare` sets, does not enter.
    """
    plan = Plan(container_id, bundle, streams)
    plan.reap, plan.prepare = init, prepare
    try:
        created = _birth(plan, lambda: _clone_with(pid_namespace))
        with _Undone(created):
            socket = created.socket
            sync.set_timeout(socket, STEP_TIMEOUT)
            on_prepared(*sync.expect(socket, "prepared", created.warnings))
            sync.expect(socket, "namespaces", created.warnings)
            on_namespaces(created.pid)
            sync.send(socket, {"op": "ready", "pid": created.pid})
            sync.expect(socket, "built", created.warnings)
            _finish(created)
        return created
    except BaseException:
        streams.close()
        raise


def _clone_with(pid_namespace: str | None) -> tuple[int, int]:
    if not pid_namespace:
        return process.clone3(0 if pid_namespace is None else namespaces.CLONE_NEWPID)
    fd = _open_namespace("pid", pid_namespace)
    try:
        return clone.clone_into(fd)
    finally:
        os.close(fd)


def with_default_devices(resources: dict[str, Any]) -> dict[str, Any]:
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
        if kind == "pid" and plan.prepare is not None:
            continue  # the clone has joined it
        plan.joined[kind] = _open_namespace(kind, path)


def _open_namespace(kind: str, path: str) -> int:
    with Failing("namespace", f"{kind} {path}"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if namespaces.namespace_type(fd) != NAMESPACES[kind]:
            os.close(fd)
            raise InvalidArgument(f"{path} is not a {kind} namespace")
    return fd


def _birth(plan: Plan, forked: Callable[[], tuple[int, int]]) -> Created:
    """Fork init; what it alone needs is closed here."""
    ours, theirs = sync.pair()
    try:
        with Failing("fork"):
            pid, pidfd = forked()
    except BaseException:
        plan.close()
        raise
    if pid == 0:
        ours.close()
        init.main(plan, theirs)
    plan.pid = pid
    theirs.close()
    plan.close()
    plan.streams.close_child()
    return Created(plan, ours, pid, pidfd)


class _Undone:
    """A context that ends and reaps an init whose creation fails inside."""

    __slots__ = ("_created",)

    def __init__(self, created: Created) -> None:
        self._created = created

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            _kill(self._created)
            self._created.socket.close()


def _converse(created: Created, on_namespaces: Callable[[int, int], None] | None) -> None:
    plan, spec, socket = created.plan, created.plan.spec, created.socket
    sync.set_timeout(socket, STEP_TIMEOUT)
    if created.cgroup is not None:
        with Failing("cgroup"):  # while init makes its namespaces
            created.cgroup.create()
            created.cgroup.apply(with_default_devices(spec.linux.resources))
            plan.cgroup_paths = created.cgroup.paths()
    sync.expect(socket, "namespaces", created.warnings)
    if on_namespaces is not None:
        on_namespaces(created.pid, created.pidfd)
    if created.cgroup is not None:
        with Failing("cgroup"):  # while init mounts
            created.cgroup.add_process(created.pid)
    created.warnings += set_oom_score(spec.process, created.pid)
    with Failing("namespace", "time offsets"):
        _write_time_offsets(created.pid, spec)
    sync.send(socket, {"op": "ready", "pid": created.pid, "cgroup": plan.cgroup_paths})
    sync.expect(socket, "built", created.warnings)
    with Failing("hook"):
        for name in hooks.IN_PARENT:
            hooks.run(spec.hooks.get(name, []), plan.state("creating"))
    _finish(created)


def _finish(created: Created) -> None:
    """From `built` to `created`."""
    plan, socket = created.plan, created.socket
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


def set_oom_score(process_: Process | None, pid: int | str = "self") -> list[str]:
    """As the specification wants it, while /proc and the rights are the host's; warnings.

    A daemon's own, often -500, is not for containers.
    """
    wanted = process_.oom_score_adj if process_ is not None else None
    if wanted is None:
        return []
    path = f"/proc/{pid}/oom_score_adj"
    with Failing("oom_score_adj"):
        try:
            with open(path, "w") as file:
                file.write(str(wanted))
        except PermissionError:
            with open(path) as file:
                have = file.read().strip()
            if have != str(wanted):
                return [f"oom_score_adj {wanted} is refused without CAP_SYS_RESOURCE: it stays {have}"]
    return []


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
