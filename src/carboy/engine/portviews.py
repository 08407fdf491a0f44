"""Ports as the API shows them: of a listing, of inspect, and the filters `publish` and `expose`."""

from __future__ import annotations

from carboy.engine.containers.document import ContainerDocument
from carboy.engine.containers.states import ALIVE
from carboy.engine.spec.check import network_mode
from carboy.engine.spec.ports import PROTOCOLS, parse_port, parse_range
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.dockerapi.containers import Port, PortBinding
from carboy.formats.dockerapi.filters import Filters

FILTERS = ("publish", "expose")


def inspect_ports(document: ContainerDocument) -> dict[str, list[PortBinding] | None]:
    """By port inside: where it is published, None for one that is only exposed."""
    if document.state not in ALIVE or network_mode(document.host) != "bridge":
        return {}
    found: dict[str, list[PortBinding] | None] = dict.fromkeys(
        f"{number}/{protocol}" for number, protocol in _exposed(document)
    )
    for port in document.published:
        key = f"{port.inside}/{port.protocol}"
        bindings = found.get(key) or []
        found[key] = [*bindings, PortBinding(host_ip=port.address, host_port=str(port.outside))]
    return found


def _exposed(document: ContainerDocument) -> list[tuple[int, str]]:
    found = []
    for text in (*document.config.exposed_ports, *document.host.port_bindings):
        try:
            found.append(parse_port(text))
        except CarboyError:  # of a record from before it was checked
            continue
    return sorted(found)


def summary_ports(document: ContainerDocument) -> list[Port]:
    """A line each for a listing."""
    found = []
    for key, bindings in inspect_ports(document).items():
        number, protocol = parse_port(key)
        if not bindings:
            found.append(Port(private_port=number, type=protocol))
        found += [
            Port(private_port=number, type=protocol, public_port=int(binding.host_port), ip=binding.host_ip)
            for binding in bindings or ()
        ]
    return found


def check_filters(filters: Filters) -> None:
    """Raise InvalidArgument for a value that is no port or range of ports."""
    for name in FILTERS:
        for value in filters.get(name):
            _wanted(name, value)


def passes(filters: Filters, document: ContainerDocument) -> bool:
    """Whether a port of the listing is asked for, by `publish` outside or by `expose` inside."""
    if not any(name in filters for name in FILTERS):
        return True
    wanted = {name: [_wanted(name, value) for value in filters.get(name)] for name in FILTERS}
    return any(
        port.type == protocol and number in numbers
        for port in summary_ports(document)
        for name, number in (("publish", port.public_port), ("expose", port.private_port))
        for numbers, protocol in wanted[name]
    )


def _wanted(name: str, unsafe_value: str) -> tuple[range, str]:
    span, slash, protocol = unsafe_value.partition("/")
    if ":" in unsafe_value:
        raise InvalidArgument(f"filter for '{name}' should not contain ':': {unsafe_value[:60]}")
    if not span or (slash and protocol not in PROTOCOLS):
        raise InvalidArgument(f"error while looking up for {name} {unsafe_value[:60]}: it is no port")
    return parse_range(span), protocol if slash else "tcp"
