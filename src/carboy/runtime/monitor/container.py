"""The container as the monitor sees it: made by `runtime.launch`, joined by `runtime.execute`."""

from __future__ import annotations

import os

from carboy.errors import InvalidArgument
from carboy.linux import process
from carboy.runtime import cgroups, execute, launch, spec
from carboy.runtime.monitor.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups import Cgroup

    Message = dict[str, Any]

KILL = 9


class Container:
    """Create, start, exec, pause, update and clean up one container."""

    def __init__(self, container_id: str, bundle: str, options: Message, rootfs: int | None) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self._options = options
        self._rootfs = rootfs
        self._created: launch.Created | None = None
        self._group: Cgroup | None = None
        self._spec: spec.Spec | None = None

    def create(self, on_namespaces: Callable[[int], None]) -> Program:
        """Launch init up to its waiting for `start`; `on_namespaces` is told its pid early."""
        self._spec = spec.load(f"{self.bundle}/config.json")
        path = cgroups.resolve_path(
            self._spec.linux.cgroups_path,
            container_id=self.container_id,
            parent=str(self._options.get("cgroup_parent") or "/carboy"),
        )
        self._group = cgroups.open_cgroup(path)
        self._created = launch.create(
            self._spec,
            container_id=self.container_id,
            bundle=self.bundle,
            rootfs_fd=self._rootfs,
            streams=launch.Streams.wanted(
                terminal=bool(self._options.get("terminal")),
                stdin=bool(self._options.get("stdin")),
                rows=int(self._options.get("rows") or 0),
                cols=int(self._options.get("cols") or 0),
            ),
            cgroup=self._group,
            init=bool(self._options.get("init")),
            on_namespaces=lambda pid, _pidfd: on_namespaces(pid),
            seccomp_cache=str(self._options.get("seccomp_cache") or "") or None,
        )
        program = Program(self._created.pid, self._created.pidfd)
        program.warnings = list(self._created.warnings)
        if self._rootfs is not None:
            os.close(self._rootfs)
            self._rootfs = None
        return _with_streams(program, self._created.streams)

    def start(self) -> None:
        """Let init execute the program."""
        assert self._created is not None
        self._created.start()

    def execute(self, request: Message) -> Program:
        """Run one more process in the container."""
        assert self._created is not None
        if not isinstance(request.get("process"), dict):
            raise InvalidArgument("exec: process is missing")
        executed = execute.execute(
            self._created,
            spec.parse_process(request["process"]),
            launch.Streams.wanted(
                terminal=bool(request.get("terminal")),
                stdin=bool(request.get("stdin")),
                rows=int(request.get("rows") or 0),
                cols=int(request.get("cols") or 0),
            ),
            seccomp_cache=str(self._options.get("seccomp_cache") or "") or None,
        )
        return _with_streams(Program(executed.pid, executed.pidfd), executed.streams)

    def kill_init(self) -> None:
        """SIGKILL to init; the rest follows when its pid namespace ends."""
        if self._created is not None:
            try:
                process.pidfd_send_signal(self._created.pidfd, KILL)
            except ProcessLookupError:
                pass

    def kill_all(self) -> None:
        """SIGKILL to whoever is left: a container without a pid namespace leaves its children."""
        if self._group is not None:
            self._group.kill_all()

    def abandon(self) -> None:
        """Undo a launch that failed half-way."""
        self.kill_init()
        try:
            self.remove_group()
        except OSError:
            pass  # told already that the launch failed: the sweep at the next start removes the rest

    def remove_group(self) -> tuple[bool, str]:
        """(whether the kernel killed for lack of memory, a problem in words or "")."""
        if self._group is None:
            return False, ""
        oom = False
        try:
            oom = self._group.oom_kills() > 0
            self._group.delete()
        except Exception as error:  # the exit must be told whatever the kernel refuses
            return oom, str(error)
        return oom, ""

    def watch_oom(self) -> tuple[int, int] | None:
        """(descriptor, epoll events) that tell of kills for lack of memory, when there is a limit."""
        if self._group is None or self._spec is None or not self._spec.linux.resources.get("memory"):
            return None
        try:
            return self._group.watch_oom()
        except OSError:
            return None  # a kernel without the notification: the exit tells it

    def oom_kills(self, fd: int) -> int:
        """After an event of `watch_oom`: how many kills there were; -1 when the group has gone."""
        assert self._group is not None
        try:
            cgroups.drain_oom(fd)
            return self._group.oom_kills()
        except OSError:
            return -1

    def group_paths(self) -> dict[str, str]:
        """For monitor.json."""
        return {} if self._group is None else self._group.paths()

    def freeze(self) -> None:
        """Pause."""
        assert self._group is not None
        self._group.freeze()

    def thaw(self) -> None:
        """Resume."""
        assert self._group is not None
        self._group.thaw()

    def update(self, resources: Message) -> None:
        """Change limits."""
        assert self._group is not None
        self._group.apply(resources)


def _with_streams(program: Program, streams: launch.Streams) -> Program:
    """Our ends: one terminal, or pipes."""
    if streams.console >= 0:
        program.terminal = True
        program.console = streams.console
        program.outputs = {os.dup(streams.console): 1}
        program.stdin = os.dup(streams.console)
        return program
    program.outputs = {fd: number for fd, number in ((streams.stdout, 1), (streams.stderr, 2)) if fd >= 0}
    program.stdin = streams.stdin if streams.stdin >= 0 else None
    return program
