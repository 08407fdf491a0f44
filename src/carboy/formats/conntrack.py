"""Connection tracking: requests to forget UDP flows that were tracked before a port changed hands.

Constants are those of <linux/netfilter/nfnetlink_conntrack.h>; a deletion with a filter (Linux 5.8)
removes every entry whose original, or answering, direction has the given fields.
"""

from __future__ import annotations

import struct

from carboy.formats.netlink import NLM_F_ACK, Request, attribute, nested, u8, u32

UDP = 17

_SUBSYSTEM = 1 << 8
_DELETE = 2
_FAMILY_IPV4 = 2

_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_FILTER = 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_V4_SRC, _IP_V4_DST = 1, 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_HAS_IP_SRC, _HAS_IP_DST, _HAS_PROTO_NUM, _HAS_DST_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 5


def forget_flows_to(port: int, address: bytes = b"") -> Request:
    """Forget UDP flows to a port, of one address or any: they know nothing of a new container."""
    flags = _HAS_PROTO_NUM | _HAS_DST_PORT | (_HAS_IP_DST if address else 0)
    place = nested(_TUPLE_IP, attribute(_IP_V4_DST, address)) if address else b""
    number = attribute(_PROTO_DST_PORT, struct.pack(">H", port))
    tuple_ = nested(_TUPLE_ORIG, place, nested(_TUPLE_PROTO, u8(_PROTO_NUM, UDP), number))
    return _forget(tuple_ + nested(_FILTER, u32(_FILTER_ORIG_FLAGS, flags)), f"port {port}")


def forget_flows_answered_by(container: bytes) -> Request:
    """Forget UDP flows that a container has answered: they would go on being sent to its address."""
    flags = _HAS_PROTO_NUM | _HAS_IP_SRC
    place = nested(_TUPLE_IP, attribute(_IP_V4_SRC, container))
    tuple_ = nested(_TUPLE_REPLY, place, nested(_TUPLE_PROTO, u8(_PROTO_NUM, UDP)))
    return _forget(tuple_ + nested(_FILTER, u32(_FILTER_REPLY_FLAGS, flags)), "a container")


def _forget(body: bytes, what: str) -> Request:
    header = struct.pack(">BBH", _FAMILY_IPV4, 0, 0)
    return Request(_SUBSYSTEM | _DELETE, NLM_F_ACK, header + body, f"forget the flows to {what}")
