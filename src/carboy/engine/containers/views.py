"""Containers as the API shows them: summaries, filters, inspect."""

from __future__ import annotations

import time
from collections.abc import Collection

from msgspec import UNSET
from msgspec.structs import replace

from carboy.digest import Digest
from carboy.engine import portviews
from carboy.engine.containers import health
from carboy.engine.containers.document import Container
from carboy.engine.containers.states import ALIVE, State
from carboy.engine.spec.check import network_id, network_mode
from carboy.engine.spec.mounts import PlannedMount
from carboy.engine.spec.security import MASKED_PATHS, READONLY_PATHS, parse_security_options
from carboy.errors import InvalidArgument
from carboy.formats import human
from carboy.formats.dockerapi.containers import (
    ContainerInspect,
    ContainerState,
    ContainerSummary,
    EndpointSettings,
    GraphDriver,
    HostConfig,
    MountPoint,
    NetworkSettings,
    SummaryHostConfig,
    SummaryNetworkSettings,
)
from carboy.formats.dockerapi.filters import Filters
from carboy.formats.dockerapi.times import ZERO_TIME, parse_rfc3339, rfc3339
from carboy.store.paths import Paths

KNOWN_FILTERS = str.split(
    "ancestor before exited expose health id is-task isolation label name network publish since status volume"
)


def shown_state(container: Container) -> str:
    """The word that clients know."""
    return container.shown.value


def status_text(container: Container, now: float) -> str:
    """`Up 5 minutes`, `Exited (0) 2 hours ago`, `Created`."""
    document = container.document
    match container.shown:
        case State.RUNNING:
            return f"Up {human.duration(now - document.started_at / 1e9)}{health.shown(container)}"
        case State.PAUSED:
            return f"Up {human.duration(now - document.started_at / 1e9)} (Paused)"
        case State.RESTARTING:
            return f"Restarting ({document.exit_code}) {_ago(document.finished_at, now)}"
        case State.EXITED:
            return f"Exited ({document.exit_code}) {_ago(document.finished_at, now)}"
        case State.REMOVING:
            return "Removal In Progress"
        case State.DEAD:
            return "Dead"
        case State.CREATED | State.STARTING:
            return "Created"


def _ago(moment: str, now: float) -> str:
    return f"{human.duration(now - parse_rfc3339(moment) / 1e9)} ago" if moment else ""


def summary(container: Container, paths: Paths, now: float) -> ContainerSummary:
    """One line of a listing."""
    document = container.document
    config = document.config
    return ContainerSummary(
        id=document.id,
        names=[f"/{document.name}"],
        image=document.image_reference,
        image_id=document.image_id,
        command=" ".join(_quoted(word) for word in [*(config.entrypoint or []), *(config.cmd or [])]),
        created=document.created_at // 10**9,
        ports=portviews.summary_ports(document),
        labels=config.labels,
        state=shown_state(container),
        status=status_text(container, now),
        host_config=SummaryHostConfig(
            network_mode=document.host.network_mode or "default",
            annotations=document.host.annotations or UNSET,
        ),
        network_settings=SummaryNetworkSettings(networks=_networks(container)),
        mounts=[
            mount_point(mount, paths) for mount in document.mounts if mount.listed or mount.type != "tmpfs"
        ],
    )


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def _networks(container: Container) -> dict[str, EndpointSettings]:
    mode = network_mode(container.document.host)
    if mode.startswith("container:"):
        return {}
    endpoint = container.document.endpoint
    settings = EndpointSettings(network_id=network_id(mode))
    if endpoint is not None:
        settings.ip_address = endpoint.address
        settings.ip_prefix_len = endpoint.prefix
        settings.gateway = endpoint.gateway
        settings.mac_address = endpoint.mac
        settings.endpoint_id = container.id
    return {mode: settings}


def mount_point(mount: PlannedMount, paths: Paths) -> MountPoint:
    """A mount as inspect shows it."""
    if mount.type == "volume":
        return MountPoint(
            type="volume",
            name=mount.source,
            source=paths.volume_data(mount.source),
            destination=mount.destination,
            driver="local",
            mode=mount.mode,
            rw=not mount.read_only,
        )
    return MountPoint(
        type=mount.type,
        source=mount.source,
        destination=mount.destination,
        mode=mount.mode,
        rw=not mount.read_only,
        propagation=mount.propagation,
    )


