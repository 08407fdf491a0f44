"""Init: the child side of `sync.py`, from the first line after the fork to the user's program."""

from __future__ import annotations

import os

from carboy.formats.spawner import StepError
from carboy.linux import attributes, namespaces, paths, process, terminal
from carboy.linux import mount as m
from carboy.runtime import hooks, identity, reaper, sync
from carboy.runtime.rootfs import Builder
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type
    from typing import Any

    from carboy.runtime.launch import Plan
    from carboy.runtime.spec import Spec

KILL = 9


def main(plan: Plan, socket: Socket) -> None:
    """Live as init; never returns."""
    try:
        _main(plan, socket)
    except BaseException as error:
        failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
        sync.send(socket, {"error": sync.step_error(failed, "init").to_message()})
    finally:
        os._exit(255)


def _main(plan: Plan, socket: Socket) -> None:
    process.set_dumpable(0)
    if plan.die_with_parent:
        process.set_pdeathsig(KILL)
    os.setsid()
    _enter_namespaces(plan, socket)
    sync.send(socket, {"op": "namespaces"})
    sync.expect(socket, "ready")
    if plan.spec.linux.namespaces.get("cgroup") == "":
        with Failing("namespace", "cgroup"):
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    builder = _build_root(plan)
    sync.send(socket, {"op": "built"})
    sync.expect(socket, "proceed")
    master = _finish_root(plan, builder)
    _settle(plan.spec)
    sync.send(socket, {"op": "created"}, [master] if master >= 0 else None)
    if master >= 0:
        os.close(master)
    _wait_for_start(socket)
    _go(plan, socket)


def _enter_namespaces(plan: Plan, socket: Socket) -> None:
    """Join those that have a path, then unshare the others (user and PID ones came with the clone)."""
    spaces = plan.spec.linux.namespaces
    for kind, fd in plan.joined.items():
        with Failing("namespace", kind):
            namespaces.setns(fd, NAMESPACES[kind])
        os.close(fd)
    if spaces.get("user") == "":
        sync.send(socket, {"op": "mapping"})
        sync.expect(socket, "mapped")
    if "user" in spaces:
        with Failing("user"):
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            process.set_dumpable(0)
            if plan.die_with_parent:
                process.set_pdeathsig(KILL)  # a change of credentials clears it
    flags = 0
    for kind, path in spaces.items():
        if path == "" and kind not in ("user", "pid", "cgroup"):
            flags |= NAMESPACES[kind]
    with Failing("namespace", "unshare"):
        namespaces.unshare(flags)
    if spaces.get("time") == "" and plan.spec.linux.time_offsets:
        _write_time_offsets(plan.spec.linux.time_offsets)


def _write_time_offsets(offsets: dict[str, Any]) -> None:
    lines = [
        f"{clock} {int(value.get('secs') or 0)} {int(value.get('nanosecs') or 0)}\n"
        for clock, value in offsets.items()
    ]
    with Failing("namespace", "time offsets"), open("/proc/self/timens_offsets", "w") as file:
        file.write("".join(lines))


def _build_root(plan: Plan) -> Builder:
    builder = Builder(plan.spec, plan.sources, cgroup_paths=plan.cgroup_paths)
    os.umask(0)
    with Failing("rootfs"):
        builder.attach_root(plan.bundle)
    with Failing("mount"):
        builder.mount_all()
    with Failing("device"):
        builder.make_devices()
    return builder


def _finish_root(plan: Plan, builder: Builder) -> int:
    """Console, hooks, masks, pivot; the terminal's master or -1."""
    spec, master = plan.spec, -1
    if plan.streams.terminal:
        with Failing("console"):
            master, slave = builder.open_console()
            if plan.streams.rows:
                terminal.set_window_size(master, plan.streams.rows, plan.streams.cols)
            terminal.make_controlling(slave)
            for number in range(3):
                os.dup2(slave, number, inheritable=True)
            os.close(slave)
    else:
        plan.streams.take(spec.process.user.uid if spec.process else 0)
    with Failing("hook"):
        hooks.run(spec.hooks.get("createContainer", []), plan.state("creating"))
    with Failing("sysctl"):
        _write_sysctls(spec.linux.sysctl)
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
    context = m.fsopen("proc")
    try:
        m.fsconfig_create(context)
        proc = m.fsmount(context)
    finally:
        os.close(context)
    try:
        paths.require_filesystem(proc, paths.PROC_SUPER_MAGIC, "/proc")
        for name, value in values.items():
            relative = "sys/" + (name if "/" in name else name.replace(".", "/"))
            fd = paths.open_beneath(proc, relative, os.O_WRONLY)
            try:
                os.write(fd, value.encode())
            except OSError as error:
                raise OSError(error.errno, f"{name} = {value!r}: {error.strerror}") from error
            finally:
                os.close(fd)
    finally:
        os.close(proc)


def _settle(spec: Spec) -> None:
    """Names, keyring, personality."""
    if spec.hostname:
        with Failing("hostname"):
            namespaces.sethostname(spec.hostname)
    if spec.domainname:
        with Failing("domainname"):
            namespaces.setdomainname(spec.domainname)
    try:
        attributes.join_session_keyring("carboy")
    except OSError:
        pass  # no keyrings in this kernel, or the user's quota is used up: the old one is not shown either
    if spec.linux.personality:
        known = {"LINUX": attributes.PER_LINUX, "LINUX32": attributes.PER_LINUX32}
        if spec.linux.personality not in known:
            raise StepError("InvalidArgument", "personality", f"unknown domain {spec.linux.personality!r}")
        attributes.personality(known[spec.linux.personality])


def _wait_for_start(socket: Socket) -> None:
    message, _ = sync.receive(socket)
    if message is None or message.get("op") != "start":
        os._exit(255)  # nobody will start us any more


def _go(plan: Plan, socket: Socket) -> None:
    """What is left between `start` and the program."""
    spec = plan.spec
    if spec.process is None or not spec.process.args:
        raise StepError(
            "InvalidArgument", "exec", "config: process.args is empty: there is nothing to execute"
        )
    with Failing("hook"):
        hooks.run(spec.hooks.get("startContainer", []), plan.state("created"))
    if plan.reap:
        # In the child the parent is PID 1, and init's death ends the namespace anyway.
        reaper.split(terminal=plan.streams.terminal)
        process.set_pdeathsig(0)
    identity.reset_signals()
    with Failing("rlimits"):
        identity.set_rlimits(spec.process.rlimits, plan.explicit_limits)
    with Failing("scheduler"):
        identity.set_scheduling(spec.process)
    identity.become(spec.process, plan.filter, last_capability=plan.last_capability)
    if plan.die_with_parent and not plan.reap:
        process.set_pdeathsig(KILL)
    if plan.listen_socket is not None:
        plan.listen_socket.close()
    identity.run_program(spec.process, preserve_fds=plan.preserve_fds)
