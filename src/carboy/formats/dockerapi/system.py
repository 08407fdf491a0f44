"""The daemon itself: version, info, events, disk usage."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.containers import ContainerSummary
from carboy.formats.dockerapi.images import ImageSummary
from carboy.formats.dockerapi.volumes import Volume
from carboy.formats.dockerapi.wire import Document


class PlatformName(Document, kw_only=True):
    """The product's name."""

    name: str = ""


class Component(Document, kw_only=True):
    """One part of the engine."""

    name: str
    version: str
    details: dict[str, str] = field(default_factory=dict)


class Version(Document, kw_only=True):
    """The body of `GET /version`; the API versions are filled by the API when left empty."""

    platform: PlatformName = field(default_factory=PlatformName)
    components: list[Component] = field(default_factory=list)
    version: str
    api_version: str = ""
    min_api_version: str = field(default="", name="MinAPIVersion")
    git_commit: str = ""
    go_version: str = ""
    os: str = "linux"
    arch: str
    kernel_version: str
    experimental: bool = False
    build_time: str = ""


class PingFacts(Document, kw_only=True):
    """What `_ping` tells in its headers."""

    server: str = "Carboy"
    os_type: str = "linux"
    experimental: bool = False
    builder_version: str = "1"


class Plugins(Document, kw_only=True):
    """The drivers at hand."""

    volume: list[str] = field(default_factory=lambda: ["local"])
    network: list[str] = field(default_factory=lambda: ["bridge", "host", "null"])
    authorization: list[str] | None = None
    log: list[str] = field(default_factory=lambda: ["journald", "json-file", "local", "syslog"])


class Runtime(Document, kw_only=True, rename="camel"):
    """An OCI runtime; `status` (since 1.44) holds what it says of its features."""

    path: str = ""
    runtime_args: list[str] | UnsetType = UNSET
    status: dict[str, str] | UnsetType = UNSET


class Commit(Document, kw_only=True):
    """The commit of a part."""

    id: str = field(default="", name="ID")
    expected: str | UnsetType = UNSET


class FirewallInfo(Document, kw_only=True):
    """Who writes the packet rules."""

    driver: str = ""
    info: list[list[str]] = field(default_factory=list)


class DeviceInfo(Document, kw_only=True):
    """A device that a driver has found."""

    source: str = ""
    id: str = field(default="", name="ID")


class AuthConfig(Document, kw_only=True):
    """The body of `POST /auth`.  Never shown, never logged."""

    username: str = field(default="", name="username")
    password: str = field(default="", name="password")
    email: str = field(default="", name="email")
    auth: str = field(default="", name="auth")
    server_address: str = field(default="", name="serveraddress")
    identity_token: str = field(default="", name="identitytoken")
    registry_token: str = field(default="", name="registrytoken")


class SwarmInfo(Document, kw_only=True):
    """Never active here, but clients look."""

    node_id: str = field(default="", name="NodeID")
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: list[str] | None = None


class IndexInfo(Document, kw_only=True):
    """How one registry is reached."""

    name: str
    mirrors: list[str] = field(default_factory=list)
    secure: bool = True
    official: bool = False


class RegistryConfig(Document, kw_only=True):
    """How registries are reached."""

    insecure_registry_cidrs: list[str] = field(default_factory=list, name="InsecureRegistryCIDRs")
    index_configs: dict[str, IndexInfo] = field(default_factory=dict)
    mirrors: list[str] = field(default_factory=list)


class AddressPool(Document, kw_only=True):
    """A range that networks take subnets from."""

    base: str
    size: int


