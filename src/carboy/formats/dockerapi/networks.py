"""Networks: listing and details of the built-in ones."""

from msgspec import field

from carboy.formats.dockerapi.wire import Document


class IPAMConfig(Document, kw_only=True, omit_defaults=True):
    """One address range."""

    subnet: str = ""
    ip_range: str = field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = field(default_factory=dict)


class IPAM(Document, kw_only=True):
    """How a network hands out addresses."""

    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMConfig] = field(default_factory=list)


class NetworkContainer(Document, kw_only=True):
    """A container on a network."""

    name: str
    endpoint_id: str = field(default="", name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")


class ConfigReference(Document, kw_only=True):
    """The network that another takes its configuration from."""

    network: str = ""


class NetworkCreateRequest(Document, kw_only=True):
    """The body of `POST /networks/create`, as far as it is looked at yet."""

    name: str = ""


class NetworksPruned(Document, kw_only=True):
    """What `POST /networks/prune` removed."""

    networks_deleted: list[str] | None = None


class Network(Document, kw_only=True):
    """One network."""

    name: str
    id: str
    created: str
    scope: str = "local"
    driver: str
    enable_ipv4: bool = field(default=True, name="EnableIPv4")
    enable_ipv6: bool = field(default=False, name="EnableIPv6")
    ipam: IPAM = field(default_factory=IPAM, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    config_only: bool = False
    containers: dict[str, NetworkContainer] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
