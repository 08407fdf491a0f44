"""Init: the child side of `sync.py`, from the first line after the fork to the user's program."""

from __future__ import annotations

import os

from carboy.formats.spawner import StepError
from carboy.linux import attributes, namespaces, paths, process
from carboy.runtime import hooks, identity, labels, reaper, sync
from carboy.runtime.rootfs import Builder
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type

    from carboy.runtime.launch import Plan
    from carboy.runtime.spec import Spec

KILL = 9


def main(plan: Plan, socket: Socket) -> None:
    """Live as init; never returns."""
    try:
        try:
            _create(plan, socket)
            socket = _wait_for_start(plan, socket)
            _go(plan, socket)
        except BaseException as error:
            failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
            sync.send(socket, {"error": sync.step_error(failed, "init").to_message()})
    finally:
        os._exit(255)


def _create(plan: Plan, socket: Socket) -> None:
    process.set_dumpable(0)
    if plan.die_with_parent:
        process.set_pdeathsig(KILL)
    os.setsid()
    if plan.prepare is not None:
        plan.prepare(plan, socket)
    joined_root = bool(plan.spec.linux.namespaces.get("mount"))
    if joined_root:
        plan.streams.own_null(-1)
    _enter_namespaces(plan)
    sync.send(socket, {"op": "namespaces"})
    group = _Group(plan, socket)
    builder = None if joined_root else _build_root(plan, group)
    group.enter()
    sync.send(socket, {"op": "built"})
    sync.expect(socket, "proceed")
    master = _finish_root(plan, builder)
    _settle(plan)
    if plan.start_socket is not None and plan.spec.process is not None:
        # Engines that call carboy-runtime ask at `create` whether the program is there, as runc tells it.
        identity.check_program(plan.spec.process)
    sync.send(socket, {"op": "created"}, [master] if master >= 0 else None)
    if master >= 0:
        os.close(master)


class _Group:
    """Our control group: the parent moves us into it while we mount what does not show it.

    The kernel may take a grace period of some milliseconds for the move (v1), as long as
    all other mounts together.
    """

    def __init__(self, plan: Plan, socket: Socket) -> None:
        self._plan = plan
        self._socket = socket
        self._entered = False

    def enter(self) -> dict[str, str]:
        """Wait to be in it, take the namespaces that depend on it; its paths.  Again is harmless."""
        if not self._entered:
            self._entered = True
            message, _ = sync.expect(self._socket, "ready")
            self._plan.pid = int(message.get("pid") or 0)
            self._plan.cgroup_paths = message.get("cgroup") or self._plan.cgroup_paths
            if self._plan.enter_group is not None:
                with Failing("cgroup"):
                    self._plan.enter_group()
            _enter_late_namespaces(self._plan.spec)
        return self._plan.cgroup_paths


def _enter_namespaces(plan: Plan) -> None:
    """Join those that have a path, then unshare the others; user and PID namespaces came with the clone."""
    for kind, fd in plan.joined.items():
        with Failing("namespace", kind):
            namespaces.setns(fd, NAMESPACES[kind])
        os.close(fd)
    flags = 0
    for kind, path in plan.spec.linux.namespaces.items():
        if path == "" and kind not in ("user", "pid", "cgroup"):
            flags |= NAMESPACES[kind]
    with Failing("namespace", "unshare"):
        namespaces.unshare(flags)


def _enter_late_namespaces(spec: Spec) -> None:
    """The cgroup namespace, whose root is our group of now; the time one, whose offsets are set now."""
    if spec.linux.namespaces.get("cgroup") == "":
        with Failing("namespace", "cgroup"):
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    if spec.linux.namespaces.get("time") == "":
        with Failing("namespace", "time"):
            fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
            namespaces.setns(fd, namespaces.CLONE_NEWTIME)
            os.close(fd)


def _build_root(plan: Plan, group: _Group) -> Builder:
    builder = Builder(plan.spec, plan.sources, enter_group=group.enter, layout=plan.layout)
    os.umask(0)
    with Failing("rootfs"):
        builder.attach_root(plan.place)
    with Failing("mount"):
        builder.mount_all()
    with Failing("device"):
        builder.make_devices()
    return builder


