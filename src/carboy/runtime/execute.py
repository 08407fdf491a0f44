"""One more process in a container: the same conversation as `sync.py`, without a root to build."""

from __future__ import annotations

import os

from carboy.errors import Conflict, InvalidArgument
from carboy.linux import capabilities, namespaces, paths, process, terminal
from carboy.runtime import identity, seccomp, sync
from carboy.runtime.launch import STEP_TIMEOUT, wait_for_exec
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.streams import Streams
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type

    from carboy.runtime.cgroups import Cgroup
    from carboy.runtime.seccomp import Filter
    from carboy.runtime.spec import Process, Spec

KILL = 9


class Target:
    """The container to join: what `Created` has, or what carboy-runtime reads from its state."""

    __slots__ = ("cgroup", "pid", "pidfd", "spec")

    def __init__(self, spec: Spec, pid: int, pidfd: int, cgroup: Cgroup | None) -> None:
        self.spec = spec
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup


class Executed:
    """A process that runs in the container; the caller owns `pidfd` and the ends in `streams`."""

    __slots__ = ("pid", "pidfd", "streams")

    def __init__(self, pid: int, pidfd: int, streams: Streams) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.streams = streams


def execute(
    target: Target,
    one: Process,
    streams: Streams,
    *,
    preserve_fds: int = 0,
    die_with_parent: bool = True,
    seccomp_cache: str | None = None,
) -> Executed:
    """Run `one` in the container; returns when it was executed, raises StepError when not."""
    try:
        with Failing("seccomp"):
            wanted = target.spec.linux.seccomp
            filter_ = seccomp.filter_for(wanted, seccomp_cache) if wanted else None
        return _fork(target, one, streams, filter_, preserve_fds, die_with_parent)
    except BaseException:
        streams.close()
        raise


def _fork(
    target: Target,
    one: Process,
    streams: Streams,
    filter_: Filter | None,
    preserve_fds: int,
    die_with_parent: bool,
) -> Executed:
    ours, theirs = sync.pair()
    pid, pidfd = _clone_into(target)
    if pid == 0:
        ours.close()
        try:
            _child(target, one, streams, filter_, theirs, preserve_fds, die_with_parent)
        except BaseException as error:
            failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
            sync.send(theirs, {"error": sync.step_error(failed, "exec").to_message()})
        finally:
            os._exit(255)
    theirs.close()
    streams.close_child()
    try:
        sync.set_timeout(ours, STEP_TIMEOUT)
        sync.expect(ours, "namespaces")
        with Failing("cgroup"):
            if target.cgroup is not None:
                target.cgroup.add_process(pid)
        sync.send(ours, {"op": "ready"})
        if streams.terminal:
            _, descriptors = sync.expect(ours, "console")
            streams.console = descriptors[0]
        wait_for_exec(ours)
    except BaseException:
        _end(pid, pidfd)
        raise
    finally:
        ours.close()
    return Executed(pid, pidfd, streams)


def _clone_into(target: Target) -> tuple[int, int]:
    """Fork a child into the container's PID namespace."""
    if "pid" not in target.spec.linux.namespaces:
        return process.clone3(0)
    with Failing("namespace", "pid"):
        namespaces.setns(target.pidfd, namespaces.CLONE_NEWPID)
    try:
        pid, pidfd = process.clone3(0)
    except OSError as error:
        raise Conflict("the container has ended") from error
    if pid:
        # Only the parent goes back: for the child it is already its own namespace.
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.setns(own, namespaces.CLONE_NEWPID)
        os.close(own)
    return pid, pidfd


def _child(
    target: Target,
    one: Process,
    streams: Streams,
    filter_: Filter | None,
    socket: Socket,
    preserve_fds: int,
    die_with_parent: bool,
) -> None:
    process.set_dumpable(0)
    if die_with_parent:
        process.set_pdeathsig(KILL)
    os.setsid()
    last = capabilities.last_capability()
    sync.send(socket, {"op": "namespaces"})
    sync.expect(socket, "ready")
    spaces = target.spec.linux.namespaces
    flags = 0
    for kind in spaces:
        if kind not in ("pid", "time", "user"):
            flags |= NAMESPACES[kind]
    with Failing("namespace"):
        if "user" in spaces:
            namespaces.setns(target.pidfd, namespaces.CLONE_NEWUSER)
        namespaces.setns(target.pidfd, flags)
        if "user" in spaces:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            process.set_dumpable(0)
    if streams.terminal:
        with Failing("console"):
            _open_console(streams, socket)
    else:
        streams.take(one.user.uid)
    identity.reset_signals()
    with Failing("rlimits"):
        identity.set_rlimits(one.rlimits, frozenset())
    with Failing("scheduler"):
        identity.set_scheduling(one)
    if not one.args:
        raise InvalidArgument("process.args is empty")
    identity.become(one, filter_, last_capability=last)
    if die_with_parent:
        process.set_pdeathsig(KILL)
    identity.run_program(one, preserve_fds=preserve_fds)


def _open_console(streams: Streams, socket: Socket) -> None:
    """A terminal of the container's own devpts; the master goes to the parent."""
    devpts = paths.openat2(
        -100,
        "/dev/pts",
        os.O_RDONLY | os.O_DIRECTORY,
        resolve=paths.RESOLVE_NO_SYMLINKS | paths.RESOLVE_NO_MAGICLINKS,
    )
    try:
        master, slave = terminal.open_pty(devpts)
    finally:
        os.close(devpts)
    if streams.rows:
        terminal.set_window_size(master, streams.rows, streams.cols)
    sync.send(socket, {"op": "console"}, [master])
    os.close(master)
    terminal.make_controlling(slave)
    for number in range(3):
        os.dup2(slave, number, inheritable=True)
    os.close(slave)


def _end(pid: int, pidfd: int) -> None:
    try:
        process.pidfd_send_signal(pidfd, KILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)
    os.close(pidfd)
