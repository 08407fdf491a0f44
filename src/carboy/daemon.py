"""The daemon: the one place that builds the objects and joins them.

    python -m carboy.daemon [--data-root DIR] [--exec-root DIR] [--host URL]... (docs/settings.md)

In this order, so that a client waits for as little as possible: lock the root, listen (clients
queue in the kernel from here on), start the spawner (it loads beside us), then load and build
everything else, find the containers that still run, serve.  SIGTERM ends the daemon; containers
and their monitors go on, and the next daemon finds them.  SIGHUP reads the settings again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

from carboy.cli import flags
from carboy.errors import CarboyError, InvalidArgument, Unavailable
from carboy.formats.settings.table import ALL_FLAGS
from carboy.linux import process
from carboy.service.notices import PidFile, notify
from carboy.service.options import Options
from carboy.store.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from carboy.api.listeners import Listener, Rules
    from carboy.api.tls import Identity
    from carboy.engine.assembly import Engine
    from carboy.formats.settings.reading import Settings

_SO_PEERPIDFD = 77


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until it is told to end; gives its exit code."""
    try:
        parsed = flags.parse(ALL_FLAGS, sys.argv[1:] if arguments is None else arguments)
        if parsed.arguments:
            raise InvalidArgument(f"unknown argument {parsed.arguments[0][:80]!r}: see carboy daemon --help")
        options = Options(parsed.values, parsed.lists)
    except CarboyError as error:
        sys.stderr.write(f"carboy daemon: {error}\n")
        return 2
    try:
        settings = options.load()
        if options.validate:
            sys.stdout.write("configuration OK\n")
            return 0
        _run(options, settings)
    except (CarboyError, OSError) as error:
        sys.stderr.write(f"carboy daemon: {error}\n")
        return 1
    return 0


def _speak_utf8() -> None:
    """Go on in Python's UTF-8 mode: names of files are these bytes, whoever's locale we were started in.

    Else the same Dockerfile would give another layer here than elsewhere, or find no file.
    """
    os.environ["PYTHONUTF8"] = "1"  # of the spawner, and of what comes of it
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "carboy.daemon", *sys.argv[1:]])


def _run(options: Options, settings: Settings) -> None:
    os.umask(0o022)
    paths = Paths(
        settings.text("data-root") or options.home_root, settings.text("exec-root") or options.home_run
    )
    paths.create()
    lock = lock_root(paths)
    process.set_title("carboy daemon")
    _raise_file_limit()
    _adjust_oom_score(settings)
    pid_file = PidFile(settings.text("pidfile")) if settings.text("pidfile") else None
    from carboy.api.listeners import listen_all, passed_descriptors

    listeners: list[Listener] = []
    metrics: socket.socket | None = None
    try:
        listeners = listen_all(_hosts(options, settings, paths), _rules(settings), passed_descriptors())
        metrics = _listen_for_metrics(settings)
        serve(paths, options, settings, listeners, metrics)
    finally:
        for listener in listeners:
            listener.close()
        if metrics is not None:
            metrics.close()
        if pid_file is not None:
            pid_file.remove()
        os.close(lock)


def _hosts(options: Options, settings: Settings, paths: Paths) -> list[str]:
    hosts = settings.words("hosts")
    hosts += [host for host in options.expected_hosts if host not in hosts]
    return [f"unix://{paths.socket}" if host == "unix://" else host for host in hosts or ["unix://"]]


def _rules(settings: Settings) -> Rules:
    from carboy.api.listeners import Rules

    name = settings.text("group")
    group: int | None = None
    if name.isdecimal():
        group = int(name)
    elif name:
        import grp  # few daemons name a group

        try:
            group = grp.getgrnam(name).gr_gid
        except KeyError as error:
            raise InvalidArgument(f"there is no group {name[:80]!r} on this machine") from error
    tls = settings.flag("tlsverify") or settings.flag("tls")
    insecure = settings.flag("insecure-tcp")
    if tls and not settings.flag("tlsverify") and not insecure:
        raise InvalidArgument(
            "tls without tlsverify lets everybody in: set tlsverify, or force it with --insecure-tcp"
        )
    return Rules(group=group, tls=tls, insecure=insecure)


def _listen_for_metrics(settings: Settings) -> socket.socket | None:
    address = settings.text("metrics-addr")
    if not address:
        return None
    from carboy.api.listeners import split_address

    try:
        return socket.create_server(split_address(address, 9323, address))
    except OSError as error:
        raise Unavailable(f"cannot serve metrics at {address}: {error}") from error


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


