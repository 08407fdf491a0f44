"""The monitor of one container: see the protocol in formats/spawner.py.

start-up:  launch ──namespaces──▶ created ──start──▶ running
the end:   init's pidfd ─▶ kill what is left ─▶ output drained (at most DRAIN seconds)
           ─▶ group removed ─▶ exit.json ─▶ `exited` ─▶ clients finish ─▶ process ends
"""

from __future__ import annotations

import json
import os
import signal
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from _socket import socket as Socket  # noqa: N812 - the C type
from binascii import a2b_base64

from carboy.errors import Conflict, InvalidArgument, NotFound
from carboy.formats import jsonlog
from carboy.formats.spawner import VERSION
from carboy.linux import process, terminal
from carboy.runtime.monitor import detach
from carboy.runtime.monitor.connection import Connection, error_message, integer, unknown
from carboy.runtime.monitor.health import Health
from carboy.runtime.monitor.log import open_log
from carboy.runtime.monitor.loop import READ, Loop
from carboy.runtime.monitor.session import STALL, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.runtime.monitor.container import Container
    from carboy.runtime.monitor.program import Program

    Message = dict[str, Any]

DRAIN = 2.0
"""Seconds that output may still come after the end, from processes outside of the container."""

CLIENTS_FINISH = 30.0

OOM_COUNTED = 0.01
"""Seconds until a kill for lack of memory should be counted; doubled a few times."""

MAX_ENDED_EXECS = 256
MAX_TOLD_EXECS = 64
"""Exit codes of execs that are remembered, and running execs that a state names: it must fit a packet."""


def now() -> str:
    """The time of events, RFC3339Nano."""
    return jsonlog.timestamp(time.time_ns()).decode()


