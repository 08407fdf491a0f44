"""The container as the monitor sees it: made by `runtime.launch`, joined by `runtime.execute`."""

from __future__ import annotations

import os
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import CarboyError, InvalidArgument
from carboy.linux import process
from carboy.runtime import cgroups, execute, launch, spec
from carboy.runtime.monitor import launcher
from carboy.runtime.monitor.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups import Cgroup
    from carboy.runtime.monitor.launcher import Launched, Teller

    Message = dict[str, Any]

KILL = 9


class Container:
    """Create, start, exec, pause, update and clean up one container."""

    def __init__(self, container_id: str, bundle: str, options: Message, rootfs: int | None) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self._options = options
        self._rootfs = rootfs
        self._pid = 0
        self._pidfd = -1
        self._waiting: Socket | None = None
        self._poststart = False
        self._oom: tuple[int, int] | None = None
        self._paths: dict[str, str] = {}
        self._group: Cgroup | None = None

    # In the launcher (see launcher.py)

    def _launch(self, teller: Teller) -> None:
        config = self._load()
        group = cgroups.open_cgroup(self._group_path(config))

        def on_namespaces(pid: int, _pidfd: int) -> None:
            teller.tell({"namespaces": pid, "cgroup": group.paths()})

        try:
            created = launch.create(
                config,
                container_id=self.container_id,
                bundle=self.bundle,
                rootfs_fd=self._rootfs,
                streams=_wanted(self._options),
                cgroup=group,
                init=bool(self._options.get("init")),
                on_namespaces=on_namespaces,
                seccomp_cache=self._seccomp_cache(),
                on_fork=teller.forked.append,
            )
            oom = _watch_oom(config, group)
        except BaseException:
            _discard(group)
            raise
        teller.finish(
            {
                "pid": created.pid,
                "warnings": created.warnings,
                "reap": [pid for pid in teller.forked if pid != created.pid],
                "poststart": "poststart" in config.hooks,
                "oom_events": oom[1],
            },
            {**_ends(created), "start": created.start_descriptor(), "oom": oom[0]},
        )

    def _execute(self, request: Message, teller: Teller) -> None:
        executed = execute.execute(
            execute.Target(self._load(), self._pid, self._pidfd, self.group(), self.container_id),
            spec.parse_process(request["process"]),
            _wanted(request),
            seccomp_cache=self._seccomp_cache(),
            on_fork=teller.forked.append,
        )
        teller.finish({"pid": executed.pid}, _ends(executed))

    def _load(self) -> spec.Spec:
        return spec.load(f"{self.bundle}/config.json")

    def _group_path(self, config: spec.Spec) -> str:
        return cgroups.resolve_path(
            config.linux.cgroups_path,
            container_id=self.container_id,
            parent=str(self._options.get("cgroup_parent") or "/carboy"),
        )

    def _seccomp_cache(self) -> str | None:
        return str(self._options.get("seccomp_cache") or "") or None

    # In the monitor

    def create(self, on_namespaces: Callable[[int], None]) -> Program:
        """Launch init up to its waiting for `start`; `on_namespaces` is told its pid early."""

        def hear(message: Message) -> None:
            self._paths = message["cgroup"]
            on_namespaces(int(message["namespaces"]))

        launched = launcher.run(self._launch, hear)
        for pid in launched.result["reap"]:
            launcher.reap(pid)
        program = _program(launched)
        program.warnings = launched.result["warnings"]
        self._pid, self._pidfd = program.pid, program.pidfd
        self._waiting = Socket(fileno=launched.descriptors["start"])
        self._poststart = bool(launched.result["poststart"])
        if "oom" in launched.descriptors:
            self._oom = (launched.descriptors["oom"], int(launched.result["oom_events"]))
        if self._rootfs is not None:
            os.close(self._rootfs)
            self._rootfs = None
        return program

    def start(self) -> None:
        """Let init execute the program."""
        assert self._waiting is not None
        launch.release(self._waiting)
        self._waiting = None
        if self._poststart:
            plan = launch.Plan(self._load(), self.container_id, self.bundle, launch.Streams())
            plan.pid = self._pid
            launch.poststart(plan, self._pidfd)

    def execute(self, request: Message) -> Program:
        """Run one more process in the container."""
        if not isinstance(request.get("process"), dict):
            raise InvalidArgument("exec: process is missing")
        return _program(launcher.run(lambda teller: self._execute(request, teller)))

    def group(self) -> Cgroup:
        """The control group, opened when it is needed."""
        if self._group is None:
            self._group = cgroups.attach(self._paths)
        return self._group

    def kill_init(self) -> None:
        """SIGKILL to init; the rest follows when its pid namespace ends."""
        if self._pidfd >= 0:
            try:
                process.pidfd_send_signal(self._pidfd, KILL)
            except ProcessLookupError:
                pass

    def kill_all(self) -> None:
        """SIGKILL to whoever is left: a container without a pid namespace leaves its children."""
        if self._paths:
            self.group().kill_all()

    def abandon(self) -> None:
        """Undo a launch that failed half-way."""
        self.kill_init()
        try:
            self.remove_group()
        except OSError:
            pass  # told already that the launch failed: the sweep at the next start removes the rest

    def remove_group(self) -> tuple[bool, str]:
        """(whether the kernel killed for lack of memory, a problem in words or "")."""
        if not self._paths:
            return False, ""
        oom = False
        try:
            oom = self.group().oom_kills() > 0
            self.group().delete()
        except Exception as error:  # the exit must be told whatever the kernel refuses
            return oom, str(error)
        return oom, ""

    def watch_oom(self) -> tuple[int, int] | None:
        """(descriptor, epoll events) that tell of kills for lack of memory, when there is a limit."""
        return self._oom

    def oom_kills(self, fd: int) -> int:
        """After an event of `watch_oom`: how many kills there were; -1 when the group has gone."""
        try:
            cgroups.drain_oom(fd)
            return self.group().oom_kills()
        except OSError:
            return -1

    def group_paths(self) -> dict[str, str]:
        """For monitor.json."""
        return self._paths if self._group is None else self._group.paths()

    def freeze(self) -> None:
        """Pause."""
        self.group().freeze()

    def thaw(self) -> None:
        """Resume."""
        self.group().thaw()

    def update(self, resources: Message) -> None:
        """Change limits."""
        self.group().apply(resources)


