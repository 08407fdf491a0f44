"""Netlink framing: messages and attributes, without a socket.

    message    ┌ length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32 ┐ payload, padded to 4
    payload    = a fixed header of the family (ifinfomsg, nfgenmsg, …) + attributes
    attribute  ┌ length u16 │ type u16 ┐ value, padded to 4; a value may hold attributes again

Numbers are in the machine's byte order, except where nf_tables says big-endian.  Written by
hand because a dozen messages are all that Carboy needs: docs/design/0004-network.md.
The families are in `rtnetlink.py` (links, addresses, routes) and `nftables.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from carboy.errors import Corrupt, InvalidArgument

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_MAX_ATTRIBUTE = 0xFFFF


@dataclass(frozen=True, slots=True)
class Request:
    """A message that waits for its sequence number."""

    kind: int
    flags: int
    payload: bytes
    what: str
    """What it does, in words for an error: "create link veth0"."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The kernel's acknowledgement: errno 0 is success; text is its own explanation, if any."""

    errno: int
    text: str


def encode(request: Request, sequence: int) -> bytes:
    """The bytes of a request, padded so that several can follow one another in one packet."""
    length = _HEADER.size + len(request.payload)
    header = _HEADER.pack(length, request.kind, request.flags | NLM_F_REQUEST, sequence, 0)
    return header + request.payload + b"\0" * (-length % 4)


def decode(packet: bytes) -> list[Message]:
    """The messages of one packet; raises Corrupt when lengths do not add up."""
    messages = []
    position = 0
    while position < len(packet):
        if len(packet) - position < _HEADER.size:
            raise Corrupt(f"netlink packet of {len(packet)} bytes ends inside a header at {position}")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(packet, position)
        if length < _HEADER.size or position + length > len(packet):
            raise Corrupt(f"netlink message at {position} claims {length} of {len(packet)} bytes")
        messages.append(Message(kind, flags, sequence, packet[position + _HEADER.size : position + length]))
        position += length + (-length % 4)
    return messages


def outcome(message: Message) -> Outcome:
    """Read an NLMSG_ERROR (which is an acknowledgement when its number is zero) or a NLMSG_DONE."""
    if len(message.payload) < 4:
        if message.kind == NLMSG_DONE:
            return Outcome(0, "")
        raise Corrupt("netlink error message is shorter than its error number")
    number = -struct.unpack_from("=i", message.payload)[0]
    if message.kind != NLMSG_ERROR or not message.flags & NLM_F_ACK_TLVS:
        return Outcome(number, "")
    # The request's header is echoed; its payload too, unless the kernel capped it.
    echoed = _HEADER.size
    if not message.flags & NLM_F_CAPPED and len(message.payload) >= 4 + _HEADER.size:
        echoed = struct.unpack_from("=I", message.payload, 4)[0]
    start = 4 + echoed + (-echoed % 4)
    told = attributes(message.payload[start:]).get(NLMSGERR_ATTR_MSG, b"")
    return Outcome(number, text_of(told))


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    if length > _MAX_ATTRIBUTE:
        raise InvalidArgument(f"netlink attribute {kind} of {len(value)} bytes is too long")
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(inner))


def u8(kind: int, value: int) -> bytes:
    """A byte."""
    return attribute(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """A number in the machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """A number in network byte order, as nf_tables wants them (negative verdicts too)."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def text(kind: int, value: str) -> bytes:
    """A string with its terminating zero byte."""
    raw = value.encode()
    if b"\0" in raw:
        raise InvalidArgument(f"name {value!r} holds a zero byte")
    return attribute(kind, raw + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; of a repeated one the last wins. Raises Corrupt when lengths do not add up."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> list[tuple[int, bytes]]:
    """Attributes in order, for lists whose elements share one type."""
    found = []
    position = 0
    while len(data) - position >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size or position + length > len(data):
            raise Corrupt(f"netlink attribute at {position} claims {length} of {len(data)} bytes")
        found.append((kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]))
        position += length + (-length % 4)
    return found


def text_of(value: bytes) -> str:
    """A string attribute without its terminating zero; odd bytes survive as replacement characters."""
    return value.split(b"\0", 1)[0].decode(errors="replace")


def u32_of(value: bytes) -> int:
    """A number in the machine's byte order."""
    if len(value) != 4:
        raise Corrupt(f"netlink number of {len(value)} bytes, not 4")
    number: int = struct.unpack("=I", value)[0]
    return number


def be32_of(value: bytes) -> int:
    """A number in network byte order."""
    if len(value) != 4:
        raise Corrupt(f"netlink number of {len(value)} bytes, not 4")
    return int.from_bytes(value, "big")