def _finish_root(plan: Plan, builder: Builder | None) -> int:
    """Console, hooks, masks, pivot; the terminal's master or -1.

    builder: None in a joined mount namespace, which has its root already.
    """
    spec, master = plan.spec, -1
    uid = spec.process.user.uid if spec.process else 0
    if not plan.streams.terminal:
        if builder is not None:
            plan.streams.own_null(builder.root)
        plan.streams.take(uid)
    elif builder is None:
        raise StepError("Unsupported", "console", "no terminal in a mount namespace that is joined by path")
    else:
        with Failing("console"):
            master, slave = builder.open_console()
            plan.streams.take_terminal(master, slave, uid)
    with Failing("hook"):
        hooks.run(spec.hooks.get("createContainer", []), plan.state("creating"))
    with Failing("sysctl"):
        _write_sysctls(spec.linux.sysctl)
    if builder is None:
        return master
    with Failing("read-only paths"):
        builder.make_read_only()
    with Failing("masked paths"):
        builder.mask()
    with Failing("pivot"):
        builder.pivot()
    return master


def _write_sysctls(values: dict[str, str]) -> None:
    """Through a detached procfs of our own: no path of the container is involved (CVE-2025-52881)."""
    if not values:
        return
    proc = labels.detached_proc()
    try:
        for name, value in values.items():
            relative = "sys/" + (name if "/" in name else name.replace(".", "/"))
            try:
                fd = paths.open_beneath(proc, relative, os.O_WRONLY)
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)
            except OSError as error:
                raise OSError(error.errno, f"{name} = {value!r}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(proc)


def _settle(plan: Plan) -> None:
    """Names, keyring, personality."""
    spec = plan.spec
    if spec.hostname:
        with Failing("hostname"):
            namespaces.sethostname(spec.hostname)
    if spec.domainname:
        with Failing("domainname"):
            namespaces.setdomainname(spec.domainname)
    identity.new_keyring(plan.container_id)
    if spec.linux.personality:
        known = {"LINUX": attributes.PER_LINUX, "LINUX32": attributes.PER_LINUX32}
        if spec.linux.personality not in known:
            raise StepError("InvalidArgument", "personality", f"unknown domain {spec.linux.personality!r}")
        attributes.personality(known[spec.linux.personality])


def _wait_for_start(plan: Plan, socket: Socket) -> Socket:
    """Until `start` comes, here or over the socket that outlives our parent; what to answer on."""
    if plan.start_socket is not None:
        socket.close()
        descriptor = sync.accept(plan.start_socket)
        plan.start_socket.close()
        socket = type(socket)(fileno=descriptor)
    message, _ = sync.receive(socket)
    if message is None or message.get("op") != "start":
        os._exit(255)  # nobody will start us any more
    return socket


def _go(plan: Plan, socket: Socket) -> None:
    """What is left between `start` and the program."""
    spec = plan.spec
    if spec.process is None or not spec.process.args:
        text = "config: process.args is empty: there is nothing to execute"
        raise StepError("InvalidArgument", "exec", text)
    identity.reset_signals()
    with Failing("rlimits"):
        for warning in identity.set_rlimits(spec.process.rlimits, spec.explicit_limits):
            sync.send(socket, {"warning": warning})
    with Failing("scheduler"):
        identity.set_scheduling(spec.process)
    identity.become(
        spec.process,
        plan.filter,
        last_capability=plan.last_capability,
        make_cwd=True,
        preserve_fds=plan.preserve_fds,
    )
    if plan.die_with_parent:
        process.set_pdeathsig(KILL)  # the change of user has cleared it
    if plan.reap:
        # PID 1 keeps the program's rights, no more: a program with CAP_SYS_PTRACE may take it over.
        reaper.split(terminal=plan.streams.terminal)
    with Failing("hook"):
        # With the program's rights: these hooks are found in the container's root, which may be hostile.
        hooks.run(spec.hooks.get("startContainer", []), plan.state("created"))
    identity.run_program(spec.process)
