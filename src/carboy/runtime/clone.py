"""Forking init into its user and PID namespaces: one step without a user namespace, two with one.

    without    parent ── clone3(NEWPID) ──▶ init

    with       parent ── clone3 ──▶ intermediate      joins namespaces by path, as the parent's user;
               ◀─── mapping? ──────                   joins or unshares the user namespace
               ── mapped ─────────▶                   becomes its root; unshares the PID namespace
                                    └─ clone3(PARENT) ──▶ init, a child of the parent
               ◀─── cloned [pidfd]                    ends

The PID namespace must be owned by the user namespace, or init could not mount /proc; and a
network namespace that the host owns must be joined before the privileges over it are gone.
"""

from __future__ import annotations

import os

from carboy.formats.spawner import StepError
from carboy.linux import namespaces, process
from carboy.runtime import sync
from carboy.runtime.spec import NAMESPACES
from carboy.runtime.sync import Failing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type

    from carboy.runtime.launch import Plan
    from carboy.runtime.spec import Spec

CLONE_PARENT = 0x8000


def clone(plan: Plan) -> tuple[int, int]:
    """(pid, pidfd) of init in the parent, (0, -1) in init."""
    if "user" in plan.spec.linux.namespaces:
        return _clone_in_two_steps(plan)
    flags = NAMESPACES["pid"] if plan.spec.linux.namespaces.get("pid") == "" else 0
    joined = plan.joined.pop("pid", None)
    if joined is None:
        return process.clone3(flags)
    try:
        return clone_into(joined, flags)
    finally:
        os.close(joined)


def clone_into(pid_namespace: int, flags: int = 0) -> tuple[int, int]:
    """Fork a child into the PID namespace (a descriptor of it, or a pidfd of one of its members)."""
    namespaces.setns(pid_namespace, namespaces.CLONE_NEWPID)
    pid = -1
    try:
        pid, pidfd = process.clone3(flags)
    finally:
        if pid:
            # Only the parent goes back: for the child it is already its own namespace.
            own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            namespaces.setns(own, namespaces.CLONE_NEWPID)
            os.close(own)
    return pid, pidfd


def _clone_in_two_steps(plan: Plan) -> tuple[int, int]:
    ours, theirs = sync.pair()
    pid, pidfd = process.clone3(0)
    if pid == 0:
        ours.close()
        return _intermediate(plan, theirs)
    theirs.close()
    os.close(pidfd)
    try:
        sync.set_timeout(ours, 30)
        if plan.spec.linux.namespaces["user"] == "":
            sync.expect(ours, "mapping")
            with Failing("user", "id mappings"):
                write_mappings(pid, plan.spec)
            sync.send(ours, {"op": "mapped"})
        _, descriptors = sync.expect(ours, "cloned")
        if len(descriptors) != 1:
            raise StepError("Internal", "fork", "the intermediate process did not hand over init")
    finally:
        ours.close()
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored here
    return pid_of(descriptors[0]), descriptors[0]


def _intermediate(plan: Plan, socket: Socket) -> tuple[int, int]:
    """Only returns in init."""
    pid = 0
    try:
        if os.geteuid() == 0:
            # An ordinary user could not write the id maps of an undumpable process.
            process.set_dumpable(0)
        _enter(plan, socket)
        with Failing("fork"):
            pid, pidfd = process.clone3(CLONE_PARENT, exit_signal=0)
            if pid == 0:
                socket.close()
                return 0, -1
        sync.send(socket, {"op": "cloned"}, [pidfd])
        os._exit(0)
    except BaseException as error:
        failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
        sync.send(socket, {"error": sync.step_error(failed, "namespace").to_message()})
        os._exit(255)


def _enter(plan: Plan, socket: Socket) -> None:
    for kind in [kind for kind in plan.joined if kind not in ("user", "mount")]:
        fd = plan.joined.pop(kind)
        with Failing("namespace", kind):
            namespaces.setns(fd, NAMESPACES[kind])
        os.close(fd)
    joined = plan.joined.pop("user", None)
    with Failing("namespace", "user"):
        if joined is not None:
            namespaces.setns(joined, namespaces.CLONE_NEWUSER)
            os.close(joined)
        else:
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            sync.send(socket, {"op": "mapping"})
            sync.expect(socket, "mapped")
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        process.set_dumpable(0)  # a change of credentials sets it again
    if plan.spec.linux.namespaces.get("pid") == "":
        with Failing("namespace", "pid"):
            namespaces.unshare(namespaces.CLONE_NEWPID)


def write_mappings(pid: int, spec: Spec) -> None:
    """uid_map and gid_map of a child that waits; setgroups is denied where the kernel wants it so."""
    write_maps(pid, spec.linux.uid_mappings, spec.linux.gid_mappings)


def write_maps(pid: int, uids: list[tuple[int, int, int]], gids: list[tuple[int, int, int]]) -> None:
    """The maps of the user namespace of `pid`."""
    for name, mappings in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in mappings)
        if name == "gid_map" and os.geteuid() != 0:
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def user_namespace(uids: list[tuple[int, int, int]], gids: list[tuple[int, int, int]]) -> int:
    """A descriptor of a new user namespace with these maps, which no process is in (idmapped mounts)."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone3(namespaces.CLONE_NEWUSER)
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent has opened the namespace, or is gone
        os._exit(0)
    try:
        write_maps(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(reader)
        os.close(writer)
        os.close(pidfd)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored here


def pid_of(pidfd: int) -> int:
    """The process of a pidfd, as this PID namespace numbers it."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line[4:])
    raise ProcessLookupError("the process of the pidfd is gone")
