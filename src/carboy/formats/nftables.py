"""nf_tables: tables, chains and rules as netlink messages.

A change is a batch: `begin()`, requests, `end()`, sent in one packet; the kernel applies all of
it or nothing.  A rule is a list of expressions, each working on registers; the functions below
make them from the small vocabulary that Carboy's rules use:

    match_interface("iifname", "carboy0")   meta load iifname => reg 1; cmp eq reg 1 "carboy0"
    match_network("saddr", ip, mask)        payload load => reg 1; bitwise; cmp
    match_established()                     ct load state => reg 1; bitwise; cmp neq 0
    verdict(ACCEPT), masquerade(), counter()        maps: `nftmaps.py`

Rules that go into a table that the iptables-nft program owns use only expressions that it can
print (`xt_comment`, `xt_established_or_published`): it refuses to work on a table with anything else in it.
Constants are those of <linux/netfilter/nf_tables.h> and nf_tables_compat.h; numbers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from carboy.errors import Corrupt, InvalidArgument
from carboy.formats.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    Request,
    attribute,
    attribute_list,
    attributes,
    be32,
    be32_of,
    nested,
    text,
    text_of,
)

FAMILY_INET = 1
FAMILY_IPV4 = 2

HOOK_PREROUTING = 0
HOOK_FORWARD = 2
HOOK_OUTPUT = 3
HOOK_POSTROUTING = 4

PRIORITY_RAW = -300
PRIORITY_DSTNAT = -100
PRIORITY_FILTER = 0
PRIORITY_SRCNAT = 100

DROP = 0
ACCEPT = 1
JUMP = -3
RETURN = -5

SUBSYSTEM = 10 << 8
_BATCH_BEGIN = 16
_BATCH_END = 17
NEWTABLE = SUBSYSTEM | 0
_DELTABLE = SUBSYSTEM | 2
NEWCHAIN = SUBSYSTEM | 3
_GETCHAIN = SUBSYSTEM | 4
NEWRULE = SUBSYSTEM | 6
_GETRULE = SUBSYSTEM | 7
_DELRULE = SUBSYSTEM | 8
NEWGEN = SUBSYSTEM | 15
_GETGEN = SUBSYSTEM | 16

_NFGENMSG = struct.Struct(">BBH")
_NAME_MAX = 255

_REGISTER_VERDICT = 0
_REGISTER = 1
_CMP_EQ = 0
_CMP_NEQ = 1
_META_KEYS = {"iifname": 6, "oifname": 7}
_NETWORK_HEADER = 1
_IPV4_OFFSETS = {"saddr": 12, "daddr": 16}
_CT_STATE = 0
_CT_ESTABLISHED_OR_RELATED = 0x2 | 0x4
_XT_CONNTRACK_STATE = 1 << 0
_XT_STATE_DNAT = 0x80
_OWNED = 0x2
_XT_COMMENT_LENGTH = 256
_UDATA_COMMENT = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; hook is -1 for one that is only jumped to."""

    family: int
    table: str
    name: str
    hook: int
    policy: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its handle, its comment in either notation, and its expressions as bytes."""

    family: int
    table: str
    chain: str
    handle: int
    comment: str
    expressions: bytes


# --- messages ---


def request(kind: int, flags: int, body: bytes, what: str, family: int = FAMILY_IPV4) -> Request:
    """A message of this subsystem."""
    return Request(kind, flags, _NFGENMSG.pack(family, 0, 0) + body, what)


def begin() -> Request:
    """Open a batch."""
    return Request(_BATCH_BEGIN, 0, _NFGENMSG.pack(0, 0, 10), "begin a firewall change")


def end() -> Request:
    """Close a batch: the kernel applies it."""
    return Request(_BATCH_END, 0, _NFGENMSG.pack(0, 0, 10), "finish a firewall change")


def name_attribute(kind: int, value: str) -> bytes:
    """The name of a table, chain or map."""
    if not value or len(value.encode()) > _NAME_MAX:
        raise InvalidArgument(f"nf_tables name {value[:64]!r} has to have 1 to {_NAME_MAX} bytes")
    return text(kind, value)


def new_table(table: str, *, owned: bool = False) -> Request:
    """Create an IPv4 table, or leave it as it is.

    An owned one (Linux 5.12) belongs to the netlink socket: nobody else changes or flushes it, and
    it goes with the socket.
    """
    return request(
        NEWTABLE,
        NLM_F_ACK | NLM_F_CREATE,
        name_attribute(1, table) + be32(2, _OWNED if owned else 0),
        f"create table {table}",
    )


def delete_table(table: str) -> Request:
    """Delete an IPv4 table with all that is in it; ENOENT when there is none."""
    return request(_DELTABLE, NLM_F_ACK, name_attribute(1, table), f"delete table {table}")


def new_base_chain(
    table: str, chain: str, *, kind: str, hook: int, priority: int, policy: int = ACCEPT
) -> Request:
    """Create a chain at a hook; kind is "filter" or "nat"."""
    place = nested(4, be32(1, hook), be32(2, priority))
    body = name_attribute(1, table) + name_attribute(3, chain) + place + be32(5, policy) + text(7, kind)
    return request(NEWCHAIN, NLM_F_ACK | NLM_F_CREATE, body, f"create chain {table} {chain}")


def append_rule(table: str, chain: str, *expressions: bytes, comment: str = "") -> Request:
    """Add a rule at the chain's end."""
    return _rule(table, chain, expressions, comment, NLM_F_APPEND)


