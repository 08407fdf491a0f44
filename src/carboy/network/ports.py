"""Published ports: which port of the machine, and sockets that keep it.

Each published port is held by a socket of the machine, so that no other program takes it, and one
that has taken it is noticed at once.  The firewall sends connections to the container before they
come to that socket; what comes to it all the same (IPv6, or a firewall that somebody emptied) is
forwarded by the process that holds the sockets.  See docs/design/0011-published-ports.md.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.nftmaps import Element

EPHEMERAL = range(32768, 61000)
"""Where a port is chosen when none is asked for: Linux' own range for this."""

BACKLOG = 1024
_IPV6_RECVPKTINFO = 49
_IP_PKTINFO = 8

Address = IPv4Address | IPv6Address

ANY4, ANY6 = IPv4Address(0), IPv6Address(0)


@dataclass(frozen=True, slots=True)
class Wish:
    """One port of a container, and where on the machine it is to be: one of `candidates`, if any are given.

    Without an address it is to be on every one, IPv6 where the machine has it.
    """

    protocol: str
    inside_port: int
    address: Address | None = None
    candidates: range = range(0)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that are to be bound, all with one port."""
        return (ANY4, ANY6) if self.address is None else (self.address,)


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the machine that stands for one of a container."""

    protocol: str
    inside_port: int
    address: Address
    port: int

    @property
    def place(self) -> str:
        """`0.0.0.0:8080`, `[::]:8080`."""
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{address}:{self.port}"

    def clashes(self, other: Published) -> bool:
        """Whether both cannot be at once."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        if not same or self.address.version != other.address.version:
            return False
        return self.address == other.address or self.address.is_unspecified or other.address.is_unspecified


@dataclass(slots=True)
class Held:
    """Ports, and the sockets that hold them; `close` lets go of the sockets."""

    ports: list[Published]
    sockets: list[socket.socket]

    def close(self) -> None:
        """Close the sockets here; copies in other processes go on holding the ports."""
        for one in self.sockets:
            one.close()
        self.sockets.clear()


class NotPublished(CarboyError):
    """A port cannot be published: Docker's status for that is 500."""


class InUse(NotPublished):
    """The system refused one port: `wanted` says which, `number` is its errno."""

    def __init__(self, wanted: Published, error: OSError) -> None:
        super().__init__(
            f"failed to bind host port {wanted.place}/{wanted.protocol}: {(error.strerror or '').lower()}"
        )
        self.wanted = wanted
        self.number = error.errno or 0


class PortAllocator:
    """Chooses ports and binds them. Thread-safe: the kernel decides who gets one."""

    def __init__(self, ephemeral: range = EPHEMERAL) -> None:
        self._ephemeral = ephemeral
        self._next = 0
        self._lock = threading.Lock()

    def hold(self, wishes: Iterable[Wish]) -> Held:
        """Bind every wish, or nothing; raises InUse when one cannot be."""
        held = Held([], [])
        try:
            for wish in wishes:
                self._hold(wish, held)
        except BaseException:
            held.close()
            raise
        return held

    def hold_again(self, ports: Iterable[Published]) -> Held:
        """Bind exactly these; those that cannot be are left out."""
        held = Held([], [])
        for port in ports:
            with contextlib.suppress(OSError):
                held.sockets.append(bind(port))
                held.ports.append(port)
        return held

    def _hold(self, wish: Wish, held: Held) -> None:
        failure: InUse | None = None
        for number in wish.candidates or self._ephemeral_from_here():
            try:
                ports, sockets = _bind_all(wish, number)
            except InUse as error:
                failure = failure or error
                if error.number != errno.EADDRINUSE:
                    break
                continue
            held.ports += ports
            held.sockets += sockets
            return
        if failure is None or (len(wish.candidates) != 1 and failure.number == errno.EADDRINUSE):
            # Docker's words; what is in the way of the first one would not help.
            raise NotPublished(f"Bind for {wish.addresses[0]} failed: all ports are allocated") from failure
        raise failure

    def _ephemeral_from_here(self) -> Iterator[int]:
        """Every ephemeral port, each start of a search one further: a port just left rests for a while."""
        for _ in self._ephemeral:
            with self._lock:
                number = self._ephemeral[self._next]
                self._next = (self._next + 1) % len(self._ephemeral)
            yield number


def _bind_all(wish: Wish, number: int) -> tuple[list[Published], list[socket.socket]]:
    ports: list[Published] = []
    sockets: list[socket.socket] = []
    for address in wish.addresses:
        port = Published(wish.protocol, wish.inside_port, address, number)
        try:
            sockets.append(bind(port))
        except OSError as error:
            if ports and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue  # a machine without IPv6, and nobody has asked for it
            for one in sockets:
                one.close()
            raise InUse(port, error) from error
        ports.append(port)
    return ports, sockets


def bind(port: Published) -> socket.socket:
    """A socket that holds one port, ready to be accepted from or received from."""
    version = port.address.version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Connections of an earlier container may linger on the port; a listener still is a conflict.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.bind((str(port.address), port.port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def elements_of(ports: Iterable[Published], container: IPv4Address) -> list[Element]:
    """What the firewall has to know; it does IPv4 only."""
    return [
        Element(
            protocol=port.protocol,
            outside=b"" if port.address.is_unspecified else port.address.packed,
            outside_port=port.port,
            inside=container.packed,
            inside_port=port.inside_port,
        )
        for port in ports
        if port.address.version == 4
    ]


def find_clash(wanted: Published, owners: Sequence[tuple[str, Sequence[Published]]]) -> str | None:
    """The container that has what is wanted."""
    return next((owner for owner, ports in owners if any(wanted.clashes(port) for port in ports)), None)


def parse_address(unsafe_text: str) -> Address | None:
    """An address of the machine to publish on; None for all of them."""
    text = unsafe_text.strip().removeprefix("[").removesuffix("]")
    if not text:
        return None
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid host IP address {unsafe_text[:60]!r} of a published port") from error
