"""The warm process that forks monitors: `python -m carboy.runtime.spawner --fd N [--cgroup PATH] <padding>`.

It imports everything that monitors and inits need, freezes the heap so that forked children
share it, and waits for MonitorRequests (formats/spawner.py).  No thread, no event loop: a
fork of a larger or busier process would cost every container.  It ends with its daemon.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from _socket import socket as Socket  # noqa: N812 - the C type; the socket module would cost 0.3 MiB

from carboy.errors import CarboyError
from carboy.formats import spawner as protocol
from carboy.linux import process
from carboy.runtime.monitor import connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def leave_the_session(path: str) -> None:
    """A session and a control group of our own; where the kernel refuses, the caller's stay.

    A caller's session that ends must not take spawner and monitors along.
    """
    from carboy.runtime import cgroups

    try:
        os.setsid()
    except PermissionError:
        pass
    if not path:
        return
    group = cgroups.open_cgroup(path)
    try:
        group.create()
        group.add_process(0)
    except (CarboyError, OSError):
        return
    finally:
        group.close()


def take_arguments(arguments: list[str]) -> tuple[int, str]:
    """N and PATH of `--fd N [--cgroup PATH]`."""
    if len(arguments) < 2 or arguments[0] != "--fd" or not arguments[1].isdigit():
        raise SystemExit("usage: python -m carboy.runtime.spawner --fd N (started by the daemon only)")
    return int(arguments[1]), arguments[3] if arguments[2:3] == ["--cgroup"] else ""


def become_monitor(socket: Socket, request: dict[str, Any], descriptors: list[int]) -> None:
    """In the child: shed what the spawner had, and live as the monitor of one container."""
    from carboy.runtime.monitor import container, supervisor  # loaded by `warm_up`: a look-up, not an import

    socket.close()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    keep_only(descriptors)
    made = container.Container(
        str(request["id"]),
        str(request["bundle"]),
        request.get("launch") or {},
        descriptors[1] if request.get("rootfs") else None,
    )
    made.mounts = descriptors[2:]
    process.set_title(f"carboy monitor {str(request.get('id'))[:12]}")
    process.set_name("carboy-monitor")
    gc.enable()
    supervisor.Monitor(request, Socket(fileno=descriptors[0]), made).live()


def sweep(socket: Socket, request: dict[str, Any], descriptors: list[int]) -> None:
    """In the child: kill and remove what a dead monitor left of its container; a byte says: done."""
    from carboy.runtime import cgroups

    socket.close()
    keep_only(descriptors)
    cgroups.attach(dict(request.get("cgroup") or {})).delete()
    os.write(descriptors[0], b"\0")


def become_forwarder(socket: Socket, request: dict[str, Any], descriptors: list[int]) -> None:
    """In the child: hold published ports; loaded here, because there is one for thousands of monitors."""
    from carboy.runtime.forwarder import service

    del request
    socket.close()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    keep_only(descriptors)
    service.live(descriptors[0])


def keep_only(descriptors: list[int]) -> None:
    """/dev/null as 0, 1 and 2, the given ones, and nothing else."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number, inheritable=True)
    first = 3
    for fd in sorted(descriptors):
        if fd > first:
            process.close_range(first, fd - 1)
        first = fd + 1
    process.close_range(first)


WORK = {"monitor": become_monitor, "sweep": sweep, "ports": become_forwarder}
"""What a child does, by request."""


def _expected(request: dict[str, Any]) -> int:
    """How many descriptors come with a request."""
    return 1 + bool(request.get("rootfs")) + int(request.get("mounts") or 0)


def serve(socket: Socket) -> None:
    """Fork a monitor for each request until the daemon goes."""
    while True:
        try:
            packet, descriptors = connection.receive(socket)
        except ConnectionError:
            return
        if not packet:
            return
        try:
            request = protocol.decode(packet)
            work = WORK.get(str(request.get("op")))
            if work is None or len(descriptors) != _expected(request):
                continue
            if os.fork() == 0:
                try:
                    work(socket, request, descriptors)
                finally:
                    os._exit(0)  # never back into the spawner's loop, whatever went wrong
        except CarboyError:
            pass  # a bad packet: the channel's end tells the daemon
        except OSError:
            pass  # no more processes: the same
        finally:
            for fd in descriptors:
                os.close(fd)


WARM_ROUNDS = 12
"""CPython rewrites a function's code with faster instructions when it runs often (PEP 659: 8 times)."""


def rehearse() -> None:
    """What monitors and launchers do in each start: code that is rewritten here is not written to in them."""
    from carboy.runtime import cgroups, spec, sync
    from carboy.runtime.monitor.loop import Loop

    loaded = spec.Spec(protocol.decode(protocol.encode(REHEARSED)))
    layout = cgroups.read_layout()
    cgroups.open_cgroup("/rehearsed", layout=layout).paths()
    ours, theirs = sync.pair()
    loop = Loop()
    try:
        one = connection.Connection(loop, ours, lambda message, _: dict(message), lambda _: None)
        sync.send(theirs, {"seq": 1, "args": loaded.process.args if loaded.process else []})
        loop.step(0)
        one.send({"event": "rehearsed"})
        sync.receive(theirs)
        sync.receive(theirs)
        one.close()
    finally:
        theirs.close()


REHEARSED: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "hostname": "rehearsed",
    "process": {
        "args": ["true"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=65536k"]},
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 100}},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}


def warm_up() -> None:
    """Import what children use, and do once what would be done in each of them."""
    from carboy.runtime import execute, launch, reaper
    from carboy.runtime.monitor import container, remote, supervisor

    del container, execute, launch, reaper, remote, supervisor
    for _ in range(WARM_ROUNDS):
        rehearse()
    gc.collect()
    gc.freeze()
    gc.disable()


def main() -> None:
    """The process."""
    from carboy.runtime import sealed

    fd, group = take_arguments(sys.argv[1:])
    sealed.ensure()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(fd, False)
    leave_the_session(group)
    warm_up()
    process.set_title("carboy spawner")
    process.set_name("carboy-spawner")
    serve(Socket(fileno=fd))


if __name__ == "__main__":
    main()