def insert_rule(table: str, chain: str, *expressions: bytes, comment: str = "") -> Request:
    """Add a rule at the chain's beginning."""
    return _rule(table, chain, expressions, comment, 0)


def _rule(table: str, chain: str, expressions: tuple[bytes, ...], comment: str, place: int) -> Request:
    body = name_attribute(1, table) + name_attribute(2, chain) + nested(4, *expressions)
    if comment:
        body += attribute(7, _user_comment(comment))
    return request(NEWRULE, NLM_F_ACK | NLM_F_CREATE | place, body, f"add rule to {table} {chain}")


def delete_rule(rule: Rule) -> Request:
    """Delete one rule by its handle."""
    body = (
        name_attribute(1, rule.table)
        + name_attribute(2, rule.chain)
        + attribute(3, struct.pack(">Q", rule.handle))
    )
    what = f"delete rule {rule.handle} of {rule.table} {rule.chain}"
    return request(_DELRULE, NLM_F_ACK, body, what, rule.family)


def get_generation() -> Request:
    """Ask for the number that grows with every change of the rules."""
    return request(_GETGEN, NLM_F_ACK, b"", "read the firewall's generation", 0)


def dump_chains() -> Request:
    """Ask for every chain of every table."""
    return request(_GETCHAIN, NLM_F_DUMP, b"", "list firewall chains", 0)


def dump_rules(table: str, chain: str) -> Request:
    """Ask for the rules of one chain of an IPv4 table."""
    body = name_attribute(1, table) + name_attribute(2, chain)
    return request(_GETRULE, NLM_F_DUMP, body, f"list rules of {table} {chain}")


def parse_generation(message: Message) -> int:
    """The number from a NEWGEN."""
    return be32_of(body_of(message).get(1, b""))


def parse_chain(message: Message) -> Chain:
    """A Chain from a NEWCHAIN."""
    found = body_of(message)
    place = attributes(found.get(4, b""))
    return Chain(
        family=message.payload[0],
        table=text_of(found.get(1, b"")),
        name=text_of(found.get(3, b"")),
        hook=be32_of(place[1]) if 1 in place else -1,
        policy=be32_of(found[5]) if 5 in found else ACCEPT,
    )


def parse_rule(message: Message) -> Rule:
    """A Rule from a NEWRULE."""
    found = body_of(message)
    expressions = found.get(4, b"")
    return Rule(
        family=message.payload[0],
        table=text_of(found.get(1, b"")),
        chain=text_of(found.get(2, b"")),
        handle=int.from_bytes(found.get(3, b""), "big"),
        comment=_comment_of(found.get(7, b""), expressions),
        expressions=expressions,
    )


def body_of(message: Message) -> dict[int, bytes]:
    """A message's attributes."""
    if len(message.payload) < _NFGENMSG.size:
        raise Corrupt("nf_tables message is shorter than its header")
    return attributes(message.payload[_NFGENMSG.size :])


# --- expressions ---


def expression(name: str, *data: bytes) -> bytes:
    """One expression of a rule."""
    return nested(1, text(1, name), nested(2, *data))


def compare(value: bytes, operator: int = _CMP_EQ) -> bytes:
    """Compare the first register with a value."""
    return expression("cmp", be32(1, _REGISTER), be32(2, operator), nested(3, attribute(1, value)))


def masked(mask: bytes) -> bytes:
    """Keep the mask's bits of the first register."""
    return expression(
        "bitwise",
        be32(1, _REGISTER),
        be32(2, _REGISTER),
        be32(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(len(mask)))),
    )


