"""The spawner's process, as the daemon has it: started, asked, started again when it has died."""

from __future__ import annotations

import logging
import socket
import subprocess  # noqa: TID251 - this is the one start of the spawner
import sys
import threading
import time
from collections.abc import Sequence

from carboy.engine.monitors.channels import Channel, ChannelLoop, Message
from carboy.engine.monitors.records import read_record
from carboy.errors import Internal, Unavailable
from carboy.formats.spawner import encode, forwarder_request, monitor_request, sweep_request
from carboy.linux import process

_log = logging.getLogger(__name__)


SWEEP_TIMEOUT = 5.0
"""Seconds that a killed monitor's processes may take to end."""


_TITLE_PADDING = "-" * 64
"""Room in the spawner's argv for the titles that it and its monitors show in `ps`."""


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
        Raises Unavailable when something may be left: monitor.json should stay for the next attempt.
        """
        message = read_record(f"{run_directory}/monitor.json")
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
                done = ours.recv(1)
            except TimeoutError as error:
                raise Unavailable(
                    f"what a container left does not end within {SWEEP_TIMEOUT:g} s: see {run_directory}"
                ) from error
            except ConnectionError:
                done = b""
        if not done:
            raise Unavailable(
                f"what a container left cannot be removed: see the control group in {run_directory}"
            )

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
        self._loop.watch_end(ours.fileno(), self.ended)
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
