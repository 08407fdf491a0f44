"""A monitor in a child process whose container is a plain program, and a client that speaks to it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carboy.formats import spawner as protocol
from carboy.runtime.monitor.program import Program
from carboy.runtime.monitor.supervisor import Monitor

Message = dict[str, Any]

PATIENCE = 40.0
"""Seconds for what a loaded machine does late; nothing that passes waits for them."""


class PlainContainer:
    """Stands in for `monitor.program.Container`: a shell command, no namespaces, no control group."""

    def __init__(self, command: list[str], *, terminal: bool = False, stdin: bool = False) -> None:
        self.command = command
        self.terminal = terminal
        self.stdin = stdin
        self.program: Program | None = None
        self.gate = os.pipe()

    def create(self, on_namespaces: Callable[[int], None]) -> Program:
        self.program = self._fork(self.command, terminal=self.terminal, stdin=self.stdin, gate=True)
        on_namespaces(self.program.pid)
        return self.program

    def _fork(self, command: list[str], *, terminal: bool, stdin: bool, gate: bool) -> Program:
        master, slave = os.openpty() if terminal else (-1, -1)
        null = os.open("/dev/null", os.O_RDONLY)
        given = os.pipe() if stdin and not terminal else (null, -1)
        out, err = ((slave, slave), (slave, slave)) if terminal else (os.pipe(), os.pipe())
        ends = (slave, slave, slave) if terminal else (given[0], out[1], err[1])
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                for number, fd in enumerate(ends):
                    os.dup2(fd, number)
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                if gate:
                    os.close(self.gate[1])
                    os.read(self.gate[0], 1)
                os.execvp(command[0], command)
            finally:
                os._exit(127)
        for fd in {*ends, null}:
            os.close(fd)
        program = Program(pid, os.pidfd_open(pid))
        if terminal:
            program.terminal, program.console = True, master
            program.outputs, program.stdin = {os.dup(master): 1}, os.dup(master)
        else:
            program.outputs = {out[0]: 1, err[0]: 2}
            program.stdin = given[1] if stdin else None
        return program

    def start(self) -> None:
        os.write(self.gate[1], b"x")

    def execute(self, request: Message) -> Program:
        return self._fork(
            list(request["process"]["args"]),
            terminal=bool(request.get("terminal")),
            stdin=bool(request.get("stdin")),
            gate=False,
        )

    def kill_init(self) -> None:
        if self.program is not None:
            signal.pidfd_send_signal(self.program.pidfd, signal.SIGKILL)

    def kill_all(self) -> None: ...
    def abandon(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def update(self, resources: Message) -> None: ...

    def remove_group(self) -> tuple[bool, str]:
        return False, ""

    def watch_oom(self) -> None:
        return None

    def oom_kills(self, fd: int) -> int:
        return 0

    def group_paths(self) -> dict[str, str]:
        return {}


class MonitorClient:
    """What the daemon does, in blocking calls."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.events: list[Message] = []
        self.attached: list[socket.socket] = []
        self._sequence = 0

    def request(self, operation: str, *descriptors: int, **fields: Any) -> Message:
        self._sequence += 1
        packet = protocol.encode({"op": operation, "seq": self._sequence, **fields})
        if descriptors:
            socket.send_fds(self.socket, [packet], list(descriptors))
        else:
            self.socket.send(packet)
        while True:
            message = self.receive()
            if message.get("re") == self._sequence:
                if message.get("error"):
                    raise protocol.StepError.from_message(message["error"])
                return message
            self.events.append(message)

    def receive(self) -> Message:
        packet = self.socket.recv(protocol.MAX_PACKET)
        if not packet:
            raise EOFError("the monitor hung up")
        return protocol.decode(packet)

    def event(self, name: str) -> Message:
        for index, message in enumerate(self.events):
            if message.get("event") == name:
                return self.events.pop(index)
        while True:
            message = self.receive()
            if message.get("event") == name:
                return message
            self.events.append(message)

    def end(self, pid: int) -> None:
        """The monitor ends by itself; then our ends are closed."""
        wait_gone(pid)
        for one in (self.socket, *self.attached):
            one.close()

    def attach(self, **fields: Any) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        with theirs:
            options = {"stdin": True, "stdout": True, "stderr": True, **fields}
            self.request("attach", theirs.fileno(), **options)
        self.attached.append(ours)
        return ours


class Monitors:
    """The monitors of one test: see the fixture `monitors`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clients: list[MonitorClient] = []
        self._pids: list[int] = []

    def fork(self, container: PlainContainer, launch: Message | None = None) -> tuple[MonitorClient, int]:
        """(client, pid of the monitor); the caller ends and reaps it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bundle, run = self.path / "bundle", self.path / "run"
        bundle.mkdir(exist_ok=True)
        run.mkdir(exist_ok=True, mode=0o700)
        options = {"log": {"driver": "json-file", "path": str(bundle / "log")}, **(launch or {})}
        request = protocol.monitor_request(
            container_id="c" * 64,
            bundle=str(bundle),
            run_directory=str(run),
            launch=options,
            has_rootfs=False,
        )
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                channel = theirs.detach()
                import _socket

                Monitor(request, _socket.socket(fileno=channel), container).live()  # type: ignore[arg-type]  # same face
            finally:
                os._exit(0)
        theirs.close()
        for fd in container.gate:
            os.close(fd)
        self._pids.append(pid)
        return self.client(ours), pid

    def client(self, connection: socket.socket) -> MonitorClient:
        """A client of a connection, which is closed with the test."""
        connection.settimeout(PATIENCE)
        self._clients.append(MonitorClient(connection))
        return self._clients[-1]

    def close(self) -> None:
        """After the test, however it went: nothing of it is left in this process or on the machine."""
        for client in self._clients:
            for one in (client.socket, *client.attached):
                one.close()
        for pid in self._pids:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:  # a test that failed
                    programs = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                    for victim in (*map(int, programs), pid):
                        os.kill(victim, signal.SIGKILL)
                    os.waitpid(pid, 0)


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[Monitors]:
    """Makes monitors in the test's directory; whatever the test leaves of them is ended and closed."""
    made = Monitors(tmp_path)
    yield made
    made.close()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the monitor closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def wait_gone(pid: int, seconds: float = PATIENCE) -> int:
    """Reap a child within a time."""
    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([pidfd], [], [], seconds)
        assert ready, f"process {pid} did not end"
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]
