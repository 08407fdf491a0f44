"""Containers: what a client asks for, and what it is shown."""

from msgspec import UNSET, UnsetType, field

from carboy.formats.dockerapi.wire import Document, Empty, StrSlice


class HealthConfig(Document, kw_only=True):
    """A health check; durations in nanoseconds, 0 means inherit."""

    test: StrSlice = field(default_factory=list)
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(Document, kw_only=True):
    """What does not depend on the host: the part of a container that `commit` puts into an image."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Empty] = field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = field(default_factory=list)
    cmd: StrSlice | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Empty] = field(default_factory=dict)
    working_dir: str = ""
    entrypoint: StrSlice | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: StrSlice | None = None


class LogConfig(Document, kw_only=True):
    """The log driver and its options."""

    type: str = ""
    config: dict[str, str] = field(default_factory=dict)


class PortBinding(Document, kw_only=True):
    """Where on the host a container's port is published."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Document, kw_only=True):
    """When a container that ended is started again."""

    name: str = ""
    maximum_retry_count: int = 0


class DeviceMapping(Document, kw_only=True):
    """A device of the host, seen inside the container."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Document, kw_only=True):
    """A wish for devices by driver and capability (GPUs)."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] = field(default_factory=list, name="DeviceIDs")
    capabilities: list[list[str]] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)


class ThrottleDevice(Document, kw_only=True):
    """A limit of input and output for one device."""

    path: str = ""
    rate: int = 0


class WeightDevice(Document, kw_only=True):
    """A weight of input and output for one device."""

    path: str = ""
    weight: int = 0


class Ulimit(Document, kw_only=True):
    """One resource limit."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class BindOptions(Document, kw_only=True, omit_defaults=True):
    """Options of a bind mount."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriverConfig(Document, kw_only=True, omit_defaults=True):
    """The driver of a volume that a mount makes."""

    name: str = ""
    options: dict[str, str] = field(default_factory=dict)


class VolumeOptions(Document, kw_only=True, omit_defaults=True):
    """Options of a volume mount."""

    no_copy: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    driver_config: VolumeDriverConfig | None = None
    subpath: str = ""


class ImageOptions(Document, kw_only=True, omit_defaults=True):
    """Options of an image mount."""

    subpath: str = ""


class TmpfsOptions(Document, kw_only=True, omit_defaults=True):
    """Options of a tmpfs mount."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = field(default_factory=list)


class Mount(Document, kw_only=True, omit_defaults=True):
    """A mount as `--mount` asks for it; `type` is bind, volume, tmpfs, image, npipe or cluster."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class Resources(Document, kw_only=True):
    """The limits of a container and its devices: what `update` takes too.

    None where "not given" differs from zero, empty or false.
    """

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] = field(default_factory=list)
    blkio_device_read_bps: list[ThrottleDevice] = field(default_factory=list)
    blkio_device_write_bps: list[ThrottleDevice] = field(default_factory=list)
    blkio_device_read_iops: list[ThrottleDevice] = field(default_factory=list, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] = field(default_factory=list, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] = field(default_factory=list)
    device_cgroup_rules: list[str] = field(default_factory=list)
    device_requests: list[DeviceRequest] = field(default_factory=list)
    kernel_memory: int = 0
    kernel_memory_tcp: int = field(default=0, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] = field(default_factory=list)
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = field(default=0, name="IOMaximumBandwidth")


class HostConfig(Resources, kw_only=True):
    """What depends on the host: resources, mounts, isolation, lifetime."""

    binds: list[str] = field(default_factory=list)
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding]] = field(default_factory=dict)
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] = field(default_factory=list)
    console_size: list[int] = field(default_factory=lambda: [0, 0])
    annotations: dict[str, str] = field(default_factory=dict)
    cap_add: StrSlice = field(default_factory=list)
    cap_drop: StrSlice = field(default_factory=list)
    cgroupns_mode: str = ""
    dns: list[str] = field(default_factory=list)
    dns_options: list[str] = field(default_factory=list)
    dns_search: list[str] = field(default_factory=list)
    extra_hosts: list[str] = field(default_factory=list)
    group_add: list[str] = field(default_factory=list)
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] = field(default_factory=list)
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = field(default_factory=list)
    storage_opt: dict[str, str] = field(default_factory=dict)
    tmpfs: dict[str, str] = field(default_factory=dict)
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = field(default_factory=dict)
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] = field(default_factory=list)
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class EndpointIPAMConfig(Document, kw_only=True, omit_defaults=True):
    """The addresses asked for on a network."""

    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")
    link_local_ips: list[str] = field(default_factory=list, name="LinkLocalIPs")


