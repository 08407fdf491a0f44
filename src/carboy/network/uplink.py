"""The machine's way out: the interface of the default route, its MTU, and the networks in use."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from carboy.formats import rtnetlink
from carboy.formats.rtnetlink import Link, Route
from carboy.network.sockets import NetlinkSocket

FALLBACK_MTU = 1500
_MIN_MTU = 576
"""Every IPv4 host takes packets of this size; a smaller uplink is a strange one."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """The default route's interface; empty name when there is no default route."""

    interface: str
    mtu: int


def find_uplink(sock: NetlinkSocket) -> Uplink:
    """Look at the routes now."""
    links = {link.index: link for link in list_links(sock)}
    return pick_uplink(list_routes(sock), links)


def pick_uplink(routes: list[Route], links: dict[int, Link]) -> Uplink:
    """The interface of the IPv4 default route with the lowest metric."""
    candidates = [
        (route.metric, route.oif)
        for route in routes
        if route.prefix == 0 and rtnetlink.is_main_table(route) and route.oif in links
    ]
    if not candidates:
        return Uplink("", FALLBACK_MTU)
    link = links[min(candidates)[1]]
    return Uplink(link.name, max(link.mtu, _MIN_MTU) if link.mtu else FALLBACK_MTU)


def list_links(sock: NetlinkSocket) -> list[Link]:
    """Every interface of the socket's namespace."""
    replies = sock.dump(rtnetlink.dump_links())
    return [rtnetlink.parse_link(m) for m in replies if m.kind == rtnetlink.RTM_NEWLINK]


def list_routes(sock: NetlinkSocket) -> list[Route]:
    """Every IPv4 unicast route of the socket's namespace."""
    replies = sock.dump(rtnetlink.dump_routes())
    routes = [rtnetlink.parse_route(m) for m in replies if m.kind == rtnetlink.RTM_NEWROUTE]
    return [route for route in routes if route is not None]


def list_addresses(sock: NetlinkSocket) -> list[rtnetlink.Address]:
    """Every IPv4 address of the socket's namespace."""
    replies = sock.dump(rtnetlink.dump_addresses())
    return [rtnetlink.parse_address(m) for m in replies if m.kind == rtnetlink.RTM_NEWADDR]


def networks_in_use(sock: NetlinkSocket, *, except_index: int = 0) -> list[IPv4Network]:
    """The networks that routes and addresses cover, the default route and one interface's own left out."""
    used = [
        IPv4Network((int.from_bytes(route.destination, "big"), route.prefix), strict=False)
        for route in list_routes(sock)
        if route.prefix and len(route.destination) == 4 and (route.oif != except_index or not except_index)
    ]
    used += [
        IPv4Network((int(IPv4Address(address.local)), address.prefix), strict=False)
        for address in list_addresses(sock)
        if len(address.local) == 4 and (address.index != except_index or not except_index)
    ]
    return used
