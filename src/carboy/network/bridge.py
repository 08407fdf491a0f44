"""A bridge network: containers on one bridge, with a way out by NAT.

    container's namespace          the machine's namespace
    eth0 172.30.0.5/16 ────veth──── cv<id><random> ──┐
                                                     carboy0 172.30.0.1/16 ──NAT──▶ uplink
    eth0 172.30.0.6/16 ────veth──── cv<id><random> ──┘

`ensure()` makes the bridge, its sysctls and its firewall table, and repairs them; it is cheap when
nothing is missing, and `connect()` calls the cheapest part of it.  A connection is two packets of
netlink requests, one in each namespace.  The kernel deletes a veth pair when the container's
namespace ends, so that `disconnect` usually has only the address to take back.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from carboy.errors import (
    CarboyError,
    Conflict,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from carboy.formats import rtnetlink
from carboy.formats.netlink import Request
from carboy.formats.nftmaps import Element
from carboy.formats.rtnetlink import Link
from carboy.network import sysctls, uplink
from carboy.network.addresses import AddressPool, choose_subnet
from carboy.network.firewall import Finding, Firewall
from carboy.network.namespace import NamespaceThread
from carboy.network.sockets import NETLINK_ROUTE, NetlinkError, NetlinkSocket

DEFAULT_NAME = "carboy0"
VETH_PREFIX = "cv"

_LOOPBACK_INDEX = 1
_NAME_ATTEMPTS = 3
_RESERVED_NAMES = ("all", "default", "lo")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place on a network; the engine records it to disconnect or restore it later."""

    container_id: str
    interface: str
    address: IPv4Address
    prefix: int
    gateway: IPv4Address
    mac: str
    mtu: int
    host_interface: str


