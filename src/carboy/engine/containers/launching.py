"""From a container's record to its program: the conversation of one start.

mount overlay ─▶ resolve user ─▶ write files, config.json ─▶ spawn
    ◀─ namespaces: connect the network (init mounts meanwhile)
    ◀─ created: hand attached clients over ─▶ start
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from ipaddress import IPv4Address

from carboy.engine.containers.bundle import Bundles, write_file
from carboy.engine.containers.document import Container, EndpointDocument, PendingAttach
from carboy.engine.containers.parts import Parts
from carboy.engine.monitors import Channel, Message
from carboy.engine.spec.mode import network_mode
from carboy.errors import CarboyError, Internal, Unavailable
from carboy.formats.dockerapi.times import parse_rfc3339
from carboy.formats.spawner import StepError

CREATE_TIMEOUT = 60.0
CALL_OFF_TIMEOUT = 10.0

_log = logging.getLogger(__name__)


class Launcher:
    """Has containers' programs started; what is begun here is given back by the lifecycle."""

    def __init__(
        self,
        parts: Parts,
        bundles: Bundles,
        *,
        connected: Callable[[Container], None],
        disconnect: Callable[[Container], None],
    ) -> None:
        """connected: write down that it has an address and ports, before its program runs.

        disconnect: take a container from its network again, for a second attempt.
        """
        self._parts = parts
        self._bundles = bundles
        self._connected = connected
        self._disconnect = disconnect

    def launch(self, container: Container) -> tuple[Channel, int, int]:
        """Start it; gives the channel of its monitor, its process id and when it started."""
        for attempt in (1, 2):
            try:
                return self._launch_once(container)
            except Unavailable:
                # The spawner died with our request in its hands: a new one is a request away.
                if attempt == 2:
                    raise
                self._disconnect(container)
        raise AssertionError

    def _launch_once(self, container: Container) -> tuple[Channel, int, int]:
        parts, bundle = self._parts, self._parts.paths.container(container.id)
        run_directory = self._make_run_directory(container)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{bundle}/exit.json")
        rootfs, images = parts.snapshots.mount(container.id, container.diff_ids), []
        try:
            more = self._bundles.write(container, bundle, rootfs)
            images = self._bundles.open_images(container)
            channel = parts.spawner.spawn(
                container_id=container.id,
                bundle=bundle,
                run_directory=run_directory,
                launch=self._bundles.launch_fields(container) | more,
                rootfs=rootfs,
                mounts=images,
            )
        finally:
            for descriptor in (rootfs, *images):
                os.close(descriptor)
        try:
            self._follow(container, channel, bundle)
            for pending in take_pending(container):
                # A client that has gone or asks for nonsense must not keep the container from starting.
                with contextlib.suppress(CarboyError, OSError):
                    hand_over(channel, pending)
            reply = channel.request("start")
        except BaseException:
            _call_off(channel)
            raise
        return channel, int(reply["pid"]), parse_rfc3339(str(reply["started_at"]))

    def _follow(self, container: Container, channel: Channel, bundle: str) -> None:
        """From the request to `created`: the network is set up as soon as there are namespaces."""
        while True:
            message = channel.next_event(CREATE_TIMEOUT)
            match message.get("event"):
                case "namespaces":
                    try:
                        self._connect(container, int(message["pid"]), bundle)
                    except (CarboyError, OSError):
                        _raise_failure(channel)
                        raise
                case "created":
                    for warning in message.get("warnings") or ():
                        _log.warning("container %s: %s", container.id[:12], warning)
                    return
                case "failed":
                    raise _failure(channel, message)
                case "exited":
                    channel.close()
                    raise Internal(f"the init process of container {container.name} ended before its start")
                case _:
                    continue  # events of a newer monitor

    def _connect(self, container: Container, pid: int, bundle: str) -> None:
        host = container.document.host
        mode = network_mode(host)
        if mode not in ("bridge", "none"):
            return
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if mode == "none":
                self._parts.network.loopback(namespace)
                return
            wanted = container.document.requested_address
            endpoint = self._parts.network.connect(
                namespace,
                container_id=container.id,
                address=IPv4Address(wanted) if wanted else None,
                mac=container.document.config.mac_address or None,
            )
        finally:
            os.close(namespace)
        container.document.endpoint = EndpointDocument.of(endpoint)
        # The same inode that init binds to /etc/hosts: written in place.
        write_file(f"{bundle}/hosts", self._bundles.hosts(container, endpoint.address))
        self._parts.ports.publish(container, endpoint, pid)
        self._connected(container)

    def _make_run_directory(self, container: Container) -> str:
        path = self._parts.paths.container_run(container.id)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        return path


def _failure(channel: Channel, message: Message) -> StepError:
    """What the monitor says that it ends of."""
    channel.close()
    return StepError.from_message(message.get("error") or {})


def _raise_failure(channel: Channel) -> None:
    """When the monitor fails, init goes with all its namespaces: then that is the reason."""
    with contextlib.suppress(Unavailable):
        message = channel.next_event(CALL_OFF_TIMEOUT)
        if message.get("event") == "failed":
            raise _failure(channel, message)


def _call_off(channel: Channel) -> None:
    """Have the monitor end what it was asked to start, and wait for that.

    It would go on making files meanwhile, where somebody may already be removing them.
    """
    if channel.closed:
        return
    with contextlib.suppress(CarboyError):
        channel.request("signal", signal=signal.SIGKILL)
    with contextlib.suppress(CarboyError):
        while channel.next_event(CALL_OFF_TIMEOUT).get("event") not in ("failed", "exited"):
            continue
    channel.close()


def take_pending(container: Container) -> list[PendingAttach]:
    """The clients that wait for the start; the caller closes their sockets."""
    with container.mutex:
        pending, container.pending = container.pending, []
    return pending


def hand_over(channel: Channel, pending: PendingAttach) -> None:
    """Give a client's socket to the monitor; it is closed here in any case."""
    try:
        channel.request("attach", descriptors=[pending.client], **pending.fields)
    finally:
        os.close(pending.client)
