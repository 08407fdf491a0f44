"""Netlink framing, rtnetlink requests and replies: golden bytes (little-endian) and hostile ones."""

from __future__ import annotations

import random
import struct
import sys

import pytest

from carboy.errors import Corrupt, InvalidArgument
from carboy.formats import netlink, rtnetlink
from carboy.formats.netlink import Message, Request

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are little-endian")


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def test_a_request_is_framed_padded_and_numbered() -> None:
    request = Request(kind=0x10, flags=netlink.NLM_F_ACK, payload=b"abc", what="test")
    assert netlink.encode(request, 7) == raw("13000000 1000 0500 07000000 00000000 616263 00")


def test_attributes_are_padded_but_not_counted_so() -> None:
    assert netlink.text(3, "eth0") == raw("0900 0300 65746830 00 000000")
    assert netlink.u8(8, 1) == raw("0500 0800 01 000000")
    assert netlink.be32(1, -5) == raw("0800 0100 fffffffb")
    assert netlink.nested(18, netlink.u32(1, 5)) == raw("0c00 1280 0800 0100 05000000")


def test_what_is_encoded_is_decoded() -> None:
    requests = [Request(16, 0, b"x" * length, "") for length in range(9)]
    packet = b"".join(netlink.encode(request, number) for number, request in enumerate(requests))
    decoded = netlink.decode(packet)
    assert [message.payload for message in decoded] == [request.payload for request in requests]
    assert [message.sequence for message in decoded] == list(range(9))


@pytest.mark.parametrize(
    "packet",
    [
        "00",
        "10000000 1000",
        "0f000000 1000 0000 00000000 00000000",
        "14000000 1000 0000 00000000 00000000 aabb",
    ],
)
def test_lengths_that_do_not_add_up_are_corrupt(packet: str) -> None:
    with pytest.raises(Corrupt):
        netlink.decode(raw(packet))


@pytest.mark.parametrize("data", ["0300 0100", "0900 0100 aabbccdd"])
def test_attributes_that_do_not_add_up_are_corrupt(data: str) -> None:
    with pytest.raises(Corrupt):
        netlink.attributes(raw(data))


def test_an_acknowledgement_is_errno_zero() -> None:
    ack = Message(netlink.NLMSG_ERROR, netlink.NLM_F_CAPPED, 1, raw("00000000") + bytes(16))
    assert netlink.outcome(ack) == netlink.Outcome(0, "")


def test_an_error_carries_the_kernels_own_words() -> None:
    words = netlink.text(netlink.NLMSGERR_ATTR_MSG, "Nexthop has invalid gateway")
    flags = netlink.NLM_F_CAPPED | netlink.NLM_F_ACK_TLVS
    payload = struct.pack("=i", -22) + bytes(16) + words
    assert netlink.outcome(Message(netlink.NLMSG_ERROR, flags, 1, payload)) == netlink.Outcome(
        22, "Nexthop has invalid gateway"
    )
    echoed = struct.pack("=IHHII", 18, 16, 5, 1, 0) + b"ab\0\0"
    payload = struct.pack("=i", -22) + echoed + words
    flags = netlink.NLM_F_ACK_TLVS
    assert (
        netlink.outcome(Message(netlink.NLMSG_ERROR, flags, 1, payload)).text == "Nexthop has invalid gateway"
    )


def test_random_bytes_are_decoded_or_refused() -> None:
    chance = random.Random(2)
    for _ in range(3000):
        data = chance.randbytes(chance.randrange(80))
        for read in (netlink.decode, netlink.attributes):
            try:
                read(data)
            except Corrupt:
                pass
        for parse in (rtnetlink.parse_link, rtnetlink.parse_address, rtnetlink.parse_route):
            try:
                parse(Message(16, 0, 0, data))
            except Corrupt:
                pass


def test_a_bridge_request() -> None:
    request = rtnetlink.new_bridge("carboy0", mtu=1400)
    assert request.kind == 16
    assert request.flags == 0x604
    assert request.payload == raw(
        "00000000 00000000 00000000 00000000"  # ifinfomsg
        "0c00 0300 636172626f793000"  # IFLA_IFNAME
        "0800 0400 78050000"  # IFLA_MTU
        "1000 1280 0b00 0100 62726964676500 00"  # IFLA_LINKINFO { IFLA_INFO_KIND bridge }
    )


def test_a_veth_request_puts_the_peer_into_the_namespace() -> None:
    request = rtnetlink.new_veth(
        "cvx", peer="eth0", peer_netns_fd=9, master=3, mtu=1500, peer_mac=raw("0242ac1e0002")
    )
    assert request.payload == raw(
        "00000000 00000000 00000000 00000000"
        "0800 0300 63767800"
        "0800 0400 dc050000"
        "0800 0a00 03000000"  # IFLA_MASTER
        "5000 1280 0900 0100 7665746800 000000"  # IFLA_LINKINFO { veth,
        "4000 0280 3c00 0100"  # IFLA_INFO_DATA { VETH_INFO_PEER {
        "00000000 00000000 00000000 00000000"
        "0900 0300 6574683000 000000"
        "0800 0400 dc050000"
        "0a00 0100 0242ac1e0002 0000"
        "0800 1c00 09000000"  # IFLA_NET_NS_FD
    )


def test_an_address_request() -> None:
    request = rtnetlink.new_address(
        2, address=bytes((10, 0, 0, 2)), prefix=16, broadcast=bytes((10, 0, 255, 255))
    )
    assert request.payload == raw(
        "02 10 00 00 02000000 0800 0200 0a000002 0800 0100 0a000002 0800 0400 0a00ffff"
    )
    assert request.what == "add address 10.0.0.2/16 to interface number 2"


def test_a_default_route_request() -> None:
    request = rtnetlink.new_default_route(bytes((10, 0, 0, 1)), oif=2)
    assert request.payload == raw("02 00 00 00 fe 03 00 01 00000000 0800 0500 0a000001 0800 0400 02000000")


def test_a_link_is_read_back() -> None:
    payload = struct.pack("=BxHiII", 0, 1, 4, 0x1043, 0)
    payload += netlink.text(3, "carboy0") + netlink.u32(4, 1400) + netlink.u32(10, 9)
    payload += netlink.attribute(1, raw("0242ac1e0001")) + netlink.nested(18, netlink.text(1, "bridge"))
    link = rtnetlink.parse_link(Message(16, 0, 1, payload))
    assert link == rtnetlink.Link(
        index=4, name="carboy0", kind="bridge", mtu=1400, up=True, master=9, mac=raw("0242ac1e0001")
    )


def test_only_unicast_routes_are_given() -> None:
    def route(kind: int) -> Message:
        return Message(
            24, 0, 1, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, kind, 0) + netlink.u32(4, 2)
        )

    found = rtnetlink.parse_route(route(1))
    assert found is not None
    assert rtnetlink.is_main_table(found)
    assert rtnetlink.parse_route(route(2)) is None


@pytest.mark.parametrize(
    "name", ["", "x" * 16, "a/b", "a b", "..", ".", "a\nb", "a\0b", "é" * 8, "eth0:1", "\udcff" * 3]
)
def test_names_that_the_kernel_refuses_are_invalid(name: str) -> None:
    with pytest.raises(InvalidArgument, match="interface name"):
        rtnetlink.check_name(name)


def test_a_name_of_fifteen_bytes_is_valid() -> None:
    assert rtnetlink.check_name("x" * 15) == "x" * 15


def test_a_mac_address_has_six_bytes() -> None:
    with pytest.raises(InvalidArgument, match="MAC"):
        rtnetlink.new_bridge("b", mac=b"12345")
