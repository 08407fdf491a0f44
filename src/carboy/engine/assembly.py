"""All services of one engine, built and joined; `daemon.py` and tests make one.

The order of building is the order of need: database, layers, images, network, containers.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from ipaddress import IPv4Network

from carboy.engine.containers.parts import Parts
from carboy.engine.containers.service import Containers
from carboy.engine.events import Events
from carboy.engine.execs import Execs
from carboy.engine.images.service import ImageService
from carboy.engine.monitors import ChannelLoop, Spawner
from carboy.engine.networks import Networks
from carboy.engine.spec.facts import read_facts
from carboy.engine.system import System
from carboy.engine.volumes import Volumes
from carboy.errors import CarboyError
from carboy.formats import seccomp
from carboy.network.bridge import DEFAULT_NAME, BridgeNetwork
from carboy.store.layers import open_layers, sweep_ingest
from carboy.store.metadata import Database
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots

_log = logging.getLogger(__name__)


class Engine:
    """The services, and what must happen before and after them."""

    def __init__(self, paths: Paths, loop: ChannelLoop, spawner: Spawner, *, bridge: str = "") -> None:
        self.paths = paths
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
        self.network = self._make_network(bridge)
        facts = read_facts(seccomp_profile=_seccomp_profile(), cgroup_parent=paths.cgroup_parent)
        parts = Parts(
            paths=paths,
            facts=facts,
            snapshots=self.snapshots,
            network=self.network,
            spawner=spawner,
            loop=loop,
            events=self.events,
            volumes=self.volumes,
        )
        self.containers = Containers(parts, self.images, self.database, driver=driver)
        self.images.set_containers(self.containers)
        self.execs = Execs(self.containers, facts)
        self.networks = Networks(self.network, self.containers.index)
        self.system = System(
            paths,
            self.database,
            self.containers,
            self.images,
            self.volumes,
            self.network,
            self.events,
            driver=driver,
            stop=lambda: None,
        )
        self._background: threading.Thread | None = None

    def recover(self) -> None:
        """Take over what an earlier daemon left."""
        self.containers.load()

    def ready(self) -> None:
        """Clients are served: do what can wait."""
        self._background = threading.Thread(target=self._after_start, name="after-start", daemon=True)
        self._background.start()

    def close(self) -> None:
        """End everything of ours; containers run on."""
        if self._background is not None:
            self._background.join(30)
        self.containers.lifecycle.close()
        self.events.close()
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

    def _make_network(self, name: str) -> BridgeNetwork:
        if not name:
            name = f"cb{self.paths.suffix}" if self.paths.suffix else DEFAULT_NAME
        with self.database.read() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = 'subnet'").fetchone()
        network = BridgeNetwork(name, subnet=IPv4Network(row[0]) if row else None)
        if row is None:
            with self.database.write() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO settings(key, value) VALUES ('subnet', ?)", (str(network.subnet),)
                )
        return network


def _seccomp_profile() -> bytes:
    path = os.path.join(os.path.dirname(seccomp.__file__), "seccomp_default.json")
    with open(path, "rb") as file:
        return file.read()
