"""A container's output for clients: its log, and its streams as they come.

attach with logs=1, while the container runs:

    replay all there is ─▶ monitor: attach, held ─▶ replay up to the place it names ─▶ close the hold

The monitor names where its log ends at the moment at which it takes the client: what comes before
is in the replay, what comes after it keeps for the client.  Nothing is lost, nothing comes twice,
and the program waits for the last, short part of the replay only.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from carboy.engine.containers.document import Container, PendingAttach
from carboy.engine.containers.launching import hand_over
from carboy.engine.containers.states import State
from carboy.engine.logfiles import Position
from carboy.engine.logs import LogFile, Replay
from carboy.engine.monitors import Channel
from carboy.errors import CarboyError, Conflict, InvalidArgument, Unsupported
from carboy.formats import detachkeys
from carboy.formats.dockerapi.containers import WaitResponse
from carboy.formats.dockerapi.streams import AttachOptions, LogOptions


class Owner(Protocol):
    """What is needed of the containers."""

    def wait(
        self, unsafe_ref: str, condition: str, done: Callable[[WaitResponse], None]
    ) -> Callable[[], None]: ...


def read_log(owner: Owner, container: Container, path: str, options: LogOptions) -> LogFile:
    """The log, from `path` on; a follower's ends with the run that it began in."""
    if not path:
        raise Unsupported("configured logging driver does not support reading")
    if not options.stdout and not options.stderr:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    tty = container.document.config.tty
    if not options.follow:
        return LogFile(path, options, tty=tty, alive=lambda: False)
    ended: list[bool] = []
    log = LogFile(path, options, tty=tty, alive=lambda: not ended)

    def tell(_response: WaitResponse) -> None:
        ended.append(True)
        log.wake()

    try:
        log.on_close(owner.wait(container.id, "next-exit", tell))
        if not container.alive:
            ended.append(True)
    except BaseException:
        log.close()
        raise
    return log


def check_attach(container: Container, unsafe_ref: str, options: AttachOptions) -> None:
    """What Docker refuses before it switches protocols."""
    if options.detach_keys:
        try:
            detachkeys.parse(options.detach_keys)
        except ValueError as error:
            raise InvalidArgument(f"Invalid detach keys ({options.detach_keys[:80]}) provided") from error
    if container.state is State.PAUSED:
        raise Conflict(f"container {unsafe_ref} is paused, unpause the container before attach")
    if container.state is State.RESTARTING:
        raise Conflict(f"container {unsafe_ref} is restarting, wait until the container is running")


class Attachment:
    """A client about to join a container's streams; fulfils `api.backend.Handover`."""

    def __init__(
        self, container: Container, options: AttachOptions, *, log_path: str, attached: Callable[[], None]
    ) -> None:
        """attached: called when the client has got its place."""
        self._container = container
        self._options = options
        self._log_path = log_path
        self._attached = attached
        self._ran = container.alive

    @property
    def tty(self) -> bool:
        """Whether the stream is raw."""
        return self._container.document.config.tty

    def hand_over(self, client: int, initial: bytes) -> None:
        """Replay the log, then give the client to the monitor, now or at the start."""
        replay = self._replay()
        try:
            if replay is not None:
                replay.write(client)
            if self._options.stream:
                client = self._join(client, initial, replay)
                self._attached()
        except OSError:
            return  # the client has gone, or takes nothing
        finally:
            if client >= 0:
                os.close(client)
            if replay is not None:
                replay.close()

    def abandon(self) -> None:
        """Nothing was prepared."""

    def _replay(self) -> Replay | None:
        options = self._options
        if not options.logs or not self._log_path or not (options.stdout or options.stderr):
            return None
        return Replay(self._log_path, stdout=options.stdout, stderr=options.stderr, tty=self.tty)

    def _join(self, client: int, initial: bytes, replay: Replay | None) -> int:
        """Give the client away; -1, or the descriptor when nobody took it."""
        options, container = self._options, self._container
        pending = PendingAttach(
            client=client,
            fields={
                "stdin": options.stdin and container.document.config.open_stdin,
                "stdout": options.stdout,
                "stderr": options.stderr,
                "detach_keys": options.detach_keys or "",
                "initial": base64.b64encode(initial).decode(),
            },
        )
        with container.mutex:
            channel = container.channel
            ended = channel is None and (self._ran or container.state in (State.REMOVING, State.DEAD))
            if channel is None and not ended:
                container.pending.append(pending)
                return -1
        if channel is None:
            if replay is not None:
                replay.write(client)  # what came while the rest was written
            return client
        if replay is None:
            with contextlib.suppress(CarboyError, OSError):  # it has just ended: so does the stream
                hand_over(channel, pending)
            return -1
        self._hand_over_held(channel, pending, replay)
        return client

    @staticmethod
    def _hand_over_held(channel: Channel, pending: PendingAttach, replay: Replay) -> None:
        """The last part of the replay, up to where the monitor goes on when `ours` is closed."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                reply = channel.request("attach", descriptors=[pending.client, theirs], **pending.fields)
            except CarboyError:
                replay.write(pending.client)  # it has just ended: the rest of the log is all there will be
                return
            finally:
                os.close(theirs)
            place = reply.get("log") or {}
            if place:
                changed = int(place.get("changed", 0))  # monitors of older versions do not tell
                position = Position(int(place["inode"]), int(place["offset"]), changed)
                replay.write_up_to(pending.client, position)
        finally:
            os.close(ours)
