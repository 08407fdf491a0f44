"""The daemon's side of the conversation with the spawner and the monitors.

    Spawner      one child process of the daemon; takes MonitorRequests (formats/spawner.py)
    Channel      one container's monitor: requests out, replies and events in
    ChannelLoop  one thread that reads all channels

A channel starts *direct*: the thread that starts the container reads its packets itself,
so that a start needs no hand-over between threads.  `ChannelLoop.add` then makes it
*shared*: events that came meanwhile are delivered first, then the loop's thread reads, and
`Channel.request` waits for its reply.  End-of-file is delivered as the message None, once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import subprocess  # noqa: TID251 - this is the one start of the spawner
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from carboy.errors import Internal, Unavailable
from carboy.formats.spawner import (
    MAX_PACKET,
    VERSION,
    StepError,
    decode,
    encode,
    forwarder_request,
    monitor_request,
    sweep_request,
)
from carboy.linux import process

Message = dict[str, Any]
Handler = Callable[["Channel", "Message | None"], None]

REPLY_TIMEOUT = 30.0
"""Seconds that a monitor may take for a reply: it answers from a single-threaded loop."""

SWEEP_TIMEOUT = 5.0
"""Seconds that a killed monitor's processes may take to end."""

_TITLE_PADDING = "-" * 64
"""Room in the spawner's argv for the titles that it and its monitors show in `ps`."""

_log = logging.getLogger(__name__)


class _Slot:
    """The place where a waiting thread finds its reply."""

    __slots__ = ("ready", "reply")

    def __init__(self) -> None:
        self.ready = threading.Lock()
        self.ready.acquire()
        self.reply: Message | None = None


class Channel:
    """A connection to one container's monitor; thread-safe once a loop reads it."""

    def __init__(self, container_id: str, connection: socket.socket) -> None:
        self.container_id = container_id
        self._socket = connection
        self._socket.settimeout(REPLY_TIMEOUT)
        self._lock = threading.Lock()
        self._sequence = 0
        self._slots: dict[int, _Slot] = {}
        self._closed = False
        self._shared = False
        self._owner = threading.get_ident()
        self._settled = threading.Event()  # shared, or closed
        self._backlog: deque[Message] = deque()

    def fileno(self) -> int:
        """The socket, for epoll."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether the monitor has gone or `close` was called."""
        return self._closed

    def next_event(self, timeout: float) -> Message:
        """Direct mode: the next event; raises Unavailable on end-of-file or after `timeout`."""
        if self._backlog:
            return self._backlog.popleft()
        message = self._receive(timeout)
        if message is None:
            raise Unavailable(f"the monitor of container {self.container_id} ended unexpectedly")
        return message

    def request(self, operation: str, *, descriptors: list[int] | None = None, **fields: Any) -> Message:
        """Send one request and wait for its reply; raises StepError with the monitor's own error."""
        slot = _Slot()
        if threading.get_ident() != self._owner and not self._settled.wait(REPLY_TIMEOUT):
            # Two readers of a direct channel would take each other's packets.
            raise Unavailable(f"container {self.container_id} is still being started")
        with self._lock:
            if self._closed:
                raise Unavailable(f"the monitor of container {self.container_id} has gone")
            self._sequence += 1
            sequence = self._sequence
            shared = self._shared
            if shared:
                self._slots[sequence] = slot
        self._send({"op": operation, "seq": sequence, **fields}, descriptors or [])
        reply = self._wait(slot, sequence) if shared else self._read_reply(sequence)
        error = reply.get("error")
        if error:
            raise StepError.from_message(error)
        return reply

    def close(self) -> None:
        """Hang up; the container goes on.  Waiting requests fail."""
        with self._lock:
            self._closed = True
            slots, self._slots = self._slots, {}
        self._settled.set()
        for slot in slots.values():
            slot.ready.release()
        self._socket.close()

    # -- used by ChannelLoop

    def share(self) -> list[Message]:
        """Leave direct mode; gives the events that were read on the way."""
        self._socket.setblocking(False)
        with self._lock:
            self._shared = True
        self._settled.set()
        backlog, self._backlog = list(self._backlog), deque()
        return backlog

    def read_packet(self) -> Message | None:
        """One packet without waiting; None at the end; raises BlockingIOError when there is none."""
        try:
            packet = self._socket.recv(MAX_PACKET)
        except ConnectionError:
            return None
        return decode(packet) if packet else None

    def settle(self, reply: Message) -> None:
        """Give a reply to the thread that waits for it."""
        with self._lock:
            slot = self._slots.pop(int(reply["re"]), None)
        if slot is not None:
            slot.reply = reply
            slot.ready.release()

    # -- inside

    def _send(self, message: Message, descriptors: list[int]) -> None:
        packet = encode(message)
        try:
            self._send_packet(packet, descriptors)
        except BlockingIOError:
            # The monitor's queue is full: wait for it, as a blocking socket would.
            select.select([], [self._socket], [], REPLY_TIMEOUT)
            self._send_packet(packet, descriptors)
        except OSError as error:
            raise Unavailable(f"the monitor of container {self.container_id} has gone: {error}") from error

    def _send_packet(self, packet: bytes, descriptors: list[int]) -> None:
        if descriptors:
            socket.send_fds(self._socket, [packet], descriptors)
        else:
            self._socket.send(packet)

    def _receive(self, timeout: float) -> Message | None:
        self._socket.settimeout(timeout)
        try:
            packet = self._socket.recv(MAX_PACKET)
        except TimeoutError as error:
            raise Unavailable(
                f"the monitor of container {self.container_id} did not answer within {timeout:g} s"
            ) from error
        except ConnectionError:
            return None
        return decode(packet) if packet else None

    def _read_reply(self, sequence: int) -> Message:
        while True:
            message = self._receive(REPLY_TIMEOUT)
            if message is None:
                raise Unavailable(f"the monitor of container {self.container_id} ended unexpectedly")
            if message.get("re") == sequence:
                return message
            self._backlog.append(message)

    def _wait(self, slot: _Slot, sequence: int) -> Message:
        if not slot.ready.acquire(timeout=REPLY_TIMEOUT):
            with self._lock:
                self._slots.pop(sequence, None)
            raise Unavailable(
                f"the monitor of container {self.container_id} did not answer within {REPLY_TIMEOUT:g} s"
            )
        if slot.reply is None:
            raise Unavailable(f"the monitor of container {self.container_id} has gone")
        return slot.reply


