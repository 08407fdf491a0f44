"""Exec: further programs in running containers; fulfils `api.backend.Execs`."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import threading
from dataclasses import dataclass, field

from msgspec import UNSET

from carboy.engine.containers.document import Container
from carboy.engine.containers.requests import channel_of
from carboy.engine.containers.service import Containers
from carboy.engine.containers.states import State
from carboy.engine.monitors import Message
from carboy.engine.spec.document import capability_sets, user_of
from carboy.engine.spec.facts import HostFacts
from carboy.engine.spec.limits import rlimits
from carboy.engine.spec.process import environment, merge_env
from carboy.engine.spec.security import capability_set, check_labels, parse_security_options
from carboy.engine.users import read_account_files, resolve
from carboy.errors import CarboyError, Conflict, InvalidArgument, NotFound
from carboy.formats import detachkeys, stdcopy
from carboy.formats.dockerapi.execs import ExecConfig, ExecInspect, ExecProcess
from carboy.formats.spawner import StepError

MAX_ENDED = 1000
"""Execs that have ended, or will never start, and are remembered for `inspect`."""


@dataclass(slots=True)
class Exec:
    """One exec: made, then running, then ended."""

    id: str
    container: Container
    config: ExecConfig
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    pid: int = 0
    size: tuple[int, int] = field(default=(0, 0))


class Execs:
    """The execs of one daemon; they end with their container and are not stored."""

    def __init__(self, containers: Containers, facts: HostFacts) -> None:
        self._containers = containers
        self._facts = facts
        self._lock = threading.Lock()
        self._execs: dict[str, Exec] = {}
        containers.lifecycle.on_exec_exit = self._exited
        containers.lifecycle.on_container_exit = self._container_ended

    def create(self, unsafe_container: str, config: ExecConfig) -> str:
        """Prepare one; gives its id."""
        container = self._containers.find(unsafe_container)
        _require_running(container)
        if not config.cmd or not config.cmd[0]:
            raise InvalidArgument("No exec command specified")
        if any("\0" in word for word in [*config.cmd, *config.env, config.working_dir, config.user]):
            raise InvalidArgument("invalid exec: an argument holds a NUL byte")
        if config.detach_keys:
            try:
                detachkeys.parse(config.detach_keys)
            except ValueError as error:
                raise InvalidArgument(f"Invalid escape keys ({config.detach_keys[:80]}) provided") from error
        exec_id = secrets.token_hex(32)
        size = config.console_size
        one = Exec(exec_id, container, config)
        if size is not None and len(size) == 2:
            one.size = (size[0], size[1])
        with self._lock:
            self._forget_old()
            self._execs[exec_id] = one
            container.exec_ids.append(exec_id)
        self._emit(one, f"exec_create: {' '.join(config.cmd)}")
        return exec_id

    def start(
        self, exec_id: str, *, tty: bool, detach: bool, console_size: tuple[int, int] | None
    ) -> ExecHandover | None:
        """Start it: at once when detached, else when the connection is handed over."""
        del tty  # the one of `create` counts, as with Docker
        one = self._find(exec_id)
        _require_running(one.container)
        with self._lock:
            if one.exit_code is not None:
                raise Conflict(f"Error: Exec command {exec_id} has already run")
            if one.started:
                raise Conflict(f"Error: Exec command {exec_id} is already running")
            one.started = one.running = True  # from the answer on, whenever its stream arrives
        if console_size is not None:
            one.size = console_size
        if not detach:
            return ExecHandover(self, one)
        try:
            self.run(one, None, b"")
        except StepError as error:
            raise InvalidArgument(exec_error_text(error, one.config.working_dir)) from error
        return None

    def run(self, one: Exec, client: int | None, initial: bytes) -> None:
        """Have the monitor start the program; raises what it said."""
        config = one.config
        self._emit(one, f"exec_start: {' '.join(config.cmd)}")
        try:
            reply = channel_of(one.container).request(
                "exec",
                descriptors=[] if client is None else [client],
                exec_id=one.id,
                process=self._process(one),
                terminal=config.tty,
                stdin=config.attach_stdin,
                stdout=config.attach_stdout,
                stderr=config.attach_stderr,
                detach_keys=config.detach_keys,
                initial=base64.b64encode(initial).decode(),
                rows=one.size[0],
                cols=one.size[1],
            )
        except BaseException as error:
            self._finish(one, _exit_code_of(error))
            raise
        one.pid = int(reply["pid"])

    def inspect(self, exec_id: str) -> ExecInspect:
        """The state of one."""
        one = self._find(exec_id)
        config = one.config
        if one.running:
            self._catch_up(one)
        return ExecInspect(
            id=one.id,
            running=one.running,
            exit_code=one.exit_code,
            process_config=ExecProcess(
                entrypoint=config.cmd[0],
                arguments=config.cmd[1:],
                tty=config.tty,
                privileged=config.privileged,
                user=config.user or one.container.document.config.user or UNSET,
            ),
            open_stdin=config.attach_stdin,
            open_stdout=config.attach_stdout,
            open_stderr=config.attach_stderr,
            container_id=one.container.id,
            detach_keys=config.detach_keys,
            pid=one.pid,
        )

    def _catch_up(self, one: Exec) -> None:
        """Have the monitor's news: its answer comes after the event that the program has ended.

        A client asks for the exit code as soon as its stream has ended, which can be before the
        event was taken in here.
        """
        with contextlib.suppress(CarboyError):  # it starts just now, or the container has ended
            channel_of(one.container).request("exec_state", exec_id=one.id)

    def resize(self, exec_id: str, *, rows: int, cols: int) -> None:
        """Set the terminal's size."""
        one = self._find(exec_id)
        if not one.running:
            raise Conflict(f"cannot resize exec {exec_id}: it is not running")
        if not one.config.tty:
            return  # as Docker: there is nothing to do
        channel_of(one.container).request("resize", exec_id=exec_id, rows=rows, cols=cols)

    # -- inside

    def _process(self, one: Exec) -> Message:
        config, document = one.config, one.container.document
        host = document.host
        user = config.user or document.config.user
        try:
            root = os.open(f"/proc/{document.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # it has just ended
            raise Conflict(f"container {one.container.id} is not running") from None
        try:
            passwd, group = read_account_files(root)
        finally:
            os.close(root)
        identity = resolve(user, host.group_add, passwd=passwd, group=group)
        hostname = document.config.hostname or one.container.id[:12]
        env = environment(document.config, hostname=hostname, home=identity.home)
        if config.user and not any(item.startswith("HOME=") for item in document.config.env):
            env = merge_env(env, [f"HOME={identity.home}"])
        if config.tty and not any(item.startswith("TERM=") for item in env):
            env.append("TERM=xterm")
        capabilities = (
            sorted(self._facts.capabilities) if config.privileged else capability_set(host, self._facts)
        )
        cwd = config.working_dir or document.config.working_dir or "/"
        if not cwd.startswith("/"):
            raise InvalidArgument(
                f"the working directory {cwd[:200]!r} is invalid, it needs to be an absolute path"
            )
        options = check_labels(parse_security_options(host.security_opt), self._facts)[0]
        process: Message = {
            "terminal": config.tty,
            "user": user_of(identity),
            "args": config.cmd,
            "env": merge_env(env, config.env),
            "cwd": cwd,
            "capabilities": capability_sets(capabilities),
            "noNewPrivileges": options.no_new_privileges,
            "oomScoreAdj": host.oom_score_adj,
            "rlimits": rlimits(host),
        }
        if options.apparmor and not host.privileged:
            process["apparmorProfile"] = options.apparmor  # the container's, also for a privileged exec
        return process

    def _find(self, exec_id: str) -> Exec:
        with self._lock:
            one = self._execs.get(exec_id)
        if one is None:
            raise NotFound(f"No such exec instance: {exec_id[:80]}")
        return one

    def _exited(self, exec_id: str, exit_code: int) -> None:
        with self._lock:
            one = self._execs.get(exec_id)
        if one is None:
            return
        self._finish(one, exit_code)
        self._emit(one, "exec_die", {"exitCode": str(exit_code)})

    @staticmethod
    def _finish(one: Exec, exit_code: int) -> None:
        one.running, one.exit_code = False, exit_code
        with contextlib.suppress(ValueError):
            one.container.exec_ids.remove(one.id)

    def abandon(self, one: Exec) -> None:
        """Its client went away before it could be started: it never will be."""
        self._finish(one, 126)

    def _container_ended(self, container: Container) -> None:
        with self._lock:
            mine = [one for one in self._execs.values() if one.container is container]
        for one in mine:
            if one.running:
                one.running, one.exit_code = False, 137
        container.exec_ids.clear()

    def _forget_old(self) -> None:
        ended = [
            one.id
            for one in self._execs.values()
            if one.exit_code is not None or not (one.started or one.container.alive)
        ]
        for exec_id in ended[: max(0, len(ended) - MAX_ENDED)]:
            del self._execs[exec_id]

    def _emit(self, one: Exec, action: str, more: dict[str, str] | None = None) -> None:
        self._containers.lifecycle.emit(one.container, action, {"execID": one.id, **(more or {})})


class ExecHandover:
    """An exec that starts when its client's connection is there."""

    def __init__(self, execs: Execs, one: Exec) -> None:
        self._execs = execs
        self._one = one

    @property
    def tty(self) -> bool:
        """Whether the stream is raw."""
        return self._one.config.tty

    def hand_over(self, client: int, initial: bytes) -> None:
        """Start the program with the client; a failure is told on the stream, as Docker does."""
        try:
            self._execs.run(self._one, client, initial)
        except CarboyError as error:
            text = f"{exec_error_text(error, self._one.config.working_dir)}\r\n".encode()
            with contextlib.suppress(OSError):
                os.write(client, text if self.tty else stdcopy.frame(1, text))
        finally:
            os.close(client)

    def abandon(self) -> None:
        """The client went away first: the exec can be started no more."""
        self._execs.abandon(self._one)


def exec_error_text(error: CarboyError, cwd: str) -> str:
    """A failed exec in the words that clients match on."""
    if not isinstance(error, StepError):
        return str(error)
    text = error.text
    if error.step == "cwd":
        text = f'chdir to cwd ("{cwd}") set in config.json failed: {os.strerror(error.errno).lower()}'
    return f"OCI runtime exec failed: exec failed: unable to start container process: {text}: unknown"


def _exit_code_of(error: BaseException) -> int:
    text = str(error).lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return 127
    return 126


def _require_running(container: Container) -> None:
    match container.state:
        case State.PAUSED:
            raise Conflict(f"Container {container.id} is paused, unpause the container before exec")
        case State.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        case State.RUNNING:
            return
        case _:
            raise Conflict(f"container {container.id} is not running")