def match_interface(key: str, name: str, *, negate: bool = False) -> list[bytes]:
    """Compare the name of the interface that the packet came in by ("iifname") or leaves by ("oifname")."""
    raw = name.encode()
    if not raw or len(raw) > 15:
        raise InvalidArgument(f"interface name {name[:64]!r} has to have 1 to 15 bytes")
    # Sixteen bytes, as the nft program writes them.
    load = expression("meta", be32(2, _META_KEYS[key]), be32(1, _REGISTER))
    return [load, compare(raw.ljust(16, b"\0"), _CMP_NEQ if negate else _CMP_EQ)]


def match_interface_as_iptables(key: str, name: str) -> list[bytes]:
    """The same as iptables-nft writes and reads it: name and zero byte; a final "+" matches any rest."""
    raw = name.encode()
    if not raw or len(raw) > 15:
        raise InvalidArgument(f"interface name {name[:64]!r} has to have 1 to 15 bytes")
    load = expression("meta", be32(2, _META_KEYS[key]), be32(1, _REGISTER))
    return [load, compare(raw[:-1] if name.endswith("+") else raw + b"\0")]


def match_network(field: str, network: bytes, mask: bytes, *, negate: bool = False) -> list[bytes]:
    """Compare the IPv4 source ("saddr") or destination ("daddr") with a network."""
    if len(network) != 4 or len(mask) != 4:
        raise InvalidArgument("an IPv4 network and its mask have four bytes each")
    load = expression(
        "payload", be32(1, _REGISTER), be32(2, _NETWORK_HEADER), be32(3, _IPV4_OFFSETS[field]), be32(4, 4)
    )
    return [load, masked(mask), compare(network, _CMP_NEQ if negate else _CMP_EQ)]


def match_established() -> list[bytes]:
    """Take only packets of connections that exist already, or are related to one."""
    # Connection states are in the machine's byte order: they are flags of the kernel, not of a packet.
    mask = struct.pack("=I", _CT_ESTABLISHED_OR_RELATED)
    load = expression("ct", be32(2, _CT_STATE), be32(1, _REGISTER))
    return [load, masked(mask), compare(bytes(4), _CMP_NEQ)]


def xt_established_or_published() -> list[bytes]:
    """Answers, and what our map sent there: `-m conntrack --ctstate RELATED,ESTABLISHED,DNAT`."""
    # struct xt_conntrack_mtinfo3: eight 16-byte addresses and masks, two times, a protocol and four
    # ports; then match_flags, invert_flags, state_mask, status_mask; padded to a multiple of eight.
    info = bytearray(168)
    struct.pack_into(
        "=HHHH", info, 146, _XT_CONNTRACK_STATE, 0, _CT_ESTABLISHED_OR_RELATED | _XT_STATE_DNAT, 0
    )
    return [expression("match", text(1, "conntrack"), be32(2, 3), attribute(3, bytes(info)))]


def xt_comment(comment: str) -> list[bytes]:
    """A comment that the iptables program shows: `-m comment --comment`."""
    info = comment.encode().ljust(_XT_COMMENT_LENGTH, b"\0")
    if len(info) > _XT_COMMENT_LENGTH or not info.endswith(b"\0"):
        raise InvalidArgument(f"firewall comment of {len(comment)} characters is too long")
    return [expression("match", text(1, "comment"), be32(2, 0), attribute(3, info))]


def counter() -> list[bytes]:
    """Count packets and bytes."""
    return [expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8)))]


def masquerade() -> list[bytes]:
    """Give the packet the address of the interface that it leaves by."""
    return [expression("masq")]


def verdict(code: int, chain: str = "") -> list[bytes]:
    """End with ACCEPT or DROP, or JUMP to a chain."""
    inner = be32(1, code) + (name_attribute(2, chain) if chain else b"")
    return [expression("immediate", be32(1, _REGISTER_VERDICT), nested(2, nested(2, inner)))]


# --- comments ---


def _user_comment(comment: str) -> bytes:
    """User data as the nft program stores a comment: type, length, text with its zero byte."""
    raw = comment.encode() + b"\0"
    if len(raw) > 128:
        raise InvalidArgument(f"firewall comment of {len(comment)} characters is too long")
    return bytes((_UDATA_COMMENT, len(raw))) + raw


def _comment_of(userdata: bytes, expressions: bytes) -> str:
    """The comment of a rule, kept as user data (nft) or as an expression (iptables)."""
    position = 0
    while position + 2 <= len(userdata):
        kind, length = userdata[position], userdata[position + 1]
        if kind == _UDATA_COMMENT:
            return text_of(userdata[position + 2 : position + 2 + length])
        position += 2 + length
    for _, raw in attribute_list(expressions):
        parts = attributes(raw)
        if text_of(parts.get(1, b"")) == "match":
            match = attributes(parts.get(2, b""))
            if text_of(match.get(1, b"")) == "comment":
                return text_of(match.get(3, b""))
    return ""
