"""nf_tables maps from a published place on the machine to a place in a container, and rules that use them.

    published      daddr . l4proto . dport  →  address . port      one address of the machine
    published_any          l4proto . dport  →  address . port      every address that is the machine's

A look-up costs the same for one port and for a thousand, and an element is named by its key, so
that adding and deleting need no handles.  A key's or value's fields are padded to four bytes each,
and lie in the kernel's 32-bit registers (8 and following are the first one's quarters).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carboy.errors import InvalidArgument
from carboy.formats.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    Request,
    attribute,
    attribute_list,
    attributes,
    be32,
    nested,
)
from carboy.formats.nftables import (
    SUBSYSTEM,
    body_of,
    compare,
    expression,
    masked,
    name_attribute,
    request,
)

_NEWSET = SUBSYSTEM | 9
NEWELEMENT = SUBSYSTEM | 12
_GETELEMENT = SUBSYSTEM | 13
_DELELEMENT = SUBSYSTEM | 14

_IS_MAP = 0x8
_TYPE_ADDRESS, _TYPE_PROTOCOL, _TYPE_PORT = 7, 12, 13
_TYPE_BITS = 6
_ELEMENTS_A_MESSAGE = 256
"""One attribute holds 64 KiB."""

PROTOCOLS = {"tcp": 6, "udp": 17}

_REGISTER = 1
_QUARTER = 8
_META_L4PROTO = 16
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_DADDR_OFFSET, _DPORT_OFFSET = 16, 2
_FIB_ADDRTYPE, _FIB_DADDR = 3, 2
_RTN_LOCAL = 2
_NAT_DST = 1
_FAMILY_IPV4 = 2
_CT_STATUS = 2
_STATUS_DST_NAT = 1 << 5


@dataclass(frozen=True, slots=True)
class Element:
    """One published port: `outside` is empty for every address of the machine."""

    protocol: str
    outside: bytes
    outside_port: int
    inside: bytes
    inside_port: int

    @property
    def key(self) -> bytes:
        """The padded fields of the key."""
        if self.protocol not in PROTOCOLS:
            raise InvalidArgument(f"cannot publish a port of protocol {self.protocol[:20]!r}")
        return self.outside + struct.pack(">B3xH2x", PROTOCOLS[self.protocol], self.outside_port)

    @property
    def value(self) -> bytes:
        """The padded fields of the value."""
        return self.inside + struct.pack(">H2x", self.inside_port)


def _concatenation(*types: int) -> int:
    number = 0
    for one in types:
        number = number << _TYPE_BITS | one
    return number


def new_map(table: str, name: str, *, with_address: bool, number: int) -> Request:
    """Create one of the two maps; `number` tells it apart from others of the same batch."""
    types = [*([_TYPE_ADDRESS] if with_address else []), _TYPE_PROTOCOL, _TYPE_PORT]
    body = (
        name_attribute(1, table)
        + name_attribute(2, name)
        + be32(3, _IS_MAP)
        + be32(4, _concatenation(*types))
        + be32(5, 4 * len(types))
        + be32(6, _concatenation(_TYPE_ADDRESS, _TYPE_PORT))
        + be32(7, 8)
        + be32(10, number)
    )
    return request(_NEWSET, NLM_F_ACK | NLM_F_CREATE, body, f"create map {table} {name}")


def add_elements(table: str, name: str, elements: Sequence[Element]) -> list[Request]:
    """Put elements into a map; one that is there already stays."""
    return _change(NEWELEMENT, NLM_F_CREATE, table, name, elements)


def delete_elements(table: str, name: str, elements: Sequence[Element]) -> list[Request]:
    """Take elements out of a map; ENOENT when one is not there."""
    return _change(_DELELEMENT, 0, table, name, elements)


def _change(kind: int, flags: int, table: str, name: str, elements: Sequence[Element]) -> list[Request]:
    word = "delete" if kind == _DELELEMENT else "add"
    requests = []
    for start in range(0, len(elements), _ELEMENTS_A_MESSAGE):
        part = elements[start : start + _ELEMENTS_A_MESSAGE]
        listed = [
            nested(1, nested(1, attribute(1, one.key)), nested(2, attribute(1, one.value))) for one in part
        ]
        body = name_attribute(1, table) + name_attribute(2, name) + nested(3, *listed)
        requests.append(request(kind, NLM_F_ACK | flags, body, f"{word} elements of map {table} {name}"))
    return requests


def dump_elements(table: str, name: str) -> Request:
    """Ask for a map's elements; ENOENT when there is no such map."""
    body = name_attribute(1, table) + name_attribute(2, name)
    return request(_GETELEMENT, NLM_F_DUMP, body, f"list elements of map {table} {name}")


def parse_elements(messages: Iterable[Message]) -> dict[bytes, bytes]:
    """Keys and values from the answers to `dump_elements`."""
    found = {}
    for message in messages:
        if message.kind != NEWELEMENT:
            continue
        for _, raw in attribute_list(body_of(message).get(3, b"")):
            one = attributes(raw)
            key = attributes(one.get(1, b"")).get(1, b"")
            found[key] = attributes(one.get(2, b"")).get(1, b"")
    return found


def to_the_machine() -> list[bytes]:
    """Take packets for an address of this machine only."""
    load = expression("fib", be32(1, _REGISTER), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_DADDR))
    return [load, compare(struct.pack("=I", _RTN_LOCAL))]


def published() -> list[bytes]:
    """Take connections whose destination a map has changed."""
    load = expression("ct", be32(2, _CT_STATUS), be32(1, _REGISTER))
    flag = struct.pack("=I", _STATUS_DST_NAT)
    return [load, masked(flag), compare(flag)]


def send_to_container(map_name: str, *, with_address: bool) -> list[bytes]:
    """Look the destination up, and change it to what the map says; without an entry the rule ends."""
    first = _QUARTER
    loads = []
    if with_address:
        loads.append(_load(_NETWORK_HEADER, _DADDR_OFFSET, 4, first))
        first += 1
    loads.append(expression("meta", be32(2, _META_L4PROTO), be32(1, first)))
    loads.append(_load(_TRANSPORT_HEADER, _DPORT_OFFSET, 2, first + 1))
    look_up = expression("lookup", name_attribute(1, map_name), be32(2, _REGISTER), be32(3, _REGISTER))
    change = expression(
        "nat", be32(1, _NAT_DST), be32(2, _FAMILY_IPV4), be32(3, _REGISTER), be32(5, _QUARTER + 1)
    )
    return [*loads, look_up, change]


def _load(base: int, offset: int, length: int, register: int) -> bytes:
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))
