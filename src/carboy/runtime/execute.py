"""One more process in a container: the same conversation as `sync.py`, without a root to build."""

from __future__ import annotations

import os

from carboy.errors import Conflict, InvalidArgument
from carboy.linux import capabilities, namespaces, paths, process, terminal
from carboy.runtime import clone, identity, labels, seccomp, sync
from carboy.runtime.launch import set_oom_score, wait_for_exec
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.streams import Streams
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type
    from collections.abc import Callable
    from typing import Protocol

    from carboy.runtime.launch import Created
    from carboy.runtime.seccomp import Filter
    from carboy.runtime.spec import Process, Spec

    Prepare = Callable[[], tuple[Process, Filter | None]]

    class Group(Protocol):
        """What a control group must be able to do here."""

        def enter(self) -> None: ...
        def add_entered(self, pid: int, *, init: int = 0) -> None: ...


KILL = 9
EXEC_TIMEOUT = 30
"""Seconds for each step of an exec: a monitor does nothing else meanwhile."""
END_TIMEOUT = 1.0
"""Seconds that a killed one may take to be gone."""


class Target:
    """The container to join, as carboy-runtime reads it from its state; a monitor has its `Created`."""

    __slots__ = ("cgroup", "container_id", "pid", "pidfd", "spec")

    def __init__(self, spec: Spec, pid: int, pidfd: int, cgroup: Group | None, container_id: str) -> None:
        self.spec = spec
        self.container_id = container_id
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup


class Executed:
    """A process that runs in the container; the caller owns `pidfd` and the ends in `streams`."""

    __slots__ = ("pid", "pidfd", "streams", "warnings")

    def __init__(self, pid: int, pidfd: int, streams: Streams, warnings: list[str]) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.streams = streams
        self.warnings = warnings


def execute(
    target: Target | Created,
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
        with Failing("label"):
            labels.require(one)
        return _fork(
            target,
            lambda: (one, filter_),
            streams,
            preserve_fds=preserve_fds,
            die_with_parent=die_with_parent,
        )
    except BaseException:
        streams.close()
        raise


def execute_prepared(target: Target, prepare: Prepare, streams: Streams) -> Executed:
    """As `execute`, but what can be found out in the child is found out there.

    A monitor's memory stays small so: what the child reads and parses goes with it.
    """
    try:
        return _fork(target, prepare, streams, preserve_fds=0, die_with_parent=True)
    except BaseException:
        streams.close()
        raise


def _fork(
    target: Target | Created,
    prepare: Prepare,
    streams: Streams,
    *,
    preserve_fds: int,
    die_with_parent: bool,
) -> Executed:
    ours, theirs = sync.pair()
    pid, pidfd = _clone_into(target)
    if pid == 0:
        ours.close()
        try:
            _child(
                target, prepare, streams, theirs, preserve_fds=preserve_fds, die_with_parent=die_with_parent
            )
        except BaseException as error:
            failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
            sync.send(theirs, {"error": sync.step_error(failed, "exec").to_message()})
        finally:
            os._exit(255)
    theirs.close()
    streams.close_child()
    warnings: list[str] = []
    try:
        sync.set_timeout(ours, EXEC_TIMEOUT)
        sync.expect(ours, "namespaces", warnings)
        with Failing("cgroup"):
            if target.cgroup is not None:
                target.cgroup.add_entered(pid, init=target.pid)
        sync.send(ours, {"op": "ready"})
        if streams.terminal:
            _, descriptors = sync.expect(ours, "console", warnings)
            streams.console = descriptors[0]
        wait_for_exec(ours, warnings)
    except BaseException:
        _end(pid, pidfd)
        raise
    finally:
        ours.close()
    return Executed(pid, pidfd, streams, warnings)


def _clone_into(target: Target | Created) -> tuple[int, int]:
    """Fork a child into the container's PID namespace."""
    if "pid" not in target.spec.linux.namespaces:
        return process.clone3(0)
    try:
        return clone.clone_into(target.pidfd)
    except OSError as error:
        raise Conflict("the container has ended") from error


def _enter(target: Target | Created) -> None:
    """Join the container's other namespaces.

    The user namespace comes last: the host's privileges are needed for namespaces that the
    host owns.  An ordinary user has none but inside of it, and joins it first.
    """
    spaces = target.spec.linux.namespaces
    flags = 0
    for kind in spaces:
        if kind not in ("pid", "user"):
            flags |= NAMESPACES[kind]
    if "user" not in spaces:
        namespaces.setns(target.pidfd, flags)
        return
    if os.geteuid() == 0:
        namespaces.setns(target.pidfd, flags)
        namespaces.setns(target.pidfd, namespaces.CLONE_NEWUSER)
    else:
        namespaces.setns(target.pidfd, namespaces.CLONE_NEWUSER)
        namespaces.setns(target.pidfd, flags)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.set_dumpable(0)


def _child(
    target: Target | Created,
    prepare: Prepare,
    streams: Streams,
    socket: Socket,
    *,
    preserve_fds: int,
    die_with_parent: bool,
) -> None:
    process.set_dumpable(0)
    if die_with_parent:
        process.set_pdeathsig(KILL)
    os.setsid()
    one, filter_ = prepare()
    last = capabilities.last_capability()
    _set_affinity(one.cpu_affinity[0])
    for warning in set_oom_score(one):
        sync.send(socket, {"warning": warning})
    sync.send(socket, {"op": "namespaces"})
    sync.expect(socket, "ready")
    _set_affinity(one.cpu_affinity[1])
    if target.cgroup is not None:
        with Failing("cgroup"):
            target.cgroup.enter()
    _own_null(target, streams)
    with Failing("namespace"):
        _enter(target)
    identity.new_keyring(target.container_id)
    if streams.terminal:
        with Failing("console"):
            _open_console(streams, socket, one.user.uid)
    else:
        streams.take(one.user.uid)
    identity.reset_signals()
    with Failing("rlimits"):
        for warning in identity.set_rlimits(one.rlimits, target.spec.explicit_limits):
            sync.send(socket, {"warning": warning})
    with Failing("scheduler"):
        identity.set_scheduling(one)
    if not one.args:
        raise InvalidArgument("process.args is empty")
    identity.become(one, filter_, last_capability=last, preserve_fds=preserve_fds)
    if die_with_parent:
        process.set_pdeathsig(KILL)
    identity.run_program(one)


def _own_null(target: Target | Created, streams: Streams) -> None:
    try:
        root = os.open(f"/proc/{target.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        root = -1  # it has just ended, or lets no ordinary user look
    streams.own_null(root)
    if root >= 0:
        os.close(root)


def _set_affinity(processors: list[int]) -> None:
    """`execCPUAffinity`: once before the process is in the container's control group, once after."""
    if processors:
        with Failing("cpu affinity"):
            os.sched_setaffinity(0, processors)


def _open_console(streams: Streams, socket: Socket, uid: int) -> None:
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
    streams.take_terminal(master, slave, uid)
    sync.send(socket, {"op": "console"}, [master])
    os.close(master)


def _end(pid: int, pidfd: int) -> None:
    try:
        process.pidfd_send_signal(pidfd, KILL)
    except ProcessLookupError:
        pass
    # In a frozen group it does not even die: whoever thaws it ends it, and nobody waits for that here.
    from select import poll  # a C module, in memory already wherever a monitor runs

    ended = poll()
    ended.register(pidfd)
    if ended.poll(END_TIMEOUT * 1000):
        os.waitpid(pid, 0)
    os.close(pidfd)
