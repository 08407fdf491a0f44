"""What containers are made with: the parts of the engine that they use."""

from __future__ import annotations

from dataclasses import dataclass

from carboy.engine.events import Events
from carboy.engine.monitors import ChannelLoop, Spawner
from carboy.engine.ports import Ports
from carboy.engine.spec.facts import HostFacts
from carboy.engine.volumes import Volumes
from carboy.network.bridge import BridgeNetwork
from carboy.store.paths import Paths
from carboy.store.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Parts:
    """What containers are made with."""

    paths: Paths
    facts: HostFacts
    snapshots: Snapshots
    network: BridgeNetwork
    ports: Ports
    spawner: Spawner
    loop: ChannelLoop
    events: Events
    volumes: Volumes