class EndpointSettings(Document, kw_only=True):
    """A container's place on one network: asked for, and as it is."""

    ipam_config: EndpointIPAMConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = field(default=None, name="DNSNames")


class NetworkingConfig(Document, kw_only=True):
    """The networks asked for, by name."""

    endpoints_config: dict[str, EndpointSettings] = field(default_factory=dict)


class CreateRequest(ContainerConfig, kw_only=True):
    """The body of `POST /containers/create`: a ContainerConfig and two neighbours.

    `unknown_fields` is filled by the API: what the client sent and no type here knows.
    """

    host_config: HostConfig = field(default_factory=HostConfig)
    networking_config: NetworkingConfig = field(default_factory=NetworkingConfig)
    unknown_fields: list[str] = field(default_factory=list, name="carboy.unknown")

    def container_config(self) -> ContainerConfig:
        """The plain configuration, without the neighbours."""
        return ContainerConfig(**{name: getattr(self, name) for name in ContainerConfig.__struct_fields__})


class CreateResponse(Document, kw_only=True):
    """The new container's id, and what the user should know."""

    id: str
    warnings: list[str] = field(default_factory=list)


class WaitError(Document, kw_only=True):
    """Why waiting failed."""

    message: str


class WaitResponse(Document, kw_only=True):
    """How a container ended."""

    status_code: int
    error: WaitError | UnsetType = UNSET


class Port(Document, kw_only=True):
    """A port in a listing."""

    private_port: int
    type: str
    public_port: int | UnsetType = UNSET
    ip: str | UnsetType = field(default=UNSET, name="IP")


class MountPoint(Document, kw_only=True):
    """A mount as it is."""

    type: str
    name: str | UnsetType = UNSET
    source: str = ""
    destination: str = ""
    driver: str | UnsetType = UNSET
    mode: str = ""
    rw: bool = field(default=True, name="RW")
    propagation: str = ""


class SummaryHostConfig(Document, kw_only=True):
    """The part of the host configuration that a listing shows."""

    network_mode: str = ""
    annotations: dict[str, str] | UnsetType = UNSET


class SummaryNetworkSettings(Document, kw_only=True):
    """The networks that a listing shows."""

    networks: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerSummary(Document, kw_only=True):
    """One container in a listing; `created` in seconds, names with their leading slash."""

    id: str
    names: list[str]
    image: str
    image_id: str = field(name="ImageID")
    command: str
    created: int
    ports: list[Port] = field(default_factory=list)
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    labels: dict[str, str] = field(default_factory=dict)
    state: str
    status: str
    host_config: SummaryHostConfig = field(default_factory=SummaryHostConfig)
    network_settings: SummaryNetworkSettings = field(default_factory=SummaryNetworkSettings)
    mounts: list[MountPoint] = field(default_factory=list)


class HealthcheckResult(Document, kw_only=True):
    """One run of a health check."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(Document, kw_only=True):
    """The health of a container: starting, healthy, unhealthy, none."""

    status: str
    failing_streak: int = 0
    log: list[HealthcheckResult] = field(default_factory=list)


class ContainerState(Document, kw_only=True):
    """Where a container is in its life; times as RFC 3339, `times.ZERO_TIME` for never."""

    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = field(default=False, name="OOMKilled")
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str
    finished_at: str
    health: Health | UnsetType = UNSET


class GraphDriver(Document, kw_only=True):
    """How a root filesystem is stored."""

    name: str
    data: dict[str, str] | None = None


class NetworkSettings(Document, kw_only=True):
    """A container's network as it is; the addresses at this level are those of the default bridge."""

    bridge: str = ""
    sandbox_id: str = field(default="", name="SandboxID")
    sandbox_key: str = ""
    ports: dict[str, list[PortBinding] | None] = field(default_factory=dict)
    hairpin_mode: bool = False
    link_local_ipv6_address: str = field(default="", name="LinkLocalIPv6Address")
    link_local_ipv6_prefix_len: int = field(default=0, name="LinkLocalIPv6PrefixLen")
    secondary_ip_addresses: list[str] | None = field(default=None, name="SecondaryIPAddresses")
    secondary_ipv6_addresses: list[str] | None = field(default=None, name="SecondaryIPv6Addresses")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    mac_address: str = ""
    networks: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerInspect(Document, kw_only=True):
    """Everything about one container; `name` has its leading slash, `image` is the image's id."""

    id: str
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    log_path: str = ""
    name: str
    restart_count: int = 0
    driver: str = ""
    platform: str = "linux"
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = field(default=None, name="ExecIDs")
    host_config: HostConfig
    graph_driver: GraphDriver
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    mounts: list[MountPoint] = field(default_factory=list)
    config: ContainerConfig
    network_settings: NetworkSettings