class BridgeNetwork:
    """One bridge with its subnet, addresses and firewall table. Synchronous and thread-safe.

    Without a subnet it takes the one that the bridge has already, else a free one: read `subnet`
    and give it again next time. Nothing exists on the machine before `ensure()`.
    """

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        subnet: IPv4Network | None = None,
        table: str | None = None,
        mtu: int | None = None,
    ) -> None:
        self.name = rtnetlink.check_name(name)
        if name in _RESERVED_NAMES:
            raise InvalidArgument(f"a bridge cannot be called {name!r}")
        if mtu is not None and not 68 <= mtu <= 65535:
            raise InvalidArgument(f"MTU {mtu} of network {name} is not between 68 and 65535")
        self._lock = threading.Lock()
        self._socket = NetlinkSocket(NETLINK_ROUTE)
        self._fixed_mtu = mtu
        self._mtu = mtu or uplink.FALLBACK_MTU
        try:
            self.subnet = subnet or self._find_subnet()
            self.addresses = AddressPool(self.subnet)
            self.gateway = self.addresses.gateway
            self._firewall = Firewall(table=table or table_name(name), bridge=name, subnet=self.subnet)
        except BaseException:
            self._socket.close()
            raise
        self._namespaces = NamespaceThread()
        self._turned_on_forwarding = False
        self._has_uplink = False
        self._localnet = ""

    @property
    def mtu(self) -> int:
        """The MTU that new connections get."""
        return self._mtu

    def close(self) -> None:
        """Give up sockets and the thread; the network stays as it is."""
        self._namespaces.close()
        self._firewall.close()
        self._socket.close()

    def ensure(self) -> None:
        """Make the network, or put back what is missing. Raises Conflict when the name is taken."""
        with self._lock, _Category(f"set up network {self.name}"):
            self._ensure_bridge()
            self._ensure_sysctls()
            self._firewall.ensure()
            self._localnet = ""
            self._route_localnet()

    def connect(
        self,
        netns_fd: int,
        *,
        container_id: str,
        address: IPv4Address | None = None,
        mac: str | None = None,
        interface: str = "eth0",
    ) -> Endpoint:
        """Put an interface into the namespace, addressed and up, with a default route; loopback goes up too.

        The descriptor is one of /proc/PID/ns/net, and stays the caller's. On failure nothing is left.
        """
        rtnetlink.check_name(interface)
        _check_id(container_id)
        wanted_mac = parse_mac(mac) if mac is not None else None
        with self._lock, _Category(f"set up network {self.name}"):
            master = self._ready()
        lent = self.addresses.allocate(container_id, address)
        try:
            endpoint = self._attach(netns_fd, container_id, interface, lent, wanted_mac, master)
        except BaseException:
            self.addresses.release(container_id, lent)
            raise
        return endpoint

    def disconnect(self, endpoint: Endpoint, *, namespace_gone: bool = False) -> None:
        """Take the interface and the address back; again is harmless.

        With `namespace_gone` (the container has ended) the kernel deletes the interface on its own,
        and waiting for that is spared.
        """
        if not namespace_gone:
            with _Category(f"disconnect container {endpoint.container_id[:12]} from network {self.name}"):
                self._socket.send(rtnetlink.delete_link(name=endpoint.host_interface), ignore=(errno.ENODEV,))
        self.addresses.release(endpoint.container_id, endpoint.address)

    def restore(self, records: Iterable[tuple[str, IPv4Address]]) -> list[tuple[str, IPv4Address]]:
        """Take over the addresses of containers that run already; gives those that could not be."""
        return self.addresses.restore(records)

    def publish(self, elements: Sequence[Element], endpoint: Endpoint) -> None:
        """Send what arrives at these ports of the machine to a container of this network."""
        if not elements:
            return
        with self._lock, _Category(f"publish ports on network {self.name}"):
            self._firewall.ensure()
            self._firewall.publish(elements)
            self._firewall.forget_flows(elements)
            self._route_localnet()
            if sysctls.get_sysctl("net/bridge/bridge-nf-call-iptables") == "1":
                # Then the firewall works on frames too: one for the container's own published port
                # is changed before it is routed, and would have to leave by the port it came from.
                self._socket.send(rtnetlink.set_hairpin(name=endpoint.host_interface))

    def make_guard(self) -> NetlinkSocket | None:
        """A socket that keeps containers off 127/8 whatever becomes of our table; None if there is one."""
        try:
            return self._firewall.make_guard()
        except NetlinkError as error:
            if error.errno == errno.EPERM:
                return None  # the table is another socket's: of the same bridge, by its name
            raise Unsupported(f"cannot make a firewall table that stays: {error.strerror}") from error

    def farewell(self, elements: Sequence[Element]) -> bytes:
        """The packet that unpublishes, for the process that holds the ports while no daemon runs."""
        return self._firewall.farewell(elements)

    def unpublish(self, elements: Sequence[Element]) -> None:
        """Take ports back; again is harmless."""
        if not elements:
            return
        with self._lock, _Category(f"take ports back on network {self.name}"):
            self._firewall.unpublish(elements)
            self._firewall.forget_flows(elements)
            self._route_localnet()

    def remember(self, elements: Sequence[Element]) -> None:
        """Ports of containers that run already, as records say; `ensure` puts back what is missing."""
        with self._lock:
            self._firewall.remember(elements)

    def loopback(self, netns_fd: int) -> None:
        """Only bring loopback up in a namespace (network mode `none`)."""
        with (
            _Category("bring up loopback in a container's namespace"),
            self._namespaces.open_socket(netns_fd, NETLINK_ROUTE) as inside,
        ):
            inside.send(rtnetlink.set_up(index=_LOOPBACK_INDEX))

    def remove(self) -> None:
        """Remove bridge, leftover interfaces and firewall rules; again is harmless."""
        with self._lock, _Category(f"remove network {self.name}"):
            links = uplink.list_links(self._socket)
            bridge = next((link for link in links if link.name == self.name and link.kind == "bridge"), None)
            if bridge is not None:
                ports = [
                    link
                    for link in links
                    if link.master == bridge.index and link.name.startswith(VETH_PREFIX)
                ]
                for link in (*ports, bridge):
                    self._socket.send(rtnetlink.delete_link(index=link.index), ignore=(errno.ENODEV,))
            self._firewall.remove()

    def check(self) -> list[Finding]:
        """What stands in the way of this network, or is good to know."""
        with self._lock:
            findings = self._firewall.check()
            out = uplink.find_uplink(self._socket)
            others = uplink.networks_in_use(self._socket, except_index=self._index())
        if not out.interface:
            findings.append(
                Finding(
                    "warning", "no-uplink", "the machine has no default route: containers cannot reach out"
                )
            )
        if sysctls.get_sysctl("net/ipv4/ip_forward") != "1":
            findings.append(
                Finding(
                    "problem",
                    "ip-forward",
                    "IPv4 forwarding is off: containers cannot reach out",
                    "sysctl -w net.ipv4.ip_forward=1",
                )
            )
        elif self._turned_on_forwarding:
            findings.append(
                Finding("note", "ip-forward-on", "Carboy turned IPv4 forwarding on (net.ipv4.ip_forward)")
            )
        findings += [
            Finding(
                "warning",
                "subnet-overlap",
                f"the subnet {self.subnet} of {self.name} overlaps {other}, which the machine uses elsewhere",
                "give the network another subnet",
            )
            for other in sorted(set(others))
            if other.overlaps(self.subnet)
        ]
        return findings

    # --- the machine's side ---

    def _find_subnet(self) -> IPv4Network:
        """The subnet of the bridge as it is, else a free one."""
        index = self._index()
        for address in uplink.list_addresses(self._socket) if index else ():
            if address.index == index and len(address.local) == 4:
                return IPv4Network((int.from_bytes(address.local, "big"), address.prefix), strict=False)
        moved = "" if self.name == DEFAULT_NAME else self.name
        return choose_subnet(uplink.networks_in_use(self._socket), name=moved)

    def _index(self) -> int:
        link = self._get_link()
        return link.index if link is not None else 0

    def _get_link(self) -> Link | None:
        replies = self._socket.send(rtnetlink.get_link(self.name), ignore=(errno.ENODEV,))
        links = [rtnetlink.parse_link(m) for m in replies if m.kind == rtnetlink.RTM_NEWLINK]
        if not links:
            return None
        if links[0].kind != "bridge":
            raise Conflict(
                f"interface {self.name} exists and is not a bridge: remove it, or use another name"
            )
        return links[0]

    def _ready(self) -> int:
        """The bridge's index; made again if something removed it since."""
        link = self._get_link()
        # A daemon may start before the machine's own network does: then the MTU is not known yet.
        unknown_mtu = self._fixed_mtu is None and not self._has_uplink
        if link is None or not link.up or unknown_mtu:
            self._ensure_bridge()
            self._ensure_sysctls()
            link = self._get_link()
            if link is None:
                raise Internal(f"bridge {self.name} vanished while it was being set up")
            self._localnet = ""
        self._firewall.ensure()
        if not self._localnet:
            self._route_localnet()
        return link.index

    def _ensure_bridge(self) -> None:
        if self._fixed_mtu is None:
            out = uplink.find_uplink(self._socket)
            self._mtu = out.mtu
            self._has_uplink = bool(out.interface)
        link = self._get_link()
        if link is None:
            # A fixed MAC: else the bridge takes a port's, and changes it when that container ends.
            mac = mac_of(self.gateway)
            self._socket.send(rtnetlink.new_bridge(self.name, mtu=self._mtu, mac=mac), ignore=(errno.EEXIST,))
            link = self._get_link()
            if link is None:
                raise Internal(f"bridge {self.name} vanished while it was being set up")
            sysctls.disable_ipv6(self.name)
        requests: list[Request] = []
        if link.mtu != self._mtu:
            requests.append(rtnetlink.set_mtu(link.index, self._mtu))
        requests.append(
            rtnetlink.new_address(
                link.index,
                address=self.gateway.packed,
                prefix=self.subnet.prefixlen,
                broadcast=self.subnet.broadcast_address.packed,
            )
        )
        if not link.up:
            requests.append(rtnetlink.set_up(index=link.index))
        self._socket.send(*requests, ignore=(errno.EEXIST,))

    def _ensure_sysctls(self) -> None:
        sysctls.set_sysctl(f"net/ipv6/conf/{self.name}/accept_ra", "0", optional=True)
        sysctls.disable_ipv6(self.name)
        if sysctls.set_sysctl("net/ipv4/ip_forward", "1"):
            self._turned_on_forwarding = True

    def _route_localnet(self) -> None:
        """Connections to 127.0.0.1 may be sent to containers, as long as ports are published.

        Only after the firewall: its table drops what a container sends for 127/8, and without that
        rule containers would reach services that listen on the machine's loopback only.
        """
        wanted = "1" if self._firewall.publishes else "0"
        if wanted != self._localnet:
            sysctls.set_sysctl(f"net/ipv4/conf/{self.name}/route_localnet", wanted)
            self._localnet = wanted

    # --- the container's side ---

    def _attach(
        self,
        netns_fd: int,
        container_id: str,
        interface: str,
        lent: IPv4Address,
        mac: bytes | None,
        master: int,
    ) -> Endpoint:
        mac = mac or mac_of(lent)
        what = f"connect container {container_id[:12]} to network {self.name}"
        with _Category(what):
            name = self._create_veth(netns_fd, container_id, interface, mac, master)
            try:
                self._configure(netns_fd, interface, lent)
            except BaseException:
                self._socket.send(rtnetlink.delete_link(name=name), ignore=(errno.ENODEV,))
                raise
        return Endpoint(
            container_id=container_id,
            interface=interface,
            address=lent,
            prefix=self.subnet.prefixlen,
            gateway=self.gateway,
            mac=mac.hex(":"),
            mtu=self._mtu,
            host_interface=name,
        )

    def _create_veth(self, netns_fd: int, container_id: str, interface: str, mac: bytes, master: int) -> str:
        for attempt in range(_NAME_ATTEMPTS):
            name = f"{VETH_PREFIX}{container_id[:7]}{os.urandom(3).hex()}"
            try:
                self._socket.send(
                    rtnetlink.new_veth(
                        name,
                        peer=interface,
                        peer_netns_fd=netns_fd,
                        master=master,
                        mtu=self._mtu,
                        peer_mac=mac,
                    ),
                    rtnetlink.set_no_ipv6_addresses(name=name),
                    rtnetlink.set_up(name=name),
                    ignore=(errno.EAFNOSUPPORT,),
                )
            except NetlinkError as error:
                if error.errno == errno.EEXIST and attempt + 1 < _NAME_ATTEMPTS:
                    continue
                raise
            return name
        raise Internal("unreachable: the last attempt returns or raises")

    def _configure(self, netns_fd: int, interface: str, lent: IPv4Address) -> None:
        with self._namespaces.open_socket(netns_fd, NETLINK_ROUTE, without_ipv6=interface) as inside:
            replies = inside.send(rtnetlink.get_link(interface))
            index = next(rtnetlink.parse_link(m).index for m in replies if m.kind == rtnetlink.RTM_NEWLINK)
            inside.send(
                rtnetlink.set_up(index=_LOOPBACK_INDEX),
                rtnetlink.new_address(
                    index,
                    address=lent.packed,
                    prefix=self.subnet.prefixlen,
                    broadcast=self.subnet.broadcast_address.packed,
                ),
                rtnetlink.set_up(index=index),
                rtnetlink.new_default_route(self.gateway.packed, oif=index),
            )