class Running:
    """The container's program or an exec: its process, its streams, its end."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.session: Session | None = None
        self.exit_code: int | None = None
        self.drained = False


class Monitor:
    """Everything one monitor process does."""

    def __init__(self, request: Message, channel: Socket, container: Container) -> None:
        self.loop = Loop()
        self.container_id = str(request["id"])
        self.bundle = str(request["bundle"])
        self.run = os.open(str(request["run"]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.launch: Message = request.get("launch") or {}
        self.status = "creating"
        self.started_at = ""
        self.oom_kills = 0
        self.main: Running | None = None
        self.execs: dict[str, Running] = {}
        self.connections: list[Connection] = []
        self.listener: Socket | None = None
        self.container = container
        plan = self.launch.get("health")
        self.health = Health(self.loop, plan, container.execute, self.event) if plan else None
        self.channel = Connection(self.loop, channel, self.handle, self._hung_up)
        self.connections.append(self.channel)
        self._operations: dict[str, Callable[[Message, list[int]], Message]] = {
            "hello": self._hello,
            "start": self._start,
            "signal": self._signal,
            "attach": self._attach,
            "resize": self._resize,
            "exec": self._exec,
            "exec_state": self._exec_state,
            "pause": self._pause,
            "resume": self._resume,
            "update": self._update,
            "state": self._state_reply,
            "rotate": self._rotate,
        }

    # The life of the container

    def live(self) -> None:
        """From launch to the end."""
        try:
            program = self.container.create(lambda pid: self.event("namespaces", pid=pid))
            log = open_log(self.launch.get("log") or {}, self.loop)
            self.main = self._adopt(program, log=log, stdin_once=bool(self.launch.get("stdin_once")))
            self._listen()
            self.status = "created"
            self._write_monitor()
        except Exception as error:  # every reason not to run is told to the daemon, which cleans up
            self.container.abandon()
            self.event("failed", error=error_message(error))
            return
        self.event("created", pid=program.pid, warnings=program.warnings)
        self._watch_memory()
        if self.channel not in self.connections:
            self.container.kill_init()  # the daemon died while init was being made: see `_hung_up`
        self.loop.run()
        self._linger()

    def _linger(self) -> None:
        """Let attached clients have the rest; then everything ends with the process."""
        sessions = [one.session for one in (self.main, *self.execs.values()) if one and one.session]
        for session in sessions:
            session.finish_clients()
        end = time.monotonic() + CLIENTS_FINISH
        while any(session.clients for session in sessions) and time.monotonic() < end:
            self.loop.step(1.0)

    def event(self, name: str, **fields: Any) -> None:
        """Tell every connection."""
        for connection in list(self.connections):
            connection.send({"event": name, **fields})

    def _adopt(self, program: Program, *, log: Any, stdin_once: bool, exec_id: str | None = None) -> Running:
        running = Running(program)
        where: Message = {} if exec_id is None else {"exec_id": exec_id}
        running.session = Session(
            self.loop,
            terminal=program.terminal,
            outputs=program.outputs,
            stdin=program.stdin,
            log=log,
            stdin_once=stdin_once,
            drained=lambda: self._drained(running),
            detached=lambda: self.event("detached", **where),
            stall=float(self.launch.get("stall") or STALL),
        )
        self.loop.watch(program.pidfd, READ, lambda events: self._ended(running, events))
        return running

    def _watch_memory(self) -> None:
        """Tell at once when the kernel kills somebody for lack of memory."""
        found = self.container.watch_oom()
        if found is not None:
            fd, events = found
            # v1 tells before it kills, and counts afterwards: one look is not enough.  v2, which is
            # waited for otherwise, has counted; and it tells of much else, a hundred times a second.
            wait = OOM_COUNTED if events & READ else 1.0
            self.loop.watch(fd, events, lambda _: self._memory_event(fd, wait))

    def _memory_event(self, fd: int, wait: float) -> None:
        kills = self.container.oom_kills(fd)
        if kills < 0:  # the group goes
            self.loop.forget(fd)
        elif kills > self.oom_kills:
            self.oom_kills = kills
            self.event("oom")
        elif wait < 1:
            self.loop.later(wait, lambda: self._memory_event(fd, wait * 2))

    def _ended(self, running: Running, events: int) -> None:
        del events
        self.loop.forget(running.program.pidfd)
        running.exit_code = running.program.reap()
        if running is self.main:
            try:
                self.container.kill_all()
            except OSError:
                pass  # the group's removal tries again
        if running.drained:
            self._finished(running)
        elif running.session is not None:
            self.loop.later(DRAIN, running.session.stop_output)

    def _drained(self, running: Running) -> None:
        running.drained = True
        if running.exit_code is not None:
            self._finished(running)

    def _finished(self, running: Running) -> None:
        if running is self.main:
            self._container_finished(running)
            return
        for exec_id, one in self.execs.items():
            if one is running:
                self.event("exec_exited", exec_id=exec_id, exit_code=running.exit_code)
        if running.session is not None:
            running.session.end_of_program()
            running.session.finish_clients()
        running.program.close()
        ended = [exec_id for exec_id, one in self.execs.items() if one.exit_code is not None]
        for exec_id in ended[:-MAX_ENDED_EXECS]:
            del self.execs[exec_id]

    def _container_finished(self, running: Running) -> None:
        if self.status == "stopped":
            return
        was_started = self.started_at != ""
        self.status = "stopped"
        for one in list(self.execs.values()):
            if one.exit_code is None and one.session is not None:
                self._end_exec(one)
        if self.health is not None:
            self.health.end()
        oom, problem = self.container.remove_group()
        if running.session is not None and running.session.lost and not problem:
            problem = (
                f"{running.session.lost} bytes of the log are lost: its disk was full, slow or failed,"
                " or its server did not take them"
            )
        exited: Message = {
            "exit_code": running.exit_code,
            "oom": oom,
            "started_at": self.started_at,
            "finished_at": now(),
            "error": problem,
            "boot_id": process.boot_id(),
        }
        if self.health is not None:
            exited["health"] = self.health.document()
        if was_started:
            self._write(self.bundle, None, "exit.json", exited)
        for name in ("monitor.sock", "monitor.json"):
            try:
                os.unlink(name, dir_fd=self.run)
            except OSError:
                continue
        if self.listener is not None:
            self.loop.forget(self.listener.fileno())
            self.listener.close()
        self.event("exited", **exited)
        self.loop.running = False

    def _end_exec(self, running: Running) -> None:
        """An exec that outlives the container's program: killed with the rest, so its end is near."""
        self.loop.forget(running.program.pidfd)
        try:
            running.exit_code = running.program.reap()
        except ChildProcessError:
            running.exit_code = 137
        if running.drained:
            self._finished(running)
        elif running.session is not None:
            running.session.stop_output()  # calls `_drained`, and so `_finished`

    # Files and connections

    def _listen(self) -> None:
        name = f"/proc/self/fd/{self.run}/monitor.sock"  # socket addresses end at 108 bytes
        try:
            os.unlink("monitor.sock", dir_fd=self.run)
        except FileNotFoundError:
            pass
        self.listener = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self.listener.bind(name)
        finally:
            os.umask(before)
        self.listener.listen(16)
        self.listener.setblocking(False)
        self.loop.watch(self.listener.fileno(), READ, self._accept)

    def _accept(self, events: int) -> None:
        del events
        assert self.listener is not None
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]  # what socket.accept itself calls
        except OSError:
            return
        self.connections.append(Connection(self.loop, Socket(fileno=fd), self.handle, self._hung_up))

    def _hung_up(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        if connection is not self.channel:
            return
        if self.status in ("creating", "created") or (self.launch.get("tied") and self.status != "stopped"):
            # Nobody will ever start it, or have its result: the daemon that asked has died.
            self.container.kill_init()

    def _write_monitor(self) -> None:
        assert self.main is not None
        document = {
            "version": VERSION,
            "monitor_pid": os.getpid(),
            "monitor_start_time": process.start_time(os.getpid()),
            "init_pid": self.main.program.pid,
            "init_start_time": process.start_time(self.main.program.pid),
            "boot_id": process.boot_id(),
            "cgroup": self.container.group_paths(),
            "started_at": self.started_at,
        }
        self._write(None, self.run, "monitor.json", document)

    @staticmethod
    def _write(directory: str | None, directory_fd: int | None, name: str, document: Message) -> None:
        """A small file, whole or not at all."""
        path = name if directory is None else f"{directory}/{name}"
        temporary = f"{path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
            try:
                encoded = json.dumps(document).encode()
                if os.write(fd, encoded) < len(encoded):
                    return  # a full disk takes a part: what was there before is better than that
            finally:
                os.close(fd)
            os.rename(temporary, path, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except OSError:
            return  # a full disk: the event still tells everybody who listens

    # Requests

    def handle(self, message: Message, descriptors: list[int]) -> Message:
        """Answer one request."""
        operation = self._operations.get(str(message.get("op")))
        if operation is None:
            raise unknown(message.get("op"))
        return operation(message, descriptors)

    def _the_main(self) -> Running:
        if self.main is None or self.main.session is None:
            raise Conflict(f"container {self.container_id} is not created yet")
        return self.main

    def _the_exec(self, message: Message) -> Running:
        running = self.execs.get(str(message.get("exec_id")))
        if running is None:
            raise NotFound(f"no such exec in container {self.container_id}: {message.get('exec_id')!r}")
        return running

    def _hello(self, message: Message, descriptors: list[int]) -> Message:
        del descriptors
        return {"version": VERSION, **self._state_reply(message, [])}

    def _state_reply(self, message: Message, descriptors: list[int]) -> Message:
        del message, descriptors
        return {
            "state": {
                "id": self.container_id,
                "status": self.status,
                "pid": self.main.program.pid if self.main else 0,
                "started_at": self.started_at,
                "exit_code": self.main.exit_code if self.main else None,
                "execs": sorted(key for key, one in self.execs.items() if one.exit_code is None)[
                    :MAX_TOLD_EXECS
                ],
                "health": self.health.document() if self.health else None,
            }
        }

    def _start(self, message: Message, descriptors: list[int]) -> Message:
        del message, descriptors
        running = self._the_main()
        if self.status != "created":
            raise Conflict(f"container {self.container_id} cannot be started: it is {self.status}")
        self.container.start()
        self.started_at = now()
        self.status = "running"
        self._write_monitor()
        if self.health is not None:
            self.health.begin()
        return {"pid": running.program.pid, "started_at": self.started_at}

    def _signal(self, message: Message, descriptors: list[int]) -> Message:
        del descriptors
        number = integer(message, "signal")
        if not 0 <= number <= 64:
            raise InvalidArgument(f"there is no signal {number}")
        running = self._the_main()
        if running.exit_code is not None:
            raise Conflict(f"container {self.container_id} is not running")
        process.pidfd_send_signal(running.program.pidfd, number)
        if number == signal.SIGKILL and self.status == "paused":
            # A frozen process of v1 dies when it is thawed.
            self.container.thaw()
            self._thawed()
        return {}

    def _attach(self, message: Message, descriptors: list[int]) -> Message:
        session = self._the_main().session
        assert session is not None
        if not descriptors:
            raise InvalidArgument("attach: the client's descriptor is missing")
        held = len(descriptors) > 1
        self._attach_client(session, message, descriptors)
        return {"log": session.log_position()} if held else {}

    @staticmethod
    def _attach_client(session: Session, message: Message, descriptors: list[int]) -> None:
        keys = b""
        if session.terminal:
            keys = detach.parse(str(message.get("detach_keys") or detach.DEFAULT))
        try:
            initial = a2b_base64(str(message.get("initial") or ""))
        except ValueError as error:
            raise InvalidArgument(f"{message.get('op')}: initial is not base64: {error}") from error
        session.attach(
            descriptors.pop(0),
            stdin=bool(message.get("stdin")),
            stdout=bool(message.get("stdout")),
            stderr=bool(message.get("stderr")),
            detach_keys=keys,
            initial=initial,
            hold=descriptors.pop(0) if descriptors else -1,
        )

    def _resize(self, message: Message, descriptors: list[int]) -> Message:
        del descriptors
        running = self._the_exec(message) if message.get("exec_id") else self._the_main()
        rows, cols = integer(message, "rows"), integer(message, "cols")
        if not (0 <= rows <= 0xFFFF and 0 <= cols <= 0xFFFF):
            raise InvalidArgument(f"a terminal cannot have {rows} rows and {cols} columns")
        if not running.program.terminal or running.program.stdin is None:
            raise Conflict(f"container {self.container_id} has no terminal to resize")
        if running.exit_code is None:
            terminal.set_window_size(running.program.console, rows, cols)
        return {}

    def _exec(self, message: Message, descriptors: list[int]) -> Message:
        exec_id = str(message.get("exec_id") or "")
        if not exec_id or exec_id in self.execs:
            raise Conflict(f"exec: the id {exec_id!r} is empty or taken")
        if self.status != "running":
            raise Conflict(f"container {self.container_id} is not running: it is {self.status}")
        program = self.container.execute(message)
        running = self._adopt(program, log=None, stdin_once=True, exec_id=exec_id)
        self.execs[exec_id] = running
        if descriptors and running.session is not None:
            self._attach_client(running.session, message, descriptors)
        return {"pid": program.pid}

    def _exec_state(self, message: Message, descriptors: list[int]) -> Message:
        del descriptors
        running = self._the_exec(message)
        return {
            "running": running.exit_code is None,
            "pid": running.program.pid,
            "exit_code": running.exit_code,
        }

    def _pause(self, message: Message, descriptors: list[int]) -> Message:
        del message, descriptors
        if self.status != "running":
            raise Conflict(f"container {self.container_id} cannot be paused: it is {self.status}")
        self.container.freeze()
        self.status = "paused"
        if self.health is not None:
            self.health.pause()
        return {}

    def _resume(self, message: Message, descriptors: list[int]) -> Message:
        del message, descriptors
        if self.status != "paused":
            raise Conflict(f"container {self.container_id} is not paused")
        self.container.thaw()
        self._thawed()
        return {}

    def _thawed(self) -> None:
        self.status = "running"
        if self.health is not None:
            self.health.resume()

    def _update(self, message: Message, descriptors: list[int]) -> Message:
        del descriptors
        resources = message.get("resources")
        if not isinstance(resources, dict):
            raise InvalidArgument("update: resources are missing")
        self.container.update(resources)
        return {}

    def _rotate(self, message: Message, descriptors: list[int]) -> Message:
        del message, descriptors
        session = self._the_main().session
        assert session is not None
        session.reopen_log()
        return {}