class ChannelLoop:
    """One thread that reads every shared channel and calls their handlers.

    Handlers must be quick and must not wait for a reply of a channel.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._channels: dict[int, tuple[Channel | Spawner, Handler | None]] = {}
        self._thread = threading.Thread(target=self._run, name="channels", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; channels stay open until their owners close them."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)

    def add(self, channel: Channel, handler: Handler) -> None:
        """Read `channel` from now on; what came before is delivered now, in the caller's thread."""
        for message in channel.share():
            if "event" in message:
                handler(channel, message)
        self._channels[channel.fileno()] = (channel, handler)
        self._epoll.register(channel.fileno(), select.EPOLLIN)

    def watch_spawner(self, spawner: Spawner) -> None:
        """Have the loop tell `spawner` when its process ends."""
        self._channels[spawner.fileno()] = (spawner, None)
        self._epoll.register(spawner.fileno(), select.EPOLLIN)

    def _run(self) -> None:
        while not self._stopping:
            for number, _ in self._epoll.poll():
                if number == self._wake:
                    continue
                found = self._channels.get(number)
                if found is None:
                    continue
                owner, handler = found
                try:
                    if isinstance(owner, Spawner):
                        self._forget(number)
                        owner.ended()
                    elif handler is not None:
                        self._read(owner, handler, number)
                except Exception:  # one bad monitor must not stop the loop for all the others
                    _log.exception("event of %s", getattr(owner, "container_id", "the spawner"))

    def _read(self, channel: Channel, handler: Handler, number: int) -> None:
        for _ in range(64):
            try:
                message = channel.read_packet()
            except BlockingIOError:
                return
            except OSError:
                message = None
            if message is None:
                self._forget(number)
                channel.close()
                handler(channel, None)
                return
            if "re" in message:
                channel.settle(message)
            elif "event" in message:
                handler(channel, message)

    def _forget(self, number: int) -> None:
        self._channels.pop(number, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(number)


class Spawner:
    """The warm process that forks monitors; started again when it has died."""

    def __init__(self, loop: ChannelLoop, *, cgroup: str = "", python: str = sys.executable) -> None:
        """cgroup: where it and its monitors live; empty for the daemon's own."""
        self._loop = loop
        self._cgroup = cgroup
        self._python = python
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._started_at = 0.0
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The spawner's process id, None when none runs."""
        return self._process.pid if self._process else None

    def fileno(self) -> int:
        """The socket, for epoll."""
        return self._socket.fileno() if self._socket else -1

    def start(self) -> None:
        """Start the process unless it runs."""
        with self._lock:
            if not self._closing:
                self._ensure()

    def spawn(
        self,
        *,
        container_id: str,
        bundle: str,
        run_directory: str,
        launch: Message,
        rootfs: int | None,
        mounts: Sequence[int] = (),
    ) -> Channel:
        """Have a monitor forked; gives its channel, in direct mode."""
        message = encode(
            monitor_request(
                container_id=container_id,
                bundle=bundle,
                run_directory=run_directory,
                launch=launch,
                has_rootfs=rootfs is not None,
                mounts=len(mounts),
            )
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._send(message, [theirs.fileno(), *([] if rootfs is None else [rootfs]), *mounts])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Channel(container_id, ours)

    def sweep(self, run_directory: str) -> None:
        """Have what a killed monitor left of its container killed and removed; returns when it is done.

        monitor.json names the control group; without it (another boot) there is nothing to do.
        """
        message = _read_json(f"{run_directory}/monitor.json")
        if message is None or message.get("boot_id") != process.boot_id() or not message.get("cgroup"):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.settimeout(SWEEP_TIMEOUT)
            try:
                self._send(encode(sweep_request(message["cgroup"])), [theirs.fileno()])
            finally:
                theirs.close()
            try:
                ours.recv(1)
            except TimeoutError as error:
                raise Unavailable(
                    f"what a container left does not end within {SWEEP_TIMEOUT:g} s: see {run_directory}"
                ) from error
            except ConnectionError:
                return

    def start_forwarder(self, listener: int) -> None:
        """Have the process forked that holds published ports; it serves the given socket."""
        self._send(encode(forwarder_request()), [listener])

    def ended(self) -> None:
        """The process has gone: reap it, and have a new one ready for the next start."""
        with self._lock:
            self._discard()
            if self._closing or time.monotonic() - self._started_at < 1.0:
                return  # one that cannot live is started again by the next request only
            _log.warning("the spawner ended; starting it again")
            self._ensure()

    def close(self) -> None:
        """End the process: it ends when its socket does."""
        with self._lock:
            self._closing = True
            self._discard()

    def _send(self, packet: bytes, descriptors: list[int]) -> None:
        with self._lock:
            for attempt in (1, 2):
                connection = self._ensure()
                try:
                    socket.send_fds(connection, [packet], descriptors)
                except OSError as error:
                    self._discard()
                    if attempt == 2:
                        raise Unavailable(f"the spawner cannot be reached: {error}") from error
                else:
                    return

    def _ensure(self) -> socket.socket:
        if self._socket is not None and self._process is not None and self._process.poll() is None:
            return self._socket
        if self._closing:
            raise Unavailable("the daemon is ending")
        self._discard()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = ["--fd", str(theirs.fileno()), "--cgroup", self._cgroup]
        try:
            self._process = subprocess.Popen(
                [self._python, "-m", "carboy.runtime.spawner", *arguments, _TITLE_PADDING],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                close_fds=True,
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise Internal(f"cannot start the spawner: {error}") from error
        finally:
            theirs.close()
        self._socket = ours
        self._started_at = time.monotonic()
        self._loop.watch_spawner(self)
        return ours

    def _discard(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        child, self._process = self._process, None
        if child is not None:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def reconnect(container_id: str, run_directory: str) -> Channel:
    """Connect to the monitor of a container that runs since an earlier daemon; raises Unavailable."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        directory = os.open(run_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Through the descriptor: socket addresses end at 108 bytes, state directories do not.
            connection.connect(f"/proc/self/fd/{directory}/monitor.sock")
        finally:
            os.close(directory)
    except OSError as error:
        connection.close()
        raise Unavailable(f"no monitor answers for container {container_id}: {error}") from error
    channel = Channel(container_id, connection)
    try:
        channel.request("hello", version=VERSION)
    except BaseException:
        channel.close()
        raise
    return channel


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's program ended."""

    exit_code: int
    oom: bool
    finished_at: str
    error: str = ""
    health: Message | None = None


def read_exit(bundle: str) -> Exit | None:
    """What the monitor wrote to exit.json; None when it did not come to that."""
    message = _read_json(f"{bundle}/exit.json")
    if message is None or "exit_code" not in message:
        return None
    return exit_from_message(message)


def exit_from_message(message: Message) -> Exit:
    """The Exit in an `exited` event or in exit.json."""
    error = message.get("error") or ""
    text = str(error.get("text", "")) if isinstance(error, dict) else str(error)
    return Exit(
        exit_code=int(message["exit_code"]),
        oom=bool(message.get("oom")),
        finished_at=str(message.get("finished_at") or ""),
        error=text,
        health=message.get("health") or None,
    )


def monitor_lives(run_directory: str) -> bool:
    """Whether the monitor described by monitor.json is the very process that has its number now."""
    message = _read_json(f"{run_directory}/monitor.json")
    if message is None or message.get("boot_id") != process.boot_id():
        return False
    try:
        pid = int(message["monitor_pid"])
        return process.start_time(pid) == int(message["monitor_start_time"])
    except (KeyError, TypeError, ValueError, OSError):
        return False


def _read_json(path: str) -> Message | None:
    try:
        with open(path, "rb") as file:
            message = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None