_CATEGORIES: dict[int, type[CarboyError]] = {
    errno.EPERM: PermissionDenied,
    errno.EACCES: PermissionDenied,
    errno.EEXIST: Conflict,
    errno.ENODEV: NotFound,
    errno.ENOENT: NotFound,
    errno.EINVAL: InvalidArgument,
    errno.EADDRNOTAVAIL: InvalidArgument,
    errno.EOPNOTSUPP: Unsupported,
    errno.EAFNOSUPPORT: Unsupported,
}


class _Category:
    """Gives a kernel error its category, and says what was being done."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            category = _CATEGORIES.get(error.errno or 0, Internal)
            raise category(f"cannot {self._what}: {error.strerror or error}") from error


def mac_of(address: IPv4Address) -> bytes:
    """A locally administered MAC address that follows from the IPv4 address, as Docker made them."""
    return bytes((0x02, 0x42)) + address.packed


def parse_mac(unsafe_text: str) -> bytes:
    """A hardware address from its text, with colons or dashes; raises InvalidArgument."""
    parts = unsafe_text.replace("-", ":").split(":")
    well_formed = len(parts) == rtnetlink.MAC_LENGTH and all(
        len(part) == 2 and all(c in "0123456789abcdefABCDEF" for c in part) for part in parts
    )
    if not well_formed:
        raise InvalidArgument(f"MAC address {unsafe_text[:64]!r} is not six pairs of hexadecimal digits")
    raw = bytes.fromhex("".join(parts))
    if raw[0] & 1 or not any(raw):
        raise InvalidArgument(
            f"MAC address {unsafe_text!r} cannot be an interface's: it is a group's, or zero"
        )
    return raw


def _check_id(unsafe_id: str) -> None:
    if not unsafe_id.isascii() or not unsafe_id.isalnum():
        raise InvalidArgument(f"container id {unsafe_id[:64]!r} has to be letters and digits")


def table_name(bridge: str) -> str:
    """A table name from the bridge's; one with other characters than letters and digits is hashed."""
    if bridge.isascii() and bridge.isalnum():
        return f"carboy_{bridge}"
    return f"carboy_{zlib.crc32(bridge.encode()):08x}"
