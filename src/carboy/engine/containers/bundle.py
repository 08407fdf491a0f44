"""The files that a start writes: config.json, and hosts, hostname and resolv.conf for /etc."""

from __future__ import annotations

import os
import signal as signals
import stat
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

import msgspec

from carboy.digest import Digest
from carboy.engine import logdrivers
from carboy.engine.containers.document import Container
from carboy.engine.containers.index import Index
from carboy.engine.containers.parts import Parts
from carboy.engine.containers.sharing import joined_namespaces, links, shared_memory
from carboy.engine.monitors import Message
from carboy.engine.spec.check import joined, network_mode
from carboy.engine.spec.devices import requested_edits
from carboy.engine.spec.document import Placement, build
from carboy.engine.spec.health import health_plan
from carboy.engine.spec.process import working_directory
from carboy.engine.spec.propagation import check_propagation
from carboy.engine.users import read_account_files, resolve
from carboy.errors import Internal, InvalidArgument
from carboy.formats.dockerapi.containers import HostConfig
from carboy.linux.paths import exists_in_root, make_directories_in_root
from carboy.network import files


class Bundles:
    """Writes the bundles of containers."""

    def __init__(self, parts: Parts, index: Index) -> None:
        self._parts = parts
        self._index = index

    def write(self, container: Container, bundle: str, rootfs: int) -> Message:
        """Write the files that are bound to /etc, and config.json; `rootfs` is the mounted root.

        Gives what the specification adds to `launch`.
        """
        parts, document = self._parts, container.document
        passwd, group = read_account_files(rootfs)
        identity = resolve(document.config.user, document.host.group_add, passwd=passwd, group=group)
        directory = working_directory(document.config)
        if not exists_in_root(rootfs, directory):
            os.close(make_directories_in_root(rootfs, directory, 0o755))
        volumes, read_only = self._volumes(container)
        found = links(container, self._index.find)
        placement = Placement(
            container_id=container.id,
            identity=identity,
            volumes=volumes,
            files=self._network_files(container, bundle),
            namespaces=joined_namespaces(document.host, self._index.find),
            read_only_volumes=read_only,
            ipc_process=shared_memory(document.host, self._index.find),
            environment=tuple(variable for link in found for variable in link.environment()),
            edits=requested_edits(document.host, parts.facts),
        )
        spec = build(document.config, document.host, document.mounts, placement=placement, facts=parts.facts)
        if any(kind == "network" for kind in placement.namespaces):
            sysctl = spec["linux"]["sysctl"]  # type: ignore[index]  # built just above
            for name in [name for name in sysctl if name.startswith("net.")]:
                del sysctl[name]
        write_file(f"{bundle}/config.json", msgspec.json.encode(spec).decode("utf-8", "surrogateescape"))
        return light_field(spec)

    def _volumes(self, container: Container) -> tuple[dict[str, str], frozenset[str]]:
        """The paths of its volumes, and those that are read-only by their own options."""
        volumes, read_only = {}, set()
        for mount in container.document.mounts:
            if mount.type == "volume":
                volumes[mount.source], protected = self._parts.volumes.acquire(mount.source, container.id)
                if protected:
                    read_only.add(mount.source)
            elif mount.type == "bind":
                ensure_bind_source(mount.source, create=mount.create_source)
                check_propagation(mount.source, mount.propagation)
        return volumes, frozenset(read_only)

    def open_images(self, container: Container) -> list[int]:
        """Detached mounts of the images that it mounts, in their order; the caller closes them."""
        found: list[int] = []
        try:
            for mount in container.document.mounts:
                if mount.type == "image":
                    diff_ids = [Digest.parse(text) for text in mount.diff_ids]
                    found.append(self._parts.snapshots.mount_image(container.id, diff_ids))
        except BaseException:
            for descriptor in found:
                os.close(descriptor)
            raise
        return found

    def _network_files(self, container: Container, bundle: str) -> dict[str, str]:
        host = container.document.host
        other = joined(network_mode(host))
        if other is not None:
            theirs = self._parts.paths.container(self._index.find(other).id)
            return {f"/etc/{name}": f"{theirs}/{name}" for name in ("hosts", "hostname", "resolv.conf")}
        own = network_mode(host) != "host"
        hostname = hostname_of(container)
        write_file(f"{bundle}/hosts", self.hosts(container, None))
        write_file(f"{bundle}/hostname", files.hostname_file(hostname))
        write_file(f"{bundle}/resolv.conf", resolv_conf(container.document.host, own_namespace=own))
        return {f"/etc/{name}": f"{bundle}/{name}" for name in ("hosts", "hostname", "resolv.conf")}

    def hosts(self, container: Container, address: IPv4Address | None) -> str:
        """The content of /etc/hosts."""
        document = container.document
        gateway = self._parts.network.gateway if network_mode(document.host) == "bridge" else None
        return files.hosts(
            hostname=hostname_of(container),
            domainname=document.config.domainname,
            addresses=[address] if address else [],
            extra=[
                *(files.parse_extra_host(text, gateway=gateway) for text in document.host.extra_hosts),
                *(line for link in links(container, self._index.find) for line in link.hosts()),
            ],
        )

    def launch_fields(self, container: Container) -> Message:
        """The `launch` of a MonitorRequest."""
        document = container.document
        config, host = document.config, document.host
        size = host.console_size if len(host.console_size) == 2 else [0, 0]
        return {
            "terminal": config.tty,
            "rows": size[0],
            "cols": size[1],
            "stdin": config.open_stdin,
            "stdin_once": config.stdin_once,
            "init": bool(host.init),
            "health": health_plan(config),
            "log": log_fields(container, self._parts.paths.container(container.id)),
            "stop_signal": signal_number(config.stop_signal or "SIGTERM"),
            "seccomp_cache": f"{self._parts.paths.cache}/seccomp",
            "cgroup_parent": self._parts.facts.cgroup_parent,
        }

    def log_path(self, container: Container) -> str:
        """The newest file of its log; empty where the driver has none that can be read."""
        directory = self._parts.paths.container(container.id)
        return logdrivers.log_path(container.document.host.log_config, container.id, directory)


