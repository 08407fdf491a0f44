"""Published ports of containers: bound, held by the forwarder, sent on by the firewall, freed.

    start:  bind on the machine ─▶ hand the sockets to the forwarder ─▶ firewall maps
    end:    firewall maps ─▶ the forwarder closes (it does so by itself when init ends)

Who has which port is stored with the container.  After a restart of the daemon the forwarder still
holds the sockets; what it holds for a container that has ended meanwhile is freed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from carboy.engine.containers.document import Container, PublishedPort
from carboy.engine.containers.states import ALIVE, State
from carboy.engine.portkeeper import PortKeeper
from carboy.engine.spec.ports import wishes
from carboy.errors import CarboyError, Unsupported
from carboy.network.bridge import BridgeNetwork, Endpoint
from carboy.network.ports import (
    Held,
    InUse,
    NotPublished,
    PortAllocator,
    Published,
    Wish,
    elements_of,
    find_clash,
)

_HAS_PORTS = ALIVE | {State.STARTING}
_log = logging.getLogger(__name__)


class Owner:
    """A container with ports."""

    __slots__ = ("address", "container", "ports")

    def __init__(self, container: Container, address: IPv4Address, ports: list[Published]) -> None:
        self.container = container
        self.address = address
        self.ports = ports


class Ports:
    """Publishes ports, and takes them back. Thread-safe."""

    def __init__(self, network: BridgeNetwork, keeper: PortKeeper) -> None:
        self._network = network
        self._keeper = keeper
        self._allocator = PortAllocator()
        self._owners: dict[str, Owner] = {}
        self._lock = threading.Lock()
        keeper.on_lost = self._hold_everything

    def close(self) -> None:
        """Ports stay published."""
        self._keeper.close()

    def publish(self, container: Container, endpoint: Endpoint, pid: int) -> None:
        """Publish what the container asks for; raises NotPublished, and nothing is published then."""
        document = container.document
        wanted = wishes(document.config, document.host)
        if not wanted:
            return
        held = self._bind(container, wanted)
        with self._lock:
            self._owners[container.id] = Owner(container, endpoint.address, held.ports)
        document.published = [_stored(port) for port in held.ports]
        try:
            self._guard()
            self._hold(container.id, endpoint.address, pid, held)
            self._network.publish(elements_of(held.ports, endpoint.address), endpoint)
        except BaseException:
            self.release(container)
            raise
        finally:
            held.close()

    def release(self, container: Container) -> None:
        """Take back what a container has; again is harmless."""
        with self._lock:
            owner = self._owners.pop(container.id, None)
        if owner is None and not container.document.published:
            return
        container.document.published = []
        try:
            if owner is not None:
                self._network.unpublish(elements_of(owner.ports, owner.address))
        except CarboyError:  # the next repair of the table leaves it out
            _log.exception("firewall of the ports of container %s", container.id[:12])
        self._keeper.release(container.id)

    def recover(self, containers: Iterable[Container]) -> None:
        """Take over the ports of containers that run since an earlier daemon; free the others'."""
        for container in containers:
            endpoint = container.document.endpoint
            if container.document.published and container.alive and endpoint is not None:
                ports = [_published(port) for port in container.document.published]
                self._owners[container.id] = Owner(container, IPv4Address(endpoint.address), ports)
        for owner in self._owners.values():
            self._network.remember(elements_of(owner.ports, owner.address))
        try:
            self._match_forwarder()
        except CarboyError:
            _log.exception("the process that holds published ports")

    # -- inside

    def _match_forwarder(self) -> None:
        held = self._keeper.held() if self._keeper.find() else {}
        for container_id in held.keys() - self._owners.keys():
            self._keeper.release(container_id)
        if self._owners:
            self._guard()
        for container_id, owner in list(self._owners.items()):
            if held.get(container_id) != len(owner.ports):
                self._hold_again(owner)

    def _hold_everything(self) -> None:
        with self._lock:
            owners = list(self._owners.values())
        self._guard()
        for owner in owners:
            self._hold_again(owner)

    def _guard(self) -> None:
        with contextlib.ExitStack() as stack:

            def make() -> int | None:
                guard = self._network.make_guard()
                return None if guard is None else stack.enter_context(guard).fileno()

            try:
                self._keeper.guard(self._network.name, make)
            except Unsupported as error:  # an old kernel: the rule in the other table has to do
                _log.warning("%s", error)

    def _hold_again(self, owner: Owner) -> None:
        container = owner.container
        if not container.alive:
            return  # it has just ended: its ports are being given back
        self._keeper.release(container.id)
        held = self._allocator.hold_again(owner.ports)
        if len(held.ports) != len(owner.ports):
            _log.warning("container %s: another program took a published port", container.id[:12])
        try:
            self._hold(container.id, owner.address, container.document.pid, held)
        except (CarboyError, OSError):
            _log.exception("ports of container %s", container.id[:12])
        finally:
            held.close()

    def _hold(self, container_id: str, address: IPv4Address, pid: int, held: Held) -> None:
        self._keeper.hold(
            container_id,
            target=str(address),
            pid=pid,
            sockets=held.sockets,
            inside_ports=[port.inside_port for port in held.ports],
            farewell=self._network.farewell(elements_of(held.ports, address)),
        )

    def _bind(self, container: Container, wanted: list[Wish]) -> Held:
        while True:
            try:
                return self._allocator.hold(wanted)
            except NotPublished as error:
                if isinstance(error, InUse) and self._free_if_ended(error.wanted):
                    continue
                raise NotPublished(
                    f"driver failed programming external connectivity on endpoint {container.name} "
                    f"({container.id}): {self._told(error)}"
                ) from error

    def _free_if_ended(self, wanted: Published) -> bool:
        """Whether the port belonged to a container that has ended and is being cleaned up just now."""
        owner = self._owner(wanted)
        if owner is None or owner.container.state in _HAS_PORTS:
            return False
        self.release(owner.container)
        return True

    def _owner(self, wanted: Published) -> Owner | None:
        with self._lock:
            found = find_clash(wanted, [(key, owner.ports) for key, owner in self._owners.items()])
            return self._owners[found] if found is not None else None

    def _told(self, error: NotPublished) -> str:
        """Docker's words where the port is a container's; what the system said where it is not."""
        if isinstance(error, InUse) and self._owner(error.wanted) is not None:
            return f"Bind for {error.wanted.place} failed: port is already allocated"
        return str(error)


def _stored(port: Published) -> PublishedPort:
    return PublishedPort(
        protocol=port.protocol, inside=port.inside_port, address=str(port.address), outside=port.port
    )


def _published(stored: PublishedPort) -> Published:
    return Published(stored.protocol, stored.inside, ip_address(stored.address), stored.outside)
