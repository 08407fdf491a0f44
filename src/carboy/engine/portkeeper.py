"""The daemon's side of the forwarder (runtime/forwarder): started when first needed, found again later.

The forwarder serves `<run>/ports.sock`, which the daemon binds for it, and outlives the daemon.
When it is killed, `on_lost` is called: whoever has ports held has them held again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from carboy.engine.monitors import Channel, ChannelLoop, Message, Spawner
from carboy.errors import CarboyError, Internal, Unavailable
from carboy.formats.spawner import MAX_DESCRIPTORS
from carboy.linux import process

_log = logging.getLogger(__name__)


_LONGEST_FAREWELL = 48 * 1024
"""It travels as text in one packet; of more ports the next daemon clears the maps."""


class PortKeeper:
    """Holds sockets for containers in another process. Thread-safe."""

    def __init__(self, path: str, spawner: Spawner, loop: ChannelLoop) -> None:
        self._path = path
        self._spawner = spawner
        self._loop = loop
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._guarded: Channel | None = None
        self._closing = False
        self.on_lost: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Hang up; what is held stays held."""
        self._closing = True
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def find(self) -> bool:
        """Connect to the forwarder of an earlier daemon; whether there is one."""
        with self._lock:
            if self._channel is None:
                self._channel = self._connect()
            return self._channel is not None

    def hold(
        self,
        container_id: str,
        *,
        target: str,
        pid: int,
        sockets: Sequence[socket.socket],
        inside_ports: Sequence[int],
        farewell: bytes,
    ) -> None:
        """Hold the sockets until the process ends, and forward what comes to them to `target`."""
        try:
            pidfd = process.pidfd_open(pid)
        except ProcessLookupError as error:
            raise Internal(f"container {container_id[:12]} ended while being published") from error
        try:
            descriptors = [pidfd, *(one.fileno() for one in sockets)]
            channel = self._ensure()
            operation, ports = "open", list(inside_ports)
            fields = {"id": container_id, "target": target}
            if len(farewell) <= _LONGEST_FAREWELL:
                fields["farewell"] = farewell.hex()
            while descriptors:
                part, descriptors = descriptors[:MAX_DESCRIPTORS], descriptors[MAX_DESCRIPTORS:]
                count = len(part) - (operation == "open")
                channel.request(operation, descriptors=part, **fields, ports=ports[:count])
                operation, ports, fields = "hold", ports[count:], {"id": container_id}
        finally:
            os.close(pidfd)

    def guard(self, name: str, make: Callable[[], int | None]) -> None:
        """Have a descriptor kept open under a name, unless one is; `make` gives it."""
        channel = self._ensure()
        if self._guarded is channel:
            return
        if name not in channel.request("list").get("guards", ()):
            descriptor = make()
            if descriptor is not None:
                channel.request("guard", descriptors=[descriptor], name=name)
        self._guarded = channel

    def release(self, container_id: str) -> None:
        """Free what is held for a container; nothing held is no error."""
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(Unavailable):
                channel.request("release", id=container_id)

    def held(self) -> dict[str, int]:
        """How many sockets are held, by container."""
        channel = self._channel
        if channel is None:
            return {}
        return {str(key): int(count) for key, count in channel.request("list")["held"].items()}

    # -- inside

    def _ensure(self) -> Channel:
        with self._lock:
            if self._channel is None:
                self._channel = self._connect() or self._start()
            return self._channel

    def _connect(self) -> Channel | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with _Directory(self._path) as directory:
                connection.connect(f"{directory}/{os.path.basename(self._path)}")
            channel = Channel("(published ports)", connection)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise Unavailable(f"cannot connect to {self._path}: {error.strerror}") from error
        try:
            # One that is about to end accepts in the kernel only: it answers nothing.
            channel.request("hello")
        except CarboyError:
            channel.close()
            return None
        self._loop.add(channel, self._on_message)
        return channel

    def _start(self) -> Channel:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with _Directory(self._path) as directory:
                name = f"{directory}/{os.path.basename(self._path)}"
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
                listener.bind(name)
                os.chmod(name, 0o600)
            listener.listen(4)
            self._spawner.start_forwarder(listener.fileno())
        except OSError as error:
            raise Unavailable(f"cannot serve {self._path}: {error.strerror}") from error
        finally:
            listener.close()
        channel = self._connect()
        if channel is None:
            raise Unavailable("the process that holds published ports did not start")
        return channel

    def _on_message(self, channel: Channel, message: Message | None) -> None:
        if message is not None or self._closing:
            return
        with self._lock:
            if self._channel is not channel:
                return
            self._channel = None
        _log.warning("the process that holds published ports has ended; starting it again")
        threading.Thread(target=self._tell_lost, name="ports-lost", daemon=True).start()

    def _tell_lost(self) -> None:
        try:
            self.on_lost()
        except Exception:  # a thread of its own: nobody else would tell
            _log.exception("published ports could not be held again")


class _Directory:
    """A short name for a path's directory: socket addresses end at 108 bytes."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)
