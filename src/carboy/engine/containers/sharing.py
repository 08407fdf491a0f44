"""What a container takes from others that run: namespaces, /dev/shm, names by `--link`."""

from __future__ import annotations

from collections.abc import Callable

from carboy.engine.containers.document import Container
from carboy.engine.containers.states import State
from carboy.engine.spec.mode import joined, network_mode
from carboy.errors import Conflict, InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig

Find = Callable[[str], Container]
_KINDS = (("network", "net"), ("pid", "pid"), ("ipc", "ipc"))


def joined_namespaces(host: HostConfig, find: Find) -> dict[str, str]:
    """Namespace type to path, for those of other containers."""
    modes = {"network": network_mode(host), "pid": host.pid_mode, "ipc": host.ipc_mode}
    found = {}
    for kind, name in _KINDS:
        reference = joined(modes[kind])
        if reference is not None:
            other = _running(find(reference), kind)
            found[kind] = f"/proc/{other.document.pid}/ns/{name}"
    return found


def shared_memory(host: HostConfig, find: Find) -> int:
    """The process whose /dev/shm is shared (`--ipc container:`), 0 for none."""
    reference = joined(host.ipc_mode)
    if reference is None:
        return 0
    other = _running(find(reference), "ipc")
    mode = other.document.host.ipc_mode
    if mode == "host":
        return 0  # the spec binds the host's own
    if mode != "shareable" and joined(mode) is None:
        raise InvalidArgument(
            f"can't join IPC of container {reference[:80]}: container {reference[:80]}: non-shareable IPC"
            " (hint: use IpcMode:shareable for the donor container)"
        )
    return other.document.pid


def _running(other: Container, kind: str) -> Container:
    if not other.alive:
        raise Conflict(f"cannot join {kind} namespace of a non running container: {other.id}")
    if other.state is State.RESTARTING:
        raise Conflict(f"container {other.id} is restarting, wait until the container is running")
    return other


def parse_link(text: str) -> tuple[str, str]:
    """The container and its alias in `--link NAME[:ALIAS]`, also as inspect shows it."""
    name, _, alias = text.partition(":")
    name, alias = name.rpartition("/")[2], alias.rpartition("/")[2]
    if not name or ":" in alias or not (alias or name):
        raise InvalidArgument(f"bad format for links: {text[:80]}")
    return name, alias or name


class Link:
    """Another container under another name."""

    def __init__(self, owner: Container, other: Container, alias: str) -> None:
        self._owner = owner
        self._other = other
        self._alias = alias
        if not other.alive or other.document.endpoint is None:
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{owner.name}/{alias}")
        self._address = other.document.endpoint.address

    def hosts(self) -> list[tuple[str, str]]:
        """Lines of /etc/hosts: name and address."""
        names = dict.fromkeys((self._alias, self._other.id[:12], self._other.name))
        hostname = self._other.document.config.hostname
        if hostname:
            names.setdefault(hostname)
        return [(name, self._address) for name in names]

    def environment(self) -> list[str]:
        """Docker's variables: where each exposed port is, and the other's own variables."""
        prefix = self._alias.upper().replace("-", "_").replace(".", "_")
        config = self._other.document.config
        ports = sorted(
            (int(number), protocol or "tcp")
            for number, _, protocol in (port.partition("/") for port in config.exposed_ports)
            if number.isascii() and number.isdigit()
        )
        found = []
        if ports:
            found.append(f"{prefix}_PORT={ports[0][1]}://{self._address}:{ports[0][0]}")
        for number, protocol in ports:
            name = f"{prefix}_PORT_{number}_{protocol.upper()}"
            found += [
                f"{name}={protocol}://{self._address}:{number}",
                f"{name}_ADDR={self._address}",
                f"{name}_PORT={number}",
                f"{name}_PROTO={protocol}",
            ]
        found.append(f"{prefix}_NAME=/{self._owner.name}/{self._alias}")
        skipped = ("HOME", "PATH")
        for variable in config.env:
            if variable.partition("=")[0] not in skipped:
                found.append(f"{prefix}_ENV_{variable}")
        return found


def links(container: Container, find: Find) -> list[Link]:
    """The links of a container that starts."""
    found = []
    for text in container.document.host.links:
        name, alias = parse_link(text)
        found.append(Link(container, find(name), alias))
    return found


def stored_links(host: HostConfig, name: str, find: Find) -> list[str]:
    """`--link` as inspect shows it: `/other:/container/alias`."""
    stored = []
    for text in host.links:
        other, alias = parse_link(text)
        stored.append(f"/{find(other).name}:/{name}/{alias}")
    return stored
