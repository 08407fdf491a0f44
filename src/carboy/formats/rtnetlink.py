"""rtnetlink: the requests about links, addresses and routes that Carboy makes, and their replies.

One function per request, in the kernel's words; constants are those of <linux/rtnetlink.h>,
<linux/if_link.h> and <linux/veth.h>.  Addresses are packed bytes (4 or 16), names are text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from carboy.errors import Corrupt, InvalidArgument
from carboy.formats.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    Request,
    attribute,
    attributes,
    nested,
    text,
    text_of,
    u8,
    u32,
    u32_of,
)

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_GETROUTE = 26

IFF_UP = 0x1

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_AF_SPEC = 26
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5
_IFLA_BRPORT_MODE = 4
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_VETH_INFO_PEER = 1

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4

_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_RTA_TABLE = 15
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RTN_UNICAST = 1

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")

IFNAMSIZ = 16
MAC_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    master: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface."""

    family: int
    index: int
    local: bytes
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route; an empty destination is the default route."""

    family: int
    destination: bytes
    prefix: int
    gateway: bytes
    oif: int
    metric: int
    table: int


def check_name(unsafe_name: str) -> str:
    """The name, if the kernel takes it for an interface; else InvalidArgument."""
    size = len(unsafe_name.encode(errors="surrogateescape"))
    wrong = not unsafe_name or size >= IFNAMSIZ or unsafe_name in (".", "..")
    if wrong or any(c in "/:" or not c.isprintable() or c.isspace() for c in unsafe_name):
        raise InvalidArgument(
            f"interface name {unsafe_name[:64]!r} is not valid: "
            f"it has 1 to {IFNAMSIZ - 1} bytes, without spaces, '/' and ':'"
        )
    return unsafe_name


def _ifinfo(*, index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(AF_UNSPEC, 0, index, flags, change)


def _link_attributes(*, name: str, mtu: int | None, mac: bytes | None) -> bytes:
    parts = text(_IFLA_IFNAME, check_name(name))
    if mtu is not None:
        parts += u32(_IFLA_MTU, mtu)
    if mac is not None:
        if len(mac) != MAC_LENGTH:
            raise InvalidArgument(
                f"MAC address of {len(mac)} bytes for interface {name}: it has {MAC_LENGTH}"
            )
        parts += attribute(_IFLA_ADDRESS, mac)
    return parts


def new_bridge(name: str, *, mtu: int | None = None, mac: bytes | None = None) -> Request:
    """Create a bridge; EEXIST when the name is taken."""
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    payload = _ifinfo() + _link_attributes(name=name, mtu=mtu, mac=mac) + info
    return Request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload, f"create bridge {name}")


def new_veth(
    name: str, *, peer: str, peer_netns_fd: int, master: int, mtu: int, peer_mac: bytes | None = None
) -> Request:
    """Create a veth pair: `name` here, on the bridge `master`; `peer` in another namespace at once.

    Both ends stay down.
    """
    other = (
        _ifinfo() + _link_attributes(name=peer, mtu=mtu, mac=peer_mac) + u32(_IFLA_NET_NS_FD, peer_netns_fd)
    )
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
    )
    payload = _ifinfo() + _link_attributes(name=name, mtu=mtu, mac=None) + u32(_IFLA_MASTER, master) + info
    return Request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload, f"create veth pair {name}")


def _target(index: int, name: str) -> bytes:
    return b"" if index else text(_IFLA_IFNAME, check_name(name))


def _label(index: int, name: str) -> str:
    return name or f"number {index}"


def set_up(*, index: int = 0, name: str = "") -> Request:
    """Bring a link up, found by index or by name."""
    payload = _ifinfo(index=index, flags=IFF_UP, change=IFF_UP) + _target(index, name)
    return Request(RTM_NEWLINK, NLM_F_ACK, payload, f"bring up interface {_label(index, name)}")


def set_mtu(index: int, mtu: int) -> Request:
    """Change a link's MTU."""
    return Request(
        RTM_NEWLINK,
        NLM_F_ACK,
        _ifinfo(index=index) + u32(_IFLA_MTU, mtu),
        f"set MTU of interface number {index}",
    )


def set_no_ipv6_addresses(*, index: int = 0, name: str = "") -> Request:
    """Keep the kernel from giving the link an IPv6 link-local address (to be sent while it is down)."""
    spec = nested(_IFLA_AF_SPEC, nested(AF_INET6, u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)))
    payload = _ifinfo(index=index) + _target(index, name) + spec
    return Request(RTM_NEWLINK, NLM_F_ACK, payload, f"turn off IPv6 addresses of {_label(index, name)}")


