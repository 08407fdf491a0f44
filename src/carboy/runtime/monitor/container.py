"""The container as the monitor sees it: made by `runtime.launch`, joined by `runtime.execute`."""

from __future__ import annotations

import os
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import CarboyError, Conflict, InvalidArgument
from carboy.linux import process
from carboy.linux.libc import read_file
from carboy.runtime import cgroups, execute, labels, launch, seccomp, spec, sync
from carboy.runtime.monitor.directories import Directories
from carboy.runtime.monitor.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.cgroups import Cgroup
    from carboy.runtime.seccomp import Filter

    Message = dict[str, Any]

KILL = 9


class Container:
    """Create, start, exec, pause, update and clean up one container."""

    def __init__(self, container_id: str, bundle: str, options: Message, rootfs: int | None) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self._options = options
        self._rootfs = rootfs
        self.mounts: list[int] = []
        self._pid = 0
        self._pidfd = -1
        self._waiting: Socket | None = None
        self._poststart: launch.Plan | None = None
        self._joins: Message = {}
        self._target: execute.Target | None = None
        self._oom: tuple[int, int] | None = None
        self._paths: dict[str, str] = {}
        self._group: Cgroup | None = None

    def create(self, on_namespaces: Callable[[int], None]) -> Program:
        """Launch init up to its waiting for `start`; `on_namespaces` is told its pid early."""
        light = self._options.get("light")
        created = self._create(on_namespaces) if light is None else self._create_lightly(light, on_namespaces)
        self._pid, self._pidfd = created.pid, created.pidfd
        self._waiting = created.socket
        program = _program(created.pid, _ends(created))
        program.warnings = created.warnings
        if self._rootfs is not None:
            os.close(self._rootfs)
            self._rootfs = None
        while self.mounts:
            os.close(self.mounts.pop())
        return program

    def _create_lightly(self, light: Message, on_namespaces: Callable[[int], None]) -> launch.Created:
        """Init does what needs the specification: see `launch.create_lightly`."""

        def prepared(message: Message, descriptors: list[int]) -> None:
            self._paths, self._joins = message["cgroup"], message["joins"]
            if descriptors:
                self._oom = (descriptors[0], int(message["oom_events"]))

        def there(pid: int) -> None:
            on_namespaces(pid)
            with sync.Failing("cgroup"):
                Directories(self._paths).add_entered(pid)

        return launch.create_lightly(
            container_id=self.container_id,
            bundle=self.bundle,
            streams=_wanted(self._options),
            pid_namespace=light.get("pid"),
            init=bool(self._options.get("init")),
            prepare=self._prepare_init,
            on_prepared=prepared,
            on_namespaces=there,
        )

    def _prepare_init(self, plan: launch.Plan, socket: Socket) -> None:
        """In init: what its parent does for other containers, and what the monitor must know of it."""
        config = self._load()
        plan.specify(
            config, rootfs_fd=self._rootfs, mount_fds=self.mounts, seccomp_cache=self._seccomp_cache()
        )
        group = self._new_group(config)
        plan.layout = group.layout
        try:
            with sync.Failing("cgroup"):
                group.create()
                group.apply(launch.with_default_devices(config.linux.resources))
            plan.cgroup_paths = group.paths()
            plan.enter_group = Directories(plan.cgroup_paths).enter
            for warning in launch.set_oom_score(config.process):
                sync.send(socket, {"warning": warning})
            oom, events = _watch_oom(config, group)
        except BaseException:
            _discard(group)
            raise
        found = {"cgroup": plan.cgroup_paths, "joins": _joins(config, plan.filter), "oom_events": events}
        sync.send(socket, {"op": "prepared", **found}, [oom] if oom >= 0 else None)
        if oom >= 0:
            os.close(oom)
        group.close()

    def _create(self, on_namespaces: Callable[[int], None]) -> launch.Created:
        config = self._load()
        group = self._new_group(config)

        def there(pid: int, _pidfd: int) -> None:
            self._paths = group.paths()
            on_namespaces(pid)

        try:
            created = launch.create(
                config,
                container_id=self.container_id,
                bundle=self.bundle,
                rootfs_fd=self._rootfs,
                mount_fds=self.mounts,
                streams=_wanted(self._options),
                cgroup=group,
                init=bool(self._options.get("init")),
                on_namespaces=there,
                seccomp_cache=self._seccomp_cache(),
            )
            oom = _watch_oom(config, group)
        except BaseException:
            _discard(group)
            raise
        self._oom = oom if oom[0] >= 0 else None
        self._joins = _joins(config, created.plan.filter)
        self._poststart = created.plan if "poststart" in config.hooks else None
        return created

    def _load(self) -> spec.Spec:
        return spec.load(f"{self.bundle}/config.json")

    def _new_group(self, config: spec.Spec) -> Cgroup:
        path = cgroups.resolve_path(
            config.linux.cgroups_path,
            container_id=self.container_id,
            parent=str(self._options.get("cgroup_parent") or "/carboy"),
        )
        return cgroups.open_cgroup(path)

    def _seccomp_cache(self) -> str | None:
        return str(self._options.get("seccomp_cache") or "") or None

    def start(self) -> None:
        """Let init execute the program."""
        assert self._waiting is not None
        launch.release(self._waiting)
        self._waiting = None
        if self._poststart is not None:
            launch.poststart(self._poststart, self._pidfd)
            self._poststart = None

    def execute(self, request: Message) -> Program:
        """Run one more process in the container."""
        if not isinstance(request.get("process"), dict):
            raise InvalidArgument("exec: process is missing")
        if _is_frozen(self._paths):
            raise Conflict(f"container {self.container_id} is frozen: nothing can be started in it")
        if self._target is None:
            config = spec.Spec(self._joins["config"])
            members = self._group or Directories(self._paths)
            self._target = execute.Target(config, self._pid, self._pidfd, members, self.container_id)
        if self._group is not None:
            self._target.cgroup = self._group  # an update may have it joined more hierarchies
        made = execute.execute_prepared(self._target, lambda: self._prepare(request), _wanted(request))
        return _program(made.pid, _ends(made))

    def _prepare(self, request: Message) -> tuple[spec.Process, Filter | None]:
        """In the child of an exec; `inherit`: as the container's own program, but with other arguments."""
        if request.get("inherit"):
            found = self._load().process
            if found is None:
                raise InvalidArgument("the configuration has no process")
            process_ = found
            process_.args, process_.terminal = list(request["process"]["args"]), False
        else:
            process_ = spec.parse_process(request["process"])
        with sync.Failing("label"):
            labels.require(process_)
        with sync.Failing("seccomp"):
            return process_, self._filter()

    def _filter(self) -> Filter | None:
        """As it was compiled for init; anew when it is not in the cache any more."""
        if self._joins["filter"] is None:
            return None
        name, flags = self._joins["filter"]
        cache = self._seccomp_cache()
        found = seccomp.cached(cache or "", name, flags)
        return found or seccomp.filter_for(self._load().linux.seccomp or {}, cache)

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
        if self._paths and not (self._group is None and Directories(self._paths).is_empty()):
            self.group().kill_all()

    def abandon(self) -> None:
        """Undo a launch that failed half-way."""
        self.kill_init()
        try:
            if not self._paths:  # init may have been killed before it told them
                _discard(self._new_group(self._load()))
            self.remove_group()
        except (CarboyError, OSError):
            pass  # told already that the launch failed: the sweep at the next start removes the rest

    def remove_group(self) -> tuple[bool, str]:
        """(whether the kernel killed for lack of memory, a problem in words or "")."""
        if not self._paths:
            return False, ""
        oom = False
        try:
            if self._group is None:
                directories = Directories(self._paths)
                oom = directories.oom_kills() > 0
                if directories.remove():
                    return oom, ""
            oom = oom or self.group().oom_kills() > 0
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