def light_field(spec: Mapping[str, Any]) -> Message:
    """The `light` of a launch, where init can prepare itself (formats/spawner.py)."""
    namespaces = {one["type"]: one.get("path", "") for one in spec["linux"]["namespaces"]}
    if spec.get("hooks") or "user" in namespaces or spec["linux"].get("timeOffsets"):
        return {}
    return {"light": {"pid": namespaces.get("pid")}}


def hostname_of(container: Container) -> str:
    """The hostname inside."""
    host = container.document.host
    if host.uts_mode == "host" or (network_mode(host) == "host" and not container.document.config.hostname):
        return os.uname().nodename
    return container.document.config.hostname or container.id[:12]


def log_fields(container: Container, directory: str) -> Message:
    """The `log` of a launch."""
    document = container.document
    config = document.config
    subject = logdrivers.Subject(
        id=container.id,
        name=container.name,
        image_id=document.image_id,
        image_name=document.image_reference,
        command=" ".join([*(config.entrypoint or []), *(config.cmd or [])]),
        env=config.env,
        labels=config.labels,
    )
    return logdrivers.launch_fields(document.host.log_config, subject, directory)


def signal_number(text: str) -> int:
    """The number of `9`, `KILL`, `SIGKILL`, `SIGRTMIN+3`; raises InvalidArgument."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 < number <= 64:
            return number
        raise InvalidArgument(f"invalid signal: {text[:40]}")
    name = text.upper().removeprefix("SIG") if text.isascii() else ""
    base, plus, offset = name.partition("+")
    if plus and base == "RTMIN" and offset.isdigit() and int(offset) <= 30:
        return int(signals.SIGRTMIN) + int(offset)
    base, minus, offset = name.partition("-")
    if minus and base == "RTMAX" and offset.isdigit() and int(offset) <= 30:
        return int(signals.SIGRTMAX) - int(offset)
    found = signals.Signals.__members__.get(f"SIG{name}")
    if found is None:
        raise InvalidArgument(f"invalid signal: {text[:40]}")
    return int(found)


def ensure_bind_source(path: str, *, create: bool) -> None:
    """The source of a bind mount; `-v` makes it, `--mount` does not."""
    try:
        os.stat(path)
    except FileNotFoundError as error:
        if not create:
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {path}'
            ) from error
        try:
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError as made:
            raise InvalidArgument(
                f"error while creating mount source path '{path}': {made.strerror}"
            ) from made
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot use the bind source {path[:200]!r}: {error}") from error


def resolv_conf(host: HostConfig, *, own_namespace: bool) -> str:
    """Text for /etc/resolv.conf: the machine's, and what the options say."""
    content = _read_host_file(files.ETC_RESOLV_CONF)
    source = files.resolv_conf_source(content)
    if source != files.ETC_RESOLV_CONF:
        content = _read_host_file(source)
    return files.resolv_conf(
        content,
        source=source,
        nameservers=host.dns,
        search=host.dns_search,
        options=host.dns_options,
        own_namespace=own_namespace,
    )


def _read_host_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def write_file(path: str, text: str) -> None:
    """Write a small file in place: init may have bound its inode already."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Internal(f"{path} is not a regular file")
        os.fchmod(descriptor, 0o644)
        file.write(text.encode("utf-8", "surrogateescape"))
