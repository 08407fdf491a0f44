"""What a request says twice or against itself; looked at before the image's own settings are added."""

from __future__ import annotations

from ipaddress import ip_address

from carboy.engine.spec.mode import joined, network_id, network_mode
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerapi.containers import CreateRequest, EndpointSettings, HostConfig

NETWORKS = ("bridge", "host", "none")
HOST_GATEWAY = "host-gateway"
_LINKED = "can't be used with links. This would result in undefined behavior"


def check_conflicts(request: CreateRequest) -> list[str]:
    """Raise for options that exclude each other; gives warnings.  Fills in what two places may say."""
    host = request.host_config
    warnings = []
    if request.network_disabled:
        if network_mode(host) != "none":
            host.network_mode = "none"
            warnings.append("NetworkDisabled: the container gets the network mode none.")
        request.network_disabled = False
    host.network_mode = _by_name(host.network_mode)
    _check_namespaces(request, host)
    _check_networks(request, host)
    _check_addresses(host)
    return warnings


def _by_name(mode: str) -> str:
    """A built-in network that was named by its id, by its name."""
    if len(mode) < 12:
        return mode
    return next((name for name in NETWORKS if network_id(name).startswith(mode)), mode)


def _check_namespaces(request: CreateRequest, host: HostConfig) -> None:
    mode = network_mode(host)
    if joined(mode) is not None:
        _check_joined_network(request, host, mode)
    elif mode not in NETWORKS:
        raise NotFound(f"network {mode[:80]} not found")
    if mode == "host" and host.links:
        raise InvalidArgument(f"conflicting options: host type networking {_LINKED}")
    if host.uts_mode == "host" and (request.hostname or request.domainname):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    for value, name, allowed in (
        (host.pid_mode, "PID", ("", "host", "private")),
        (host.ipc_mode, "IPC", ("", "private", "shareable", "none", "host")),
        (host.uts_mode, "UTS", ("", "host", "private")),
        (host.cgroupns_mode, "cgroup namespace", ("", "host", "private")),
        (host.userns_mode, "user namespace", ("", "host")),
    ):
        if value not in allowed and not (joined(value) and name in ("PID", "IPC")):
            raise InvalidArgument(f"invalid {name} mode: {value[:80]}")


def _check_joined_network(request: CreateRequest, host: HostConfig, mode: str) -> None:
    if not joined(mode):
        raise InvalidArgument("invalid container format container:<name|id>")
    if host.links:
        raise InvalidArgument(f"conflicting options: container type network {_LINKED}")
    for given, what in (
        (request.hostname, "hostname and the network mode"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (request.mac_address, "mac-address and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (request.exposed_ports, "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {what}")


def _check_networks(request: CreateRequest, host: HostConfig) -> None:
    mode = network_mode(host)
    endpoints = request.networking_config.endpoints_config
    for name, settings in endpoints.items():
        plain = "bridge" if name == "default" else _by_name(name)
        if plain not in NETWORKS:
            raise NotFound(f"network {name[:80]} not found")
        if plain != mode:
            raise InvalidArgument(
                f"conflicting options: cannot attach to network {name[:80]} in network mode {mode[:80]}"
            )
        _check_endpoint(plain, settings)
        if settings.mac_address:
            if request.mac_address and request.mac_address != settings.mac_address:
                raise InvalidArgument(
                    "the container-wide MAC address must match the endpoint-specific MAC address for the"
                    " main network, or be left empty"
                )
            request.mac_address = settings.mac_address
    if request.mac_address:
        check_mac(request.mac_address)


def _check_endpoint(network: str, settings: EndpointSettings) -> None:
    prefix = f"invalid config for network {network}: invalid endpoint settings:\n"
    wanted = settings.ipam_config
    if wanted is not None:
        for address, kind in ((wanted.ipv4_address, "IPv4"), (wanted.ipv6_address, "IPv6")):
            if address and not _is_address(address):
                raise InvalidArgument(f"{prefix}invalid {kind} address: {address[:80]}")
    if wanted is not None and (wanted.ipv4_address or wanted.ipv6_address):
        raise InvalidArgument(f"{prefix}user specified IP address is supported on user defined networks only")
    if wanted is not None and wanted.link_local_ips:
        raise InvalidArgument(f"{prefix}link-local addresses are supported on user defined networks only")
    if settings.aliases:
        raise InvalidArgument(f"{prefix}network-scoped aliases are only supported for user-defined networks")
    if settings.links:
        raise InvalidArgument(f"{prefix}links belong to HostConfig.Links on the default network")
    if settings.driver_opts:
        raise InvalidArgument(f"{prefix}driver options are supported on user defined networks only")


def check_mac(address: str) -> None:
    """Raise InvalidArgument unless it is an Ethernet address of one machine."""
    parts = address.replace("-", ":").split(":")
    valid = len(parts) == 6 and all(
        len(part) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in part) for part in parts
    )
    if not valid:
        raise InvalidArgument(f"invalid MAC address: {address[:40]}")
    if int(parts[0], 16) & 1:
        raise InvalidArgument(f"invalid MAC address: {address[:40]} is a multicast address")


def _check_addresses(host: HostConfig) -> None:
    for server in host.dns:
        if not _is_address(server):
            raise InvalidArgument(f"bad nameserver address {server[:80]}: not an IP address")
    for text in host.extra_hosts:
        name, found, address = text.partition("=" if "=" in text else ":")
        if not found or not name:
            raise InvalidArgument(f'bad format for add-host: "{text[:80]}"')
        if address != HOST_GATEWAY and not _is_address(address.removeprefix("[").removesuffix("]")):
            raise InvalidArgument(f'invalid IP address in add-host: "{address[:80]}"')


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