def _is_frozen(paths: dict[str, str]) -> bool:
    """Whether somebody has frozen the group, whoever it was: what enters it stands still."""
    try:
        if "freezer" in paths:
            return read_file(f"{paths['freezer']}/freezer.state").strip() != b"THAWED"
        return b"frozen 1" in read_file(f"{paths['unified']}/cgroup.events")
    except (KeyError, OSError):
        return False


def _wanted(options: Message) -> launch.Streams:
    return launch.Streams.wanted(
        terminal=bool(options.get("terminal")),
        stdin=bool(options.get("stdin")),
        rows=int(options.get("rows") or 0),
        cols=int(options.get("cols") or 0),
    )


def _joins(config: spec.Spec, compiled: Filter | None) -> Message:
    """The few facts of the specification that an exec needs: reading all of it costs 1 ms or more."""
    return {
        "config": {
            "ociVersion": config.version,
            "annotations": {
                name: text for name, text in config.annotations.items() if name == spec.EXPLICIT_LIMITS
            },
            "linux": {"namespaces": [{"type": kind} for kind in config.linux.namespaces]},
        },
        "filter": None if compiled is None else [compiled.name, compiled.flags],
    }


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
    found = {
        "pidfd": made.pidfd,
        "console": streams.console,
        "stdin": streams.stdin,
        "stdout": streams.stdout,
        "stderr": streams.stderr,
    }
    return {name: fd for name, fd in found.items() if fd >= 0}


def _program(pid: int, given: dict[str, int]) -> Program:
    """From its descriptors by name: one terminal, or pipes."""
    program = Program(pid, given["pidfd"])
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
