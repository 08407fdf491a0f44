"""create, start, state, kill, delete, run, list: a container from the cradle to the grave."""

from __future__ import annotations

import json
import os
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import CarboyError, Conflict, Internal, InvalidArgument, NotFound, Unsupported
from carboy.linux import process
from carboy.runtime import cgroups, spec, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.runtime.cgroups import Cgroup
    from carboy.runtime.command.call import Call
    from carboy.runtime.launch import Created
    from carboy.runtime.state import Container

KILL = 9
STOP_TIMEOUT = 10
"""Seconds that a killed process may take to end."""


def create(call: Call) -> int:
    """`create ID`."""
    made, container = _make(call, waits_for_start=True)
    made.leave()
    _hand_out(call, made, container)
    return 0


def run(call: Call) -> int:
    """`run ID`: the program's exit code."""
    from carboy.runtime.command import console

    detached = call.flags.flag("detach")
    made, container = _make(call, waits_for_start=False)
    try:
        made.start()
        master = -1 if call.flags.given("console-socket") else made.streams.console
        _hand_out(call, made, container)
    except BaseException:
        _delete(call, container)
        raise
    for warning in made.warnings:
        call.warn(warning)
    if detached:
        return 0
    try:
        return console.supervise(made.pid, made.pidfd, master)
    finally:
        if not call.flags.flag("keep"):
            _delete(call, container)


def _make(call: Call, *, waits_for_start: bool) -> tuple[Created, Container]:
    """Everything up to `start`; nothing is left when it fails."""
    from carboy.runtime.command import console

    container_id = call.container_id()
    if call.flags.flag("no-pivot"):
        raise Unsupported("--no-pivot would leave the host's root reachable: pivot_root is always used")
    bundle = os.path.abspath(call.flags.text("bundle", "."))
    config = spec.load(f"{bundle}/config.json")
    wants_terminal = config.process is not None and config.process.terminal
    detached = waits_for_start or call.flags.flag("detach")
    socket_path = call.flags.text("console-socket")
    console.check(socket_path, wants_terminal=wants_terminal, detached=detached)
    preserved = prepare_descriptors(call)
    # One group without a parent of ours: `delete` leaves nothing behind.
    wanted = config.linux.cgroups_path or f"/carboy-runtime-{state.check_id(container_id)}"
    path = cgroups.resolve_path(wanted, container_id=container_id, parent="")
    group = cgroups.open_cgroup(path)
    container = state.Container.make(
        call.root, container_id, bundle, config.document, cgroup=group.planned_paths()
    )
    try:
        listener = _listen(container) if waits_for_start else None
        made = _launch(call, container, config, group, listener, preserved)
        if listener is not None:
            listener.close()
    except BaseException:
        _undo(group, container)
        raise
    return made, container


def _launch(
    call: Call,
    container: Container,
    config: spec.Spec,
    group: Cgroup,
    listener: Socket | None,
    preserved: int,
) -> Created:
    from carboy.runtime import launch

    wants_terminal = config.process is not None and config.process.terminal
    rows, cols = config.process.console_size if config.process else (0, 0)
    made = launch.create(
        config,
        container_id=container.container_id,
        bundle=container.bundle,
        rootfs_fd=None,
        streams=launch.Streams.inherit(terminal=wants_terminal, rows=rows, cols=cols),
        cgroup=group,
        preserve_fds=preserved,
        die_with_parent=False,
        seccomp_cache=call.seccomp_cache,
        start_socket=listener,
    )
    try:
        container.cgroup_paths = group.paths()
        container.set_process(made.pid)
        container.save()
        caps = config.process.capabilities if config.process else None
        for name in sorted(set(caps.unknown)) if caps else ():
            call.warn(f"capability {name} is unknown here and left out")
        for warning in made.warnings:
            call.warn(warning)
        made.warnings.clear()
    except BaseException:
        process.pidfd_send_signal(made.pidfd, KILL)
        raise
    return made


def _undo(group: Cgroup, container: Container) -> None:
    try:
        group.delete()
    except (CarboyError, OSError):
        pass  # the first error is the one to tell
    container.remove()


def _listen(container: Container) -> Socket:
    """The socket on which init waits for `start`; bound through a descriptor: paths end at 108 bytes."""
    listener = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/start.sock")
    finally:
        os.close(directory)
    listener.listen(4)
    return listener


def _hand_out(call: Call, made: Created, container: Container) -> None:
    """The terminal to the console socket, the pid to its file."""
    from carboy.runtime.command import console

    path = call.flags.text("console-socket")
    try:
        if path:
            console.hand_over(console.connect(path), made.streams.console)
            made.streams.console = -1
        write_pid(call, made.pid)
    except BaseException:
        _delete(call, container)
        raise


def write_pid(call: Call, pid: int) -> None:
    """--pid-file, whole or not at all: others wait for it to appear."""
    path = call.flags.text("pid-file")
    if not path:
        return
    folder, name = os.path.split(os.path.abspath(path))
    temporary = f"{folder}/.{name}"
    with open(temporary, "w") as file:
        file.write(str(pid))
    os.rename(temporary, path)