def _wanted(options: Message) -> launch.Streams:
    return launch.Streams.wanted(
        terminal=bool(options.get("terminal")),
        stdin=bool(options.get("stdin")),
        rows=int(options.get("rows") or 0),
        cols=int(options.get("cols") or 0),
    )


def _discard(group: Cgroup) -> None:
    try:
        group.delete()
    except (CarboyError, OSError):
        return  # the launch's error is told; the sweep at the next start removes the rest


def _watch_oom(config: spec.Spec, group: Cgroup) -> tuple[int, int]:
    """See `Container.watch_oom`; (-1, 0) without a limit."""
    try:
        found = group.watch_oom() if config.linux.resources.get("memory") else None
    except OSError:
        found = None  # a kernel without the notification: the exit tells it
    return found or (-1, 0)


def _ends(made: launch.Created | execute.Executed) -> dict[str, int]:
    """The descriptors of a process and of our ends of its streams, by name."""
    streams = made.streams
    return {
        "pidfd": made.pidfd,
        "console": streams.console,
        "stdin": streams.stdin,
        "stdout": streams.stdout,
        "stderr": streams.stderr,
    }


def _program(launched: Launched) -> Program:
    """What was handed over: one terminal, or pipes."""
    given = launched.descriptors
    program = Program(int(launched.result["pid"]), given["pidfd"])
    program.launcher = launched.launcher
    if "console" in given:
        program.terminal = True
        program.console = given["console"]
        program.outputs = {os.dup(program.console): 1}
        program.stdin = os.dup(program.console)
        return program
    program.outputs = {
        given[name]: number for name, number in (("stdout", 1), ("stderr", 2)) if name in given
    }
    program.stdin = given.get("stdin")
    return program
