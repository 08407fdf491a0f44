"""The events of a container's life, with Docker's names and attributes."""

from __future__ import annotations

from carboy.engine.containers.document import Container
from carboy.engine.events import Events
from carboy.engine.spec.check import network_id, network_mode
from carboy.formats.dockerapi.times import parse_rfc3339

_NETWORK_TYPES = {"bridge": "bridge", "host": "host", "none": "null"}


class Notices:
    """Publishes what happens to containers, and to the volumes and networks that they use."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def emit(self, container: Container, action: str, more: dict[str, str] | None = None) -> None:
        """An event about a container."""
        document = container.document
        attributes = {**document.config.labels, "image": document.image_reference, "name": document.name}
        self._events.publish("container", action, container.id, {**attributes, **(more or {})})

    def attached(self, container: Container) -> None:
        """Its volumes are mounted, its network is connected."""
        for mount in container.document.mounts:
            if mount.type == "volume":
                attributes = {
                    "container": container.id,
                    "destination": mount.destination,
                    "driver": "local",
                    "propagation": mount.propagation,
                    "read/write": "false" if mount.read_only else "true",
                }
                self._events.publish("volume", "mount", mount.source, attributes)
        self._network(container, "connect")

    def detached(self, container: Container) -> None:
        """The opposite of `attached`."""
        self._network(container, "disconnect")
        for mount in container.document.mounts:
            if mount.type == "volume":
                attributes = {"container": container.id, "driver": "local"}
                self._events.publish("volume", "unmount", mount.source, attributes)

    def died(self, container: Container) -> None:
        """Its program has ended; the document says how."""
        document = container.document
        attributes = {"exitCode": str(document.exit_code), "execDuration": "0"}
        if document.started_at and document.finished_at:
            length = parse_rfc3339(document.finished_at) - document.started_at
            attributes["execDuration"] = str(max(0, length) // 10**9)
        if document.oom_killed and not container.oom_told:
            self.emit(container, "oom")
        self.emit(container, "die", attributes)

    def probe_begun(self, container: Container, exec_id: str, text: str) -> None:
        """A health check is an exec like any other."""
        for action in ("exec_create", "exec_start"):
            self.emit(container, f"{action}: {text}", {"execID": exec_id})

    def probe_ended(self, container: Container, exec_id: str, exit_code: int, changed: str) -> None:
        """changed: the new status, where it is one."""
        self.emit(container, "exec_die", {"execID": exec_id, "exitCode": str(exit_code)})
        if changed:
            self.emit(container, f"health_status: {changed}")

    def _network(self, container: Container, action: str) -> None:
        mode = network_mode(container.document.host)
        kind = _NETWORK_TYPES.get(mode)
        if kind is not None:
            attributes = {"container": container.id, "name": mode, "type": kind}
            self._events.publish("network", action, network_id(mode), attributes)
