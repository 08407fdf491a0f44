"""Published ports as a client asks for them: ExposedPorts, PortBindings, PublishAllPorts."""

from __future__ import annotations

from carboy.errors import InvalidArgument
from carboy.formats.dockerapi.containers import ContainerConfig, HostConfig, PortBinding
from carboy.network.ports import Wish, parse_address

PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST = 65535


def parse_port(unsafe_port: str) -> tuple[int, str]:
    """`80/tcp` as (80, "tcp"); without a protocol it is TCP."""
    number, slash, protocol = unsafe_port.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS or not _is_port(number):
        raise InvalidArgument(f'invalid port specification: "{unsafe_port[:60]}"')
    return int(number), protocol


def parse_range(unsafe_range: str) -> range:
    """`8080` or `8000-8010`; empty for an ephemeral one, as is 0."""
    if unsafe_range in ("", "0"):
        return range(0)
    first, dash, last = unsafe_range.partition("-")
    ends = (first, last if dash else first)
    if not all(_is_port(end) for end in ends) or int(ends[0]) > int(ends[1]):
        raise InvalidArgument(f'invalid port specification: "{unsafe_range[:60]}"')
    return range(int(ends[0]), int(ends[1]) + 1)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= _LARGEST


def check_ports(config: ContainerConfig, host: HostConfig, *, mode: str) -> list[str]:
    """Raise for what cannot be published; gives the warnings for the client."""
    for port in config.exposed_ports:
        parse_port(port)
    found = wishes(config, host)
    if mode == "host" and (found or host.port_bindings):
        return ["Published ports are discarded when using host network mode"]
    return []


def wishes(config: ContainerConfig, host: HostConfig) -> list[Wish]:
    """Every port to be published, in order of the ports inside."""
    asked: dict[tuple[int, str], list[PortBinding]] = {}
    for port, bindings in host.port_bindings.items():
        asked.setdefault(parse_port(port), []).extend(bindings or [])
    for port in config.exposed_ports if host.publish_all_ports else ():
        number, protocol = parse_port(port)
        if protocol != "sctp":
            bound = asked.setdefault((number, protocol), [])
            bound.extend([] if bound else [PortBinding()])
    return [
        _wish(number, protocol, binding)
        for (number, protocol), bindings in sorted(asked.items())
        for binding in bindings
    ]


def _wish(number: int, protocol: str, binding: PortBinding) -> Wish:
    if protocol == "sctp":
        raise InvalidArgument(
            f"cannot publish port {number}/sctp: SCTP is not supported, only tcp and udp are; "
            "containers reach it by the container's address"
        )
    return Wish(
        protocol=protocol,
        inside_port=number,
        address=parse_address(binding.host_ip),
        candidates=parse_range(binding.host_port),
    )