def serve(
    paths: Paths,
    options: Options,
    settings: Settings,
    listeners: list[Listener],
    metrics: socket.socket | None = None,
) -> None:
    """Start the spawner, build the engine, serve, and take everything down again."""
    from carboy.engine.monitors import ChannelLoop, Spawner

    tls = _identity(settings, listeners)  # what can be wrong in it is told before anything is made
    loop = ChannelLoop()
    spawner = Spawner(loop, cgroup=f"{paths.cgroup_parent}/monitors")
    spawner.start()
    _ignore_hangups()  # after the spawner's start: containers must not inherit that
    try:
        _start_logging(options, settings, paths)
        # Heavy imports from here on: the spawner loads beside them, on another core.
        from carboy.api.backend import Backends
        from carboy.api.server import Serving
        from carboy.api.server import serve as serve_api
        from carboy.engine.assembly import Engine

        serving = Serving(
            take_descriptor=take_descriptor,
            tls=tls,
            metrics=metrics,
            reload=lambda: _reload(options, settings, paths, engine, tls),
            grace=lambda: _grace(settings),
            debug_endpoints=settings.flag("debug-endpoints"),
        )
        engine = Engine(paths, loop, spawner, settings=settings)
        try:
            loop.start()
            engine.recover()
            backends = Backends(
                containers=engine.containers,
                execs=engine.execs,
                images=engine.images,
                volumes=engine.volumes,
                networks=engine.networks,
                system=engine.system,
                events=engine.events,
                upkeep=engine.upkeep,
                files=engine.files,
                builds=engine.building,
            )
            _tell_addresses(listeners, settings)
            serve_api(
                listeners,
                backends,
                on_ready=lambda _stop: _tell_ready(options.ready, engine),
                serving=serving,
            )
            notify("STOPPING=1")
        finally:
            engine.close()
    finally:
        spawner.close()
        loop.stop()
    if engine.system.was_reset:
        engine.system.remove_files()
        _remove_groups(paths.cgroup_parent)


def _ignore_hangups() -> None:
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _identity(settings: Settings, listeners: list[Listener]) -> Identity | None:
    if not any(listener.tls for listener in listeners):
        return None
    from carboy.api.tls import Identity

    return Identity(_tls_context(settings))


def _tls_context(settings: Settings) -> ssl.SSLContext:
    from carboy.api.tls import server_context

    return server_context(
        authority=settings.text("tlscacert"),
        certificate=settings.text("tlscert"),
        key=settings.text("tlskey"),
        verify=settings.flag("tlsverify"),
    )


def _tell_addresses(listeners: list[Listener], settings: Settings) -> None:
    import logging

    log = logging.getLogger("carboy.daemon")
    for listener in listeners:
        if not listener.local and not (listener.tls and settings.flag("tlsverify")):
            log.warning(
                "[DANGER] the API listens on %s without asking for client certificates: "
                "WHOEVER REACHES THIS PORT IS ROOT ON THIS MACHINE",
                listener.host,
                extra={"host": listener.host},
            )
        log.info("API listen on %s", listener.host)
    for name in settings.pairs("features"):
        log.warning("the feature %s is not known, its switch does nothing", name)
    if not settings.flag("live-restore"):
        log.warning("live-restore cannot be switched off: containers run on while the daemon is away")


def _grace(settings: Settings) -> float:
    seconds = settings.number("shutdown-timeout")
    return float(seconds) if seconds >= 0 else 3600.0


def _reload(options: Options, settings: Settings, paths: Paths, engine: Engine, tls: Identity | None) -> None:
    """SIGHUP: read the file and the certificates again; wrong ones change nothing."""
    import logging
    import time

    log = logging.getLogger("carboy.daemon")
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        fresh = options.load()
        if tls is not None:
            tls.context = _tls_context(settings)  # refuses before anything has changed
        changed, waiting = settings.adopt(fresh)
    except CarboyError as error:
        log.error("the settings were not reloaded, the old ones stay: %s", error)
    else:
        _start_logging(options, settings, paths)
        log.info("the settings were reloaded: %s", ", ".join(changed) or "nothing has changed")
        if waiting:
            log.warning("these settings take a restart of the daemon: %s", ", ".join(waiting))
        engine.system.reloaded(changed)
    notify("READY=1")


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


def _tell_ready(descriptor: int | None, engine: Engine) -> None:
    if descriptor is not None:
        try:
            os.write(descriptor, b"ready\n")
        except OSError:
            pass  # whoever started us does not care any more
        os.close(descriptor)
    notify("READY=1")
    engine.ready()


def _raise_file_limit() -> None:
    import resource  # a few descriptors for each container, and for each client

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _adjust_oom_score(settings: Settings) -> None:
    if not settings.given("oom-score-adjust"):
        return
    score = settings.number("oom-score-adjust")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError as error:
        raise Unavailable(f"cannot set oom-score-adjust to {score}: {error.strerror}") from error


def _start_logging(options: Options, settings: Settings, paths: Paths) -> None:
    from carboy.service import log  # after the spawner's start: that does not need it

    log.start(
        level=settings.text("log-level"),
        form=settings.text("log-format"),
        debug=settings.flag("debug"),
        bounded=paths.daemon_log if options.on_demand else "",
    )


if __name__ == "__main__":
    _speak_utf8()
    sys.exit(main())
