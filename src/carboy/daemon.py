"""The daemon: the one place that builds the objects and joins them.

    python -m carboy.daemon --root DIR --run DIR --host URL [--on-demand] [--ready-fd N]

In this order, so that a client waits for as little as possible: lock the root, listen (clients
queue in the kernel from here on), start the spawner (it loads beside us), then load and build
everything else, find the containers that still run, serve.  SIGTERM ends the daemon; containers
and their monitors go on, and the next daemon finds them.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

from carboy.errors import CarboyError, InvalidArgument, Unavailable
from carboy.linux import process
from carboy.store.paths import DEFAULT_ROOT, Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.api.listeners import Listener

DEFAULT_RUN = "/run/carboy"
LOG_LIMIT = 8 << 20
_SO_PEERPIDFD = 77
_USAGE = (
    "usage: carboy daemon [--root DIR] [--run DIR] [--host URL]... [--on-demand] [--ready-fd N] [--debug]"
)


class Options:
    """The command line of the daemon."""

    def __init__(self, arguments: list[str]) -> None:
        self.root = os.environ.get("CARBOY_ROOT") or DEFAULT_ROOT
        self.run = os.environ.get("CARBOY_RUN") or DEFAULT_RUN
        self.hosts: list[str] = []
        self.on_demand = False
        self.debug = False
        self.ready: int | None = None
        self.network = ""
        words = list(arguments)
        while words:
            self._take(words)

    def _take(self, words: list[str]) -> None:
        name, equals, value = words.pop(0).partition("=")
        if name in ("--on-demand", "--debug") and not equals:
            setattr(self, name[2:].replace("-", "_"), True)
            return
        if name not in ("--root", "--run", "--host", "-H", "--ready-fd", "--bridge"):
            raise InvalidArgument(f"unknown argument {name[:80]!r}\n{_USAGE}")
        if not equals:
            if not words:
                raise InvalidArgument(f"{name} needs a value\n{_USAGE}")
            value = words.pop(0)
        match name:
            case "--root":
                self.root = value
            case "--run":
                self.run = value
            case "--bridge":
                self.network = value
            case "--ready-fd":
                self.ready = int(value)
            case _:
                self.hosts.append(value)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until it is told to end; gives its exit code."""
    try:
        options = Options(sys.argv[1:] if arguments is None else arguments)
    except (CarboyError, ValueError) as error:
        sys.stderr.write(f"carboy daemon: {error}\n")
        return 2
    try:
        _run(options)
    except CarboyError as error:
        sys.stderr.write(f"carboy daemon: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"carboy daemon: {error}\n")
        return 1
    return 0


def _run(options: Options) -> None:
    os.umask(0o022)
    paths = Paths(options.root, options.run)
    paths.create()
    lock = lock_root(paths)
    process.set_title("carboy daemon")
    _raise_file_limit()
    from carboy.api.listeners import listen

    listeners = [listen(host) for host in options.hosts or [f"unix://{paths.socket}"]]
    try:
        serve(paths, options, listeners)
    finally:
        for listener in listeners:
            listener.close()
        os.close(lock)


def lock_root(paths: Paths) -> int:
    """One daemon for each root; raises Unavailable when another has it."""
    descriptor = os.open(paths.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise Unavailable(f"another daemon (pid {owner or 'unknown'}) uses {paths.root} already") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def serve(paths: Paths, options: Options, listeners: list[Listener]) -> None:
    """Start the spawner, build the engine, serve, and take everything down again."""
    from carboy.engine.monitors import ChannelLoop, Spawner

    loop = ChannelLoop()
    spawner = Spawner(loop, cgroup=f"{paths.cgroup_parent}/monitors")
    spawner.start()
    try:
        _start_logging(options, paths)
        # Heavy imports from here on: the spawner loads beside them, on another core.
        from carboy.api.backend import Backends
        from carboy.api.server import serve as serve_api
        from carboy.engine.assembly import Engine

        engine = Engine(paths, loop, spawner, bridge=options.network)
        try:
            loop.start()
            engine.recover()
            backends = Backends(
                containers=engine.containers,
                files=engine.files,
                execs=engine.execs,
                images=engine.images,
                volumes=engine.volumes,
                networks=engine.networks,
                system=engine.system,
                events=engine.events,
            )
            serve_api(
                listeners,
                backends,
                on_ready=lambda _stop: _tell_ready(options.ready, engine.ready),
                take_descriptor=take_descriptor,
            )
        finally:
            engine.close()
    finally:
        spawner.close()
        loop.stop()
    if engine.system.was_reset:
        engine.system.remove_files()
        _remove_groups(paths.cgroup_parent)


def _remove_groups(parent: str) -> None:
    from carboy.runtime import cgroups  # only a reset needs it

    group = cgroups.open_cgroup(parent)
    try:
        group.open_existing()
        group.delete()
    except (CarboyError, OSError) as error:
        sys.stderr.write(f"carboy daemon: {error}\n")


def take_descriptor(client: socket.socket, number: int) -> int:
    """A copy of descriptor `number` of the process at the other end of a unix socket."""
    try:
        peer = client.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        peer = process.pidfd_open(int.from_bytes(credentials[:4], sys.byteorder))
    try:
        return process.pidfd_getfd(peer, number)
    except OSError as error:
        raise InvalidArgument(f"cannot take descriptor {number} of the client: {error.strerror}") from error
    finally:
        os.close(peer)


def _tell_ready(descriptor: int | None, then: Callable[[], None]) -> None:
    if descriptor is not None:
        try:
            os.write(descriptor, b"ready\n")
        except OSError:
            pass  # whoever started us does not care any more
        os.close(descriptor)
    then()


def _raise_file_limit() -> None:
    import resource  # a few descriptors for each container, and for each client

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_logging(options: Options, paths: Paths) -> None:
    import logging  # after the spawner's start: that does not need it

    class Bounded(logging.StreamHandler):  # type: ignore[type-arg]  # the stream is standard error
        """Starts the log again when it has grown too long: nobody else rotates it."""

        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            if os.fstat(2).st_size > LOG_LIMIT:
                _rotate(paths.daemon_log)

    handler = Bounded() if options.on_demand else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _rotate(path: str) -> None:
    os.rename(path, f"{path}.1")
    fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for number in (1, 2):
        os.dup2(fresh, number)
    os.close(fresh)


if __name__ == "__main__":
    sys.exit(main())
