"""Maps of published ports: golden bytes, as `nft --debug=netlink` tells them, and what is read back."""

from __future__ import annotations

import pytest

from carboy.errors import InvalidArgument
from carboy.formats import conntrack, nftmaps
from carboy.formats.netlink import Message, attributes
from carboy.formats.nftmaps import Element
from support.nft import expressions, raw

TCP = Element("tcp", b"", 8080, bytes((172, 30, 0, 2)), 80)
UDP = Element("udp", bytes((127, 0, 0, 1)), 53, bytes((172, 30, 0, 3)), 5353)


def test_keys_and_values_are_padded_fields() -> None:
    assert (TCP.key, TCP.value) == (raw("06000000 1f900000"), raw("ac1e0002 00500000"))
    assert (UDP.key, UDP.value) == (raw("7f000001 11000000 00350000"), raw("ac1e0003 14e90000"))
    with pytest.raises(InvalidArgument, match="sctp"):
        _ = Element("sctp", b"", 1, bytes(4), 1).key


def test_elements_come_back_as_they_were_sent() -> None:
    for name, elements in (("published", [UDP]), ("published_any", [TCP])):
        (request,) = nftmaps.add_elements("t", name, elements)
        answer = Message(nftmaps.NEWELEMENT, 0, 1, request.payload)
        assert nftmaps.parse_elements([answer]) == {one.key: one.value for one in elements}


def test_many_elements_take_several_messages() -> None:
    many = [Element("tcp", b"", number, bytes(4), 1) for number in range(1, 1001)]
    requests = nftmaps.add_elements("t", "published_any", many)
    assert len(requests) == 4
    answers = [Message(nftmaps.NEWELEMENT, 0, 1, request.payload) for request in requests]
    assert len(nftmaps.parse_elements(answers)) == 1000


def test_a_map_says_the_lengths_of_key_and_value() -> None:
    for with_address, length in ((True, 12), (False, 8)):
        request = nftmaps.new_map("t", "m", with_address=with_address, number=1)
        fields = attributes(request.payload[4:])
        assert int.from_bytes(fields[5], "big") == length
        assert int.from_bytes(fields[7], "big") == 8


def test_the_rule_looks_up_and_changes() -> None:
    names = [name for name, _ in expressions(nftmaps.send_to_container("m", with_address=True))]
    assert names == ["payload", "meta", "payload", "lookup", "nat"]
    found = expressions(nftmaps.send_to_container("m", with_address=False))
    assert [name for name, _ in found] == ["meta", "payload", "lookup", "nat"]
    # The address is in the first quarter of the register, the port in the second.
    assert (found[-1][1][3], found[-1][1][5]) == (raw("00000001"), raw("00000009"))


def test_flows_are_forgotten_by_the_fields_that_are_given() -> None:
    wide = attributes(conntrack.forget_flows_to(53).payload[4:])
    narrow = attributes(conntrack.forget_flows_to(53, bytes((127, 0, 0, 1))).payload[4:])
    assert attributes(wide[25])[1] == (0b101000).to_bytes(4, "little")
    assert attributes(narrow[25])[1] == (0b101010).to_bytes(4, "little")
    answered = attributes(conntrack.forget_flows_answered_by(bytes((172, 30, 0, 2))).payload[4:])
    assert attributes(answered[25])[2] == (0b1001).to_bytes(4, "little")
