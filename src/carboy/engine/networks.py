"""The built-in networks, for listing: bridge, host, none; fulfils `api.backend.Networks`."""

from __future__ import annotations

from carboy.engine.containers.index import Index
from carboy.engine.events import Events
from carboy.engine.prune import parse_until
from carboy.engine.spec.check import network_id
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.networks import IPAM, IPAMConfig, Network, NetworkContainer, NetworksPruned
from carboy.formats.dockerapi.times import rfc3339
from carboy.network.bridge import BridgeNetwork

_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


class Networks:
    """What there is without anybody having made it."""

    def __init__(self, network: BridgeNetwork, index: Index, events: Events) -> None:
        self._events = events
        self._network = network
        self._index = index

    def list(self, filters: Filters) -> list[Network]:
        """The networks that pass."""
        filters.require_known(("name", "id", "driver", "type", "scope", "label", "dangling"))
        for kind in filters.get("type"):
            if kind not in ("builtin", "custom"):
                raise InvalidArgument(f"invalid filter: 'type'='{kind[:80]}'")
        dangling = _dangling(filters)
        return [
            network
            for network in map(self._network_of, _DRIVERS)
            if filters.pattern("name", network.name)
            and filters.prefix("id", network.id)
            and filters.exact("driver", network.driver)
            and filters.exact("type", "builtin")
            and filters.exact("scope", "local")
            and filters.labels({})
            and not dangling
        ]

    def prune(self, filters: Filters) -> NetworksPruned:
        """Remove unused networks that somebody made: there are none yet, and built-in ones stay."""
        filters.require_known(("label", "label!", "until"))
        parse_until(filters)
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return NetworksPruned()

    def inspect(self, unsafe_ref: str) -> Network:
        """One network by name or id."""
        for name in _DRIVERS:
            if unsafe_ref == name or (len(unsafe_ref) >= 6 and network_id(name).startswith(unsafe_ref)):
                return self._network_of(name)
        raise NotFound(f"network {unsafe_ref[:80]} not found")

    def _network_of(self, name: str) -> Network:
        network = Network(
            name=name, id=network_id(name), created=rfc3339(0), driver=_DRIVERS[name], enable_ipv4=True
        )
        if name != "bridge":
            return network
        config = IPAMConfig(subnet=str(self._network.subnet), gateway=str(self._network.gateway))
        network.ipam = IPAM(config=[config])
        network.options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": self._network.name,
            "com.docker.network.driver.mtu": str(self._network.mtu),
        }
        for container in self._index:
            endpoint = container.document.endpoint
            if endpoint is not None and container.alive:
                network.containers[container.id] = NetworkContainer(
                    name=container.name,
                    endpoint_id=container.id,
                    mac_address=endpoint.mac,
                    ipv4_address=f"{endpoint.address}/{endpoint.prefix}",
                )
        return network


def _dangling(filters: Filters) -> bool:
    try:
        return filters.boolean("dangling", default=False)
    except InvalidArgument as error:
        raise InvalidArgument(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        ) from error