def inspect(container: Container, paths: Paths, *, driver: str, log_path: str) -> ContainerInspect:
    """Everything about one container."""
    document = container.document
    config = document.config
    bundle = paths.container(document.id)
    words = [*(config.entrypoint or []), *(config.cmd or [])]
    networks = _networks(container)
    settings = NetworkSettings(networks=networks, ports=portviews.inspect_ports(document))
    if "bridge" in networks:
        bridge = networks["bridge"]
        settings.ip_address, settings.ip_prefix_len = bridge.ip_address, bridge.ip_prefix_len
        settings.gateway, settings.mac_address = bridge.gateway, bridge.mac_address
        settings.endpoint_id = bridge.endpoint_id
    if document.pid:
        settings.sandbox_key = f"/proc/{document.pid}/ns/net"
        settings.sandbox_id = document.id
    return ContainerInspect(
        id=document.id,
        created=rfc3339(document.created_at),
        path=words[0] if words else "",
        args=words[1:],
        state=ContainerState(
            status=shown_state(container),
            running=container.shown in ALIVE or container.shown is State.RESTARTING,
            paused=document.state is State.PAUSED,
            restarting=container.shown is State.RESTARTING,
            oom_killed=document.oom_killed,
            dead=document.state is State.DEAD,
            pid=document.pid,
            exit_code=document.exit_code,
            error=document.error,
            started_at=rfc3339(document.started_at) if document.started_at else ZERO_TIME,
            finished_at=document.finished_at or ZERO_TIME,
            health=document.health or UNSET,
        ),
        image=document.image_id,
        resolv_conf_path=f"{bundle}/resolv.conf",
        hostname_path=f"{bundle}/hostname",
        hosts_path=f"{bundle}/hosts",
        log_path=log_path if document.host.log_config.type == "json-file" else "",  # as Docker shows it
        name=f"/{document.name}",
        restart_count=document.restart_count,
        driver=driver,
        exec_ids=list(container.exec_ids) or None,
        host_config=_host_config(document.host),
        graph_driver=GraphDriver(name=driver, data={"UpperDir": paths.upper(document.id)}),
        mounts=[
            mount_point(mount, paths) for mount in document.mounts if mount.listed or mount.type != "tmpfs"
        ],
        config=config,
        network_settings=settings,
    )


def _host_config(host: HostConfig) -> HostConfig:
    """With the paths that are masked and read-only when nothing was said of them."""
    options = parse_security_options(host.security_opt)
    if host.privileged or options.systempaths_unconfined:
        return host
    return replace(
        host,
        masked_paths=list(MASKED_PATHS) if host.masked_paths is None else host.masked_paths,
        readonly_paths=list(READONLY_PATHS) if host.readonly_paths is None else host.readonly_paths,
    )


class Listing:
    """Docker's filters of `GET /containers/json`."""

    def __init__(
        self, filters: Filters, everything: list[Container], *, ancestors: Collection[Digest]
    ) -> None:
        """ancestors: the images that the filter of this name means, and all that stand on them."""
        filters.require_known(KNOWN_FILTERS)
        portviews.check_filters(filters)
        self._filters = filters
        self._ancestors = frozenset(map(str, ancestors))
        self._before = self._reference("before", everything)
        self._since = self._reference("since", everything)
        for code in filters.get("exited"):
            if not code.lstrip("-").isdigit():
                raise InvalidArgument(f"invalid filter 'exited={code[:40]}'")
        for status in filters.get("status"):
            if status not in {state.value for state in State if state is not State.STARTING}:
                raise InvalidArgument(f"invalid filter 'status={status[:40]}'")

        filters.boolean("is-task", default=False)
        for status in filters.get("health"):
            if status not in health.STATUSES:
                raise InvalidArgument(f"invalid filter 'health={status[:40]}'")

    def _reference(self, name: str, everything: list[Container]) -> int | None:
        moments = [
            container.document.created_at
            for value in self._filters.get(name)
            for container in everything
            if container.id.startswith(value) or container.name == value.removeprefix("/")
        ]
        if name in self._filters and not moments:
            raise InvalidArgument(f"no such container: {self._filters.get(name)[0][:80]}")
        return moments[0] if moments else None

    @property
    def implies_all(self) -> bool:
        """Whether the filters ask for containers that do not run."""
        return any(name in self._filters for name in ("status", "exited", "before", "since"))

    def shows(self, container: Container) -> bool:
        """Whether the container passes."""
        filters, document = self._filters, container.document
        if not filters:
            return True
        if "exited" in filters:
            ended = document.state is State.EXITED and document.started_at
            if not ended or str(document.exit_code) not in filters.get("exited"):
                return False
        if self._before is not None and document.created_at >= self._before:
            return False
        if self._since is not None and document.created_at <= self._since:
            return False
        mounts = [text for mount in document.mounts for text in (mount.source, mount.destination)]
        mode = network_mode(document.host)
        return (
            filters.prefix("id", document.id)
            and (filters.pattern("name", document.name) or filters.pattern("name", f"/{document.name}"))
            and filters.labels(document.config.labels)
            and filters.exact("status", shown_state(container))
            and filters.any_of("volume", mounts)
            and filters.any_of("network", (mode, network_id(mode)))
            and filters.exact("health", health.status_of(container))
            and ("ancestor" not in filters or document.image_id in self._ancestors)
            and portviews.passes(filters, document)
        )


def list_containers(
    containers: list[Container],
    paths: Paths,
    *,
    everything: bool,
    limit: int | None,
    filters: Filters,
    ancestors: Collection[Digest],
) -> list[tuple[Container, ContainerSummary]]:
    """The containers that pass, newest first."""
    listing = Listing(filters, containers, ancestors=ancestors)
    now = time.time()
    everything = everything or listing.implies_all or bool(limit and limit > 0)
    found = []
    for container in reversed(containers):
        if not everything and not container.alive and container.shown is not State.RESTARTING:
            continue
        if listing.shows(container):
            found.append((container, summary(container, paths, now)))
            if limit and limit > 0 and len(found) == limit:
                break
    return found