def prepare_descriptors(call: Call) -> int:
    """Close what we inherited but do not hand on; how many descriptors from 3 on are handed on."""
    sockets = int(os.environ.get("LISTEN_FDS") or 0) if os.environ.get("LISTEN_PID", "") else 0
    count = call.flags.number("preserve-fds") + sockets
    for fd in range(3 + count):
        try:
            os.fstat(fd)
        except OSError as error:
            if fd > 2:
                # One of our own would take its place, and go into the container.
                raise InvalidArgument(f"--preserve-fds: descriptor {fd} is not open") from error
            os.open("/dev/null", os.O_RDWR)
    process.close_range(3 + count)
    return count


def start(call: Call) -> int:
    """`start ID`: returns when the program was executed."""
    from carboy.runtime import hooks, launch, sync

    container = call.container()
    container.require("start")
    connection = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/start.sock")
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise Conflict(f"container {container.container_id} is being started by somebody else") from error
    finally:
        os.close(directory)
    # From here on nobody else can start it; the directory's entry says `created`.
    os.unlink(f"{container.directory}/start.sock")
    sync.send(connection, {"op": "start"})
    warnings: list[str] = []
    launch.wait_for_exec(connection, warnings)
    for warning in warnings:
        call.warn(warning)
    try:
        hooks.run(container.spec().hooks.get("poststart", []), _hook_state(container, "running"))
    except CarboyError:
        _signal(container, KILL)
        raise
    return 0


def _hook_state(container: Container, status: str) -> dict[str, object]:
    document: dict[str, object] = {
        "ociVersion": state.VERSION,
        "id": container.container_id,
        "status": status,
        "bundle": container.bundle,
        "annotations": container.config.get("annotations") or {},
    }
    if status == "running":
        document["pid"] = container.pid
    return document


def show_state(call: Call) -> int:
    """`state ID`."""
    sys.stdout.write(json.dumps(call.container().document(), indent=2) + "\n")
    return 0


def kill(call: Call) -> int:
    """`kill ID [SIGNAL]`."""
    container = call.container(more=1)
    number = signal_number(call.arguments[1] if len(call.arguments) > 1 else "TERM")
    everybody = call.flags.flag("all")
    if everybody and not container.alive():
        return 0
    status = container.require("kill")
    spaces = {one.get("type") for one in (container.config.get("linux") or {}).get("namespaces") or ()}
    group = container.group()
    if group is not None and (everybody or (number == KILL and "pid" not in spaces)):
        for pid in group.processes():
            _signal_process(pid, number)
    else:
        _signal(container, number)
    if number == KILL and status == "paused" and group is not None:
        group.thaw()  # a frozen process does not even die
    return 0


def _signal(container: Container, number: int) -> None:
    pidfd = container.pidfd()
    try:
        process.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def _signal_process(pid: int, number: int) -> None:
    try:
        pidfd = process.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        process.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def signal_number(name: str) -> int:
    """Of `9`, `KILL` or `SIGKILL`."""
    import signal  # enum-heavy: only `kill` needs it

    if name.isascii() and name.isdigit() and 0 < int(name) < 65:
        return int(name)
    word = name.upper()
    if word.startswith(("RTMIN+", "SIGRTMIN+")) and word.partition("+")[2].isdigit():
        return int(signal.SIGRTMIN) + int(word.partition("+")[2])
    found = getattr(signal, word if word.startswith("SIG") else f"SIG{word}", None)
    if not isinstance(found, signal.Signals):
        raise InvalidArgument(f"unknown signal {name!r}")
    return int(found)


def delete(call: Call) -> int:
    """`delete ID`."""
    force = call.flags.flag("force")
    try:
        container = call.container()
    except NotFound:
        if force:
            return 0
        raise
    if not force and container.status() != "creating":
        container.require("delete")
    _delete(call, container)
    return 0


def _delete(call: Call, container: Container) -> None:
    """Kill what is left, remove the group, run the poststop hooks, forget it."""
    group = container.group()
    if container.alive():
        pidfd = container.pidfd()
        try:
            process.pidfd_send_signal(pidfd, KILL)
            if group is not None and group.frozen():
                group.thaw()
            _wait(container, pidfd)
        finally:
            os.close(pidfd)
    if group is not None:
        group.delete()
    from carboy.runtime import hooks

    for hook in container.spec().hooks.get("poststop", []):
        try:
            hooks.run([hook], _hook_state(container, "stopped"))
        except CarboyError as error:
            call.warn(f"poststop: {error}")
    container.remove()


def _wait(container: Container, pidfd: int) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(STOP_TIMEOUT * 1000):
        raise Internal(f"container {container.container_id} does not end after SIGKILL")


def show_list(call: Call) -> int:
    """`list`."""
    found = state.containers(call.root)
    if call.flags.flag("quiet"):
        lines = [one.container_id for one in found]
    elif call.flags.text("format") == "json":
        lines = [json.dumps([one.document() for one in found])]
    else:
        row = "{:<32} {:<8} {:<9} {:<32} {:<31} {}"
        lines = [row.format("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        for one in [one.document() for one in found]:
            fields = (one[key] for key in ("id", "pid", "status", "bundle", "created", "owner"))
            lines.append(row.format(*fields))
    sys.stdout.write("".join(line + "\n" for line in lines))
    return 0


COMMANDS: dict[str, Callable[[Call], int]] = {
    "create": create,
    "start": start,
    "state": show_state,
    "kill": kill,
    "delete": delete,
    "run": run,
    "list": show_list,
}
