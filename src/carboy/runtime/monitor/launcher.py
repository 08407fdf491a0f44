"""A short-lived child of the monitor that launches init and hands it over.

    monitor ── fork ──▶ launcher              reads the specification, makes the group
                          └─ clone3(PARENT) ──▶ init, a child of the monitor
            ◀─ anything ── told early           e.g. that the namespaces are there
            ◀─ result [descriptors] ─────       then it ends; or
            ◀─ error, reap ──────────────       children of the monitor that are of no use

What a launch writes to memory, about 1 MiB with CPython's reference counts, goes with the
launcher: the monitor, which stays as long as the container, has no part in it.  Processes
that ask to die with their parent (PR_SET_PDEATHSIG) die with the monitor, not the launcher.
"""

from __future__ import annotations

import os

from carboy.errors import Internal
from carboy.formats import spawner as protocol
from carboy.linux import process
from carboy.runtime import sync
from carboy.runtime.monitor import connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - the C type
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

KILL = 9


class Teller:
    """The launcher's side: what was forked for the monitor, and what it is told."""

    __slots__ = ("_socket", "forked")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.forked: list[int] = []

    def tell(self, message: Message) -> None:
        """Before the result."""
        sync.send(self._socket, message)

    def finish(self, message: Message, descriptors: dict[str, int]) -> None:
        """The result; descriptors by name."""
        names = [name for name, fd in descriptors.items() if fd >= 0]
        result = {"result": message, "descriptors": names}
        sync.send(self._socket, result, [descriptors[name] for name in names])


class Launched:
    """What a launcher has handed over; the caller owns the descriptors and reaps `launcher`."""

    __slots__ = ("descriptors", "launcher", "result")

    def __init__(self, launcher: int, result: Message, descriptors: dict[str, int]) -> None:
        self.launcher = launcher
        self.result = result
        self.descriptors = descriptors


def start(work: Callable[[Teller], None]) -> tuple[int, Socket]:
    """Do `work`, which ends with `Teller.finish`, in a child: what `finish` waits for."""
    ours, theirs = sync.pair()
    monitor = os.getpid()
    launcher = os.fork()
    if launcher == 0:
        try:
            ours.close()
            _work(work, theirs, monitor)
        finally:
            os._exit(0)
    theirs.close()
    return launcher, ours


def finish(launcher: int, ours: Socket, hear: Callable[[Message], None]) -> Launched:
    """Hear what the launcher tells, until its result; raises the StepError that its work raised."""
    try:
        while True:
            packet, descriptors = connection.receive(ours)
            message: Message = protocol.decode(packet) if packet else {}
            if "result" in message:
                return Launched(
                    launcher,
                    message["result"],
                    dict(zip(message["descriptors"], descriptors, strict=True)),
                )
            if "error" in message or not message:
                break
            hear(message)
    except OSError as error:
        message = {"error": connection.error_message(error)}
    finally:
        ours.close()
    reap(launcher)
    for pid in message.get("reap", ()):
        reap(pid)
    if "error" not in message:
        raise Internal("the launcher ended before its work was done (killed, or out of memory)")
    raise protocol.StepError.from_message(message["error"])


def reap(pid: int) -> None:
    """Wait for a child that ends or has ended."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # reaped with the program that it was


def _work(work: Callable[[Teller], None], socket: Socket, monitor: int) -> None:
    process.set_pdeathsig(KILL)
    if os.getppid() != monitor:
        return
    teller = Teller(socket)
    try:
        work(teller)
    except Exception as error:  # all errors cross the fork as a message
        teller.tell({"error": connection.error_message(error), "reap": teller.forked})