class Info(Document, kw_only=True):
    """The body of `GET /info`."""

    id: str = field(name="ID")
    containers: int = 0
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    driver: str
    driver_status: list[list[str]] = field(default_factory=list)
    plugins: Plugins = field(default_factory=Plugins)
    memory_limit: bool = False
    swap_limit: bool = False
    kernel_memory: bool | UnsetType = False
    kernel_memory_tcp: bool = field(default=False, name="KernelMemoryTCP")
    cpu_cfs_period: bool = False
    cpu_cfs_quota: bool = False
    cpu_shares: bool = field(default=False, name="CPUShares")
    cpu_set: bool = field(default=False, name="CPUSet")
    pids_limit: bool = False
    oom_kill_disable: bool = False
    ipv4_forwarding: bool = field(default=False, name="IPv4Forwarding")
    bridge_nf_iptables: bool | UnsetType = field(default=False, name="BridgeNfIptables")
    bridge_nf_ip6tables: bool | UnsetType = field(default=False, name="BridgeNfIp6tables")
    debug: bool = False
    n_fd: int = field(default=0, name="NFd")
    oom_kill_event: bool | UnsetType = UNSET
    n_goroutines: int = field(default=0, name="NGoroutines")
    system_time: str
    logging_driver: str = "json-file"
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str = "1"
    n_events_listener: int = field(default=0, name="NEventsListener")
    kernel_version: str
    operating_system: str
    os_version: str = field(default="", name="OSVersion")
    os_type: str = field(default="linux", name="OSType")
    architecture: str
    index_server_address: str = "https://index.docker.io/v1/"
    registry_config: RegistryConfig = field(default_factory=RegistryConfig)
    ncpu: int = field(name="NCPU")
    mem_total: int
    generic_resources: list[str] | None = None
    docker_root_dir: str
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    name: str
    labels: list[str] = field(default_factory=list)
    experimental_build: bool = False
    server_version: str
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    default_runtime: str = ""
    swarm: SwarmInfo = field(default_factory=SwarmInfo)
    live_restore_enabled: bool = True
    isolation: str = ""
    init_binary: str = ""
    containerd_commit: Commit = field(default_factory=Commit)
    runc_commit: Commit = field(default_factory=Commit)
    init_commit: Commit = field(default_factory=Commit)
    security_options: list[str] = field(default_factory=list)
    product_license: str | UnsetType = UNSET
    default_address_pools: list[AddressPool] | UnsetType = UNSET
    firewall_backend: FirewallInfo | UnsetType = UNSET
    discovered_devices: list[DeviceInfo] | UnsetType = UNSET
    cdi_spec_dirs: list[str] | UnsetType = field(default=UNSET, name="CDISpecDirs")
    warnings: list[str] | None = None


class EventActor(Document, kw_only=True):
    """What an event is about."""

    id: str = field(name="ID")
    attributes: dict[str, str] = field(default_factory=dict)


class Event(Document, kw_only=True):
    """One event.  The lower-case fields repeat it for old clients; `event()` fills them."""

    status: str | UnsetType = field(default=UNSET, name="status")
    id: str | UnsetType = field(default=UNSET, name="id")
    from_: str | UnsetType = field(default=UNSET, name="from")
    type: str
    action: str
    actor: EventActor
    scope: str = field(default="local", name="scope")
    time: int = field(name="time")
    time_nano: int = field(name="timeNano")


def event(kind: str, action: str, object_id: str, attributes: dict[str, str], at: int) -> Event:
    """An event at `at` nanoseconds, with the fields for old clients where Docker has them."""
    document = Event(
        type=kind,
        action=action,
        actor=EventActor(id=object_id, attributes=attributes),
        time=at // 10**9,
        time_nano=at,
    )
    if kind in ("container", "image"):
        document.status = action
        document.id = object_id
    if kind == "container" and "image" in attributes:
        document.from_ = attributes["image"]
    return document


class BuildCacheRecord(Document, kw_only=True):
    """One record of the build cache."""

    id: str = field(name="ID")
    parents: list[str] | UnsetType = UNSET
    type: str
    description: str = ""
    in_use: bool = False
    shared: bool = False
    size: int = 0
    created_at: str
    last_used_at: str | None = None
    usage_count: int = 0


class DiskUsage(Document, kw_only=True):
    """The body of `GET /system/df`; null is what was not asked for."""

    layers_size: int = 0
    images: list[ImageSummary] | None = field(default_factory=list)
    containers: list[ContainerSummary] | None = field(default_factory=list)
    volumes: list[Volume] | None = field(default_factory=list)
    build_cache: list[BuildCacheRecord] | None = field(default_factory=list)
    builder_size: int | UnsetType = 0
