"""The conversation between a parent and its init, and nothing else.

One SOCK_SEQPACKET pair per process; one JSON object per packet; both ends CLOEXEC.

    parent (monitor or carboy-runtime)                init (the child)
      clone, see `clone.py` ────────────────────────▶ joins and unshares
      makes the cgroup
      ◀───────────────────────────────── namespaces   all are there; mounts up to what shows the cgroup
      (network) moves init, oom_score_adj, time
      offsets ──────── ready {pid, cgroup} ─────────▶ enters cgroup and time namespaces, mounts the rest
      ◀────────────────────────────────────── built
      prestart, createRuntime hooks
      ── proceed ───────────────────────────────────▶ pivots, masks, …
      ◀──────────────────────── created [+ console]   waits
      start() ── start ─────────────────────────────▶ user, capabilities, seccomp, startContainer hooks
      ◀───────────────────────── warning "…"          any number, before any packet
      ◀───────────────────────── end of file          the program was executed
      ◀───────────────────────── error {…}            instead of any of init's packets: it failed

With carboy-runtime `create` has ended when `start` comes: init then listens on a socket below
the container's state directory, and the last four lines go over the connection of `start`.

A failing step crosses as `StepError`: category, step, errno, text.
"""

from __future__ import annotations

import json
import os
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    SCM_RIGHTS,
    SO_RCVTIMEO,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from _socket import socket as Socket  # noqa: N812 - the C type
from errno import EAGAIN

from carboy.errors import CATEGORIES, CarboyError
from carboy.formats.spawner import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

MAX_PACKET = 64 * 1024


def pair() -> tuple[Socket, Socket]:
    """(parent's end, child's end)."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)


def send(socket: Socket, message: Message, descriptors: list[int] | None = None) -> None:
    """Send one packet; a peer that is gone is no error here: its end is told otherwise."""
    packet = json.dumps(message).encode()
    try:
        if descriptors:
            rights = b"".join(fd.to_bytes(4, "little") for fd in descriptors)
            socket.sendmsg([packet], [(SOL_SOCKET, SCM_RIGHTS, rights)])
        else:
            socket.send(packet)
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(socket: Socket) -> tuple[Message | None, list[int]]:
    """One packet and its descriptors; (None, []) at the end of file."""
    packet, ancillary, _, _ = socket.recvmsg(MAX_PACKET, CMSG_LEN(16))
    descriptors = []
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            descriptors += [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) - 3, 4)]
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return (json.loads(packet) if packet else None), descriptors


def expect(socket: Socket, word: str, warnings: list[str] | None = None) -> tuple[Message, list[int]]:
    """Wait for the packet `word`; raises the StepError that came instead."""
    try:
        message, descriptors = receive(socket)
        while message is not None and "warning" in message:
            if warnings is not None:
                warnings.append(str(message["warning"]))
            message, descriptors = receive(socket)
    except OSError as error:
        if error.errno == EAGAIN:
            raise StepError("Internal", word, f"init did not say {word!r} in time") from error
        message, descriptors = None, []
    if message is None:
        raise StepError("Internal", word, f"init ended before it said {word!r} (killed, or out of memory)")
    if "error" in message:
        raise StepError.from_message(message["error"])
    if message.get("op") != word:
        raise StepError("Internal", word, f"init said {message.get('op')!r} instead of {word!r}")
    return message, descriptors


def accept(listener: Socket) -> int:
    """The descriptor of the next connection (CLOEXEC)."""
    descriptor: int = listener._accept()[0]  # type: ignore[attr-defined]  # only the C type's, by this name
    os.set_inheritable(descriptor, False)
    return descriptor


def set_timeout(socket: Socket, seconds: int) -> None:
    """Let `receive` give up with EAGAIN after that time; 0 waits for ever."""
    socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, seconds.to_bytes(8, "little") + bytes(8))


class Failing:
    """A context that turns what is raised inside into a StepError of the step `name`."""

    __slots__ = ("step", "what")

    def __init__(self, step: str, what: str = "") -> None:
        self.step = step
        self.what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, StepError) or not isinstance(error, Exception):
            return
        raise step_error(error, self.step, self.what) from error


def step_error(error: Exception, step: str, what: str = "") -> StepError:
    """The form in which any exception crosses the fork."""
    if isinstance(error, StepError):
        return error
    prefix = f"{step}: {what}: " if what else f"{step}: "
    if isinstance(error, CarboyError):
        name = type(error).__name__
        return StepError(name if name in CATEGORIES else "Internal", step, f"{prefix}{error}")
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        if error.filename:
            text += f": {os.fsdecode(error.filename)}"
        return StepError("InvalidArgument", step, prefix + text, errno=error.errno or 0)
    return StepError("Internal", step, f"{prefix}{type(error).__name__}: {error}")
