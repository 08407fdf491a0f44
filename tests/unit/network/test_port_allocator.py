"""Choosing and binding ports of the machine: real sockets, on loopback."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, ip_address

import pytest

from carboy.errors import InvalidArgument
from carboy.network.ports import (
    EPHEMERAL,
    InUse,
    NotPublished,
    PortAllocator,
    Published,
    Wish,
    elements_of,
    find_clash,
    parse_address,
)

LOOPBACK = IPv4Address("127.0.0.1")


def wish(candidates: range = range(0), protocol: str = "tcp") -> Wish:
    return Wish(protocol, 80, LOOPBACK, candidates)


def published(address: str, port: int, protocol: str = "tcp") -> Published:
    return Published(protocol, 80, ip_address(address), port)


def test_ephemeral_ports_go_round() -> None:
    allocator = PortAllocator(range(47000, 47004))
    seen = []
    for _ in range(8):
        held = allocator.hold([wish()])
        seen.append(held.ports[0].port)
        held.close()
    assert seen == [*range(47000, 47004), *range(47000, 47004)]
    assert (EPHEMERAL[0], EPHEMERAL[-1]) == (32768, 60999)


def test_what_is_in_use_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(InUse, match=f"127.0.0.1:{taken}/tcp: address already in use") as caught:
            PortAllocator().hold([wish(range(taken, taken + 1))])
        assert (caught.value.number, caught.value.status) == (errno.EADDRINUSE, 500)
        with pytest.raises(NotPublished, match="all ports are allocated"):
            PortAllocator(range(taken, taken + 1)).hold([wish()])
        held = PortAllocator().hold([wish(range(taken, min(taken + 50, 65536)))])
        assert held.ports[0].port != taken
        held.close()


def test_all_or_nothing() -> None:
    first = PortAllocator().hold([wish()])
    number = first.ports[0].port
    first.close()
    with pytest.raises(InUse):
        PortAllocator().hold([wish(range(number, number + 1)), wish(range(number, number + 1))])
    socket.create_server(("127.0.0.1", number)).close()


def test_every_address_means_both_kinds_with_one_port() -> None:
    held = PortAllocator().hold([Wish("udp", 53)])
    try:
        assert {port.port for port in held.ports} == {held.ports[0].port}
        assert [str(port.address) for port in held.ports] in (["0.0.0.0", "::"], ["0.0.0.0"])
    finally:
        held.close()


def test_held_again_is_what_can_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = PortAllocator().hold([wish()])
        ports = [*free.ports, published("127.0.0.1", other.getsockname()[1])]
        free.close()
        again = PortAllocator().hold_again(ports)
        assert again.ports == ports[:1]
        again.close()


@pytest.mark.parametrize(
    ("one", "other", "clashes"),
    [
        (published("0.0.0.0", 80), published("127.0.0.1", 80), True),
        (published("127.0.0.1", 80), published("127.0.0.2", 80), False),
        (published("::", 80), published("0.0.0.0", 80), False),
        (published("::", 80), published("::1", 80), True),
        (published("0.0.0.0", 80), published("0.0.0.0", 81), False),
        (published("0.0.0.0", 80), published("0.0.0.0", 80, "udp"), False),
    ],
)
def test_clashes(one: Published, other: Published, clashes: bool) -> None:
    assert one.clashes(other) is other.clashes(one) is clashes
    assert (find_clash(one, [("a", []), ("b", [other])]) == "b") is clashes


def test_the_firewall_is_told_of_ipv4_only() -> None:
    ports = [published("0.0.0.0", 80), published("::", 80), published("192.0.2.1", 81)]
    found = elements_of(ports, IPv4Address("172.30.0.2"))
    assert [(one.outside, one.outside_port) for one in found] == [(b"", 80), (bytes((192, 0, 2, 1)), 81)]


def test_addresses() -> None:
    assert parse_address("") is None
    assert parse_address("[::1]") == ip_address("::1")
    for bad in ("localhost", "1.2.3", "1.2.3.4/8", "::x"):
        with pytest.raises(InvalidArgument, match="invalid host IP address"):
            parse_address(bad)
