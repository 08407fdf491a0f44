"""All services of one engine, built and joined; `daemon.py` and tests make one.

The order of building is the order of need: database, layers, images, network, containers.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_interface

from carboy.engine.building.joining import Building
from carboy.engine.containers import defaults
from carboy.engine.containers.files import ContainerFiles
from carboy.engine.containers.parts import Parts
from carboy.engine.containers.service import Containers
from carboy.engine.events import Events
from carboy.engine.execs import Execs
from carboy.engine.images.service import ImageService
from carboy.engine.monitors import ChannelLoop, Spawner
from carboy.engine.networks import Networks
from carboy.engine.portkeeper import PortKeeper
from carboy.engine.ports import Ports
from carboy.engine.spec.facts import read_facts
from carboy.engine.system import System
from carboy.engine.upkeep import Upkeep
from carboy.engine.volumes import Volumes
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats import seccomp
from carboy.formats.settings.reading import Settings
from carboy.network.bridge import DEFAULT_NAME, BridgeNetwork
from carboy.store.layers import open_layers, sweep_ingest
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

_log = logging.getLogger(__name__)


class Engine:
    """The services, and what must happen before and after them."""

    def __init__(
        self, paths: Paths, loop: ChannelLoop, spawner: Spawner, *, settings: Settings | None = None
    ) -> None:
        self.paths = paths
        self.settings = settings = settings or Settings()
        sweep_ingest(paths)
        self.database = Database(paths.db)
        self.layers = open_layers(paths)
        driver = type(self.layers).__name__.removesuffix("Layers").lower()
        self.snapshots = Snapshots(paths, self.layers)
        self.events = Events(self.database)
        self.volumes = Volumes(paths, self.database, self.events)
        self.images = ImageService(
            paths, self.database, self.layers, self.snapshots, emit=self._image_event, driver=driver
        )
        self.network = self._make_network(settings)
        self.ports = Ports(self.network, PortKeeper(paths.ports_socket, spawner, loop))
        profile = _seccomp_profile(settings.text("seccomp-profile"))
        facts = read_facts(
            seccomp_profile=profile,
            cgroup_parent=paths.cgroup_parent,
            cdi_directories=settings.words("cdi-spec-dirs"),
        )
        parts = Parts(
            paths=paths,
            facts=facts,
            snapshots=self.snapshots,
            network=self.network,
            ports=self.ports,
            spawner=spawner,
            loop=loop,
            events=self.events,
            volumes=self.volumes,
        )
        self.containers = Containers(parts, self.images, self.database, driver=driver)
        self.containers.drafts.apply_defaults = functools.partial(defaults.apply, settings)
        self.images.set_containers(self.containers)
        self.files = ContainerFiles(parts, self.containers, self.containers.lifecycle.emit)
        self.execs = Execs(self.containers, facts)
        self.building = Building(parts, self.images, self.database, self.layers, settings=settings)
        self.upkeep = Upkeep(paths, facts, self.containers, self.images, self.events, self.building)
        self.networks = Networks(self.network, self.containers.index, self.events)
        self.system = System(
            paths,
            self.database,
            self.containers,
            self.images,
            self.volumes,
            self.building,
            self.network,
            self.events,
            driver=driver,
            settings=settings,
        )
        self._background: threading.Thread | None = None

    def recover(self) -> None:
        """Take over what an earlier daemon left."""
        self.building.recover()
        self.containers.load()

    def ready(self) -> None:
        """Clients are served: do what can wait."""
        self._background = threading.Thread(target=self._after_start, name="after-start", daemon=True)
        self._background.start()

    def close(self) -> None:
        """End everything of ours; containers run on."""
        if self._background is not None:
            self._background.join(30)
        self.building.close()
        self.upkeep.close()
        self.containers.lifecycle.close()
        self.events.close()
        self.ports.close()
        self.network.close()
        self.layers.close()
        self.database.close()

    def _after_start(self) -> None:
        for action in (self.network.ensure, self.images.collect, self.containers.lifecycle.restart_policies):
            try:
                action()
            except (CarboyError, OSError):
                _log.exception("after the start")

    def _image_event(self, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        self.events.publish("image", action, actor, dict(attributes))

    def _make_network(self, settings: Settings) -> BridgeNetwork:
        name = settings.text("bridge")
        if not name:
            name = f"cb{self.paths.suffix}" if self.paths.suffix else DEFAULT_NAME
        with self.database.read() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = 'subnet'").fetchone()
            taken = connection.execute("SELECT count(*) FROM endpoints").fetchone()[0]
        subnet = IPv4Network(row[0]) if row else None
        wanted = _bridge_subnet(settings.text("bip"))
        if wanted is not None and wanted != subnet:
            if subnet is not None and taken:
                raise InvalidArgument(
                    f"bip asks for {wanted}, but containers have addresses of {subnet}: remove them first"
                )
            subnet, row = wanted, None
        network = BridgeNetwork(name, subnet=subnet, mtu=settings.number("mtu") or None)
        if row is None:
            with self.database.write() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO settings(key, value) VALUES ('subnet', ?)", (str(network.subnet),)
                )
        return network


def _bridge_subnet(bip: str) -> IPv4Network | None:
    if not bip:
        return None
    interface = ip_interface(bip)
    network = interface.network
    if not isinstance(network, IPv4Network) or network.prefixlen > 30:
        raise InvalidArgument(f"invalid bip {bip}: write an IPv4 address with a prefix of at most 30 bits")
    if interface.ip != network[1]:
        raise InvalidArgument(f"invalid bip {bip}: the bridge has the first address, {network[1]}")
    return network


def _seccomp_profile(unsafe_path: str) -> bytes:
    path = unsafe_path
    if path == "unconfined":
        return b'{"defaultAction": "SCMP_ACT_ALLOW"}'
    if path in ("", "builtin"):
        path = os.path.join(os.path.dirname(seccomp.__file__), "seccomp_default.json")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(f"opening seccomp profile ({path}) failed: {error.strerror}") from error
