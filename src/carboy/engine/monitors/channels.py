"""Conversations with monitors: requests out, replies and events in.

    Channel      one container's monitor
    ChannelLoop  one thread that reads all channels

A channel starts *direct*: the thread that starts the container reads its packets itself,
so that a start needs no hand-over between threads.  `ChannelLoop.add` then makes it
*shared*: events that came meanwhile are delivered first, then the loop's thread reads, and
`Channel.request` waits for its reply.  End-of-file is delivered as the message None, once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from carboy.errors import Unavailable
from carboy.formats.spawner import (
    MAX_LARGE,
    MAX_PACKET,
    VERSION,
    StepError,
    decode,
    encode,
)

Message = dict[str, Any]
Handler = Callable[["Channel", "Message | None"], None]

REPLY_TIMEOUT = 30.0
"""Seconds that a monitor may take for a reply: it answers from a single-threaded loop."""


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

    @property
    def has_backlog(self) -> bool:
        """Direct mode: whether events came while a reply was waited for; `next_event` gives them first."""
        return bool(self._backlog)

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
        try:
            self._send({"op": operation, "seq": sequence, **fields}, descriptors or [])
        except BaseException:
            with self._lock:
                self._slots.pop(sequence, None)
            raise
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
        packet = encode(message, limit=MAX_LARGE)
        if len(packet) > MAX_PACKET:
            with os.fdopen(os.memfd_create("request", os.MFD_CLOEXEC), "wb") as file:
                file.write(packet)
                file.flush()
                self._send({"op": "large", "seq": message["seq"]}, [*descriptors, file.fileno()])
            return
        try:
            try:
                self._send_packet(packet, descriptors)
            except BlockingIOError:
                # The monitor's queue is full: wait for it, as a blocking socket would.
                room = select.poll()
                room.register(self._socket, select.POLLOUT)
                room.poll(REPLY_TIMEOUT * 1000)
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
        self._readers: dict[int, tuple[str, Callable[[], None]]] = {}
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
        number = channel.fileno()
        self._watch(number, channel.container_id, partial(self._read, channel, handler, number))

    def watch_end(self, number: int, ended: Callable[[], None]) -> None:
        """Call `ended`, once, when the descriptor has something to say: a socket that only ever ends."""

        def read() -> None:
            self._forget(number)
            ended()

        self._watch(number, "the spawner", read)

    def _watch(self, number: int, who: str, read: Callable[[], None]) -> None:
        self._readers[number] = (who, read)
        self._epoll.register(number, select.EPOLLIN)

    def _run(self) -> None:
        while not self._stopping:
            for number, _ in self._epoll.poll():
                found = self._readers.get(number)
                if found is not None:
                    _guarded(*found)

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
        self._readers.pop(number, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(number)


def _guarded(who: str, read: Callable[[], None]) -> None:
    try:
        read()
    except Exception:  # one bad monitor must not stop the loop for all the others
        _log.exception("event of %s", who)


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