def set_hairpin(*, index: int = 0, name: str = "") -> Request:
    """Let the bridge send a packet back to the port that it came from."""
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_SLAVE_KIND, "bridge"),
        nested(_IFLA_INFO_SLAVE_DATA, u8(_IFLA_BRPORT_MODE, 1)),
    )
    payload = _ifinfo(index=index) + _target(index, name) + info
    return Request(RTM_NEWLINK, NLM_F_ACK, payload, f"set hairpin mode of {_label(index, name)}")


def delete_link(*, index: int = 0, name: str = "") -> Request:
    """Delete a link (of a veth pair: both ends)."""
    return Request(
        RTM_DELLINK,
        NLM_F_ACK,
        _ifinfo(index=index) + _target(index, name),
        f"delete interface {_label(index, name)}",
    )


def get_link(name: str) -> Request:
    """Ask for one link by name; the reply is one RTM_NEWLINK, or ENODEV."""
    return Request(RTM_GETLINK, NLM_F_ACK, _ifinfo() + _target(0, name), f"look up interface {name}")


def dump_links() -> Request:
    """Ask for every link."""
    return Request(RTM_GETLINK, NLM_F_DUMP, _ifinfo(), "list interfaces")


def parse_link(message: Message) -> Link:
    """A Link from an RTM_NEWLINK."""
    if len(message.payload) < _IFINFO.size:
        raise Corrupt("netlink link message is shorter than its header")
    _, _, index, flags, _ = _IFINFO.unpack_from(message.payload)
    found = attributes(message.payload[_IFINFO.size :])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=text_of(found.get(_IFLA_IFNAME, b"")),
        kind=text_of(info.get(_IFLA_INFO_KIND, b"")),
        mtu=_number(found, _IFLA_MTU),
        up=bool(flags & IFF_UP),
        master=_number(found, _IFLA_MASTER),
        mac=found.get(_IFLA_ADDRESS, b""),
    )


def new_address(index: int, *, address: bytes, prefix: int, broadcast: bytes | None = None) -> Request:
    """Give a link an IPv4 address; EEXIST when it has it."""
    payload = _IFADDR.pack(AF_INET, prefix, 0, 0, index)
    payload += attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    if broadcast is not None:
        payload += attribute(_IFA_BROADCAST, broadcast)
    shown = ".".join(map(str, address))
    what = f"add address {shown}/{prefix} to interface number {index}"
    return Request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload, what)


def dump_addresses() -> Request:
    """Ask for every IPv4 address."""
    return Request(RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(AF_INET, 0, 0, 0, 0), "list addresses")


def parse_address(message: Message) -> Address:
    """An Address from an RTM_NEWADDR."""
    if len(message.payload) < _IFADDR.size:
        raise Corrupt("netlink address message is shorter than its header")
    family, prefix, _, _, index = _IFADDR.unpack_from(message.payload)
    found = attributes(message.payload[_IFADDR.size :])
    return Address(family, index, found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""), prefix)


def new_default_route(gateway: bytes, *, oif: int) -> Request:
    """Add the IPv4 default route."""
    payload = _ROUTE.pack(AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    payload += attribute(_RTA_GATEWAY, gateway) + u32(_RTA_OIF, oif)
    what = f"add default route by {'.'.join(map(str, gateway))}"
    return Request(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, payload, what)


def dump_routes() -> Request:
    """Ask for every IPv4 route of every table."""
    payload = _ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    return Request(RTM_GETROUTE, NLM_F_DUMP, payload, "list routes")


def parse_route(message: Message) -> Route | None:
    """A Route from an RTM_NEWROUTE; None for what is not unicast (local, broadcast, unreachable)."""
    if len(message.payload) < _ROUTE.size:
        raise Corrupt("netlink route message is shorter than its header")
    family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(message.payload)
    if kind != _RTN_UNICAST:
        return None
    found = attributes(message.payload[_ROUTE.size :])
    return Route(
        family=family,
        destination=found.get(_RTA_DST, b""),
        prefix=prefix,
        gateway=found.get(_RTA_GATEWAY, b""),
        oif=_number(found, _RTA_OIF),
        metric=_number(found, _RTA_PRIORITY),
        table=_number(found, _RTA_TABLE) or table,
    )


def is_main_table(route: Route) -> bool:
    """Whether the route is in the table that every packet uses."""
    return route.table == _RT_TABLE_MAIN


def _number(found: dict[int, bytes], kind: int) -> int:
    return u32_of(found[kind]) if kind in found else 0
