"""nf_tables messages: golden bytes; what goes into iptables-nft's table is byte for byte what it writes."""

from __future__ import annotations

import struct

import pytest

from carboy.errors import Corrupt, InvalidArgument
from carboy.formats import nftables as nft
from carboy.formats.netlink import Message
from support.nft import expressions, new_chain, raw


def test_a_batch_begins_and_ends_with_the_subsystem() -> None:
    assert (nft.begin().kind, nft.begin().payload) == (16, raw("00 00 000a"))
    assert (nft.end().kind, nft.end().payload) == (17, raw("00 00 000a"))


def test_a_table_request() -> None:
    request = nft.new_table("t1")
    assert request.kind == 0x0A00
    assert request.payload == raw("02 00 0000 0700 0100 743100 00 0800 0200 00000000")


def test_a_base_chain_request() -> None:
    request = nft.new_base_chain("t", "c", kind="nat", hook=4, priority=100)
    assert request.payload == raw(
        "02 00 0000 0600 0100 7400 0000 0600 0300 6300 0000"
        "1400 0480 0800 0100 00000004 0800 0200 00000064"
        "0800 0500 00000001 0800 0700 6e617400"
    )


def test_priorities_may_be_negative() -> None:
    request = nft.new_base_chain("t", "c", kind="filter", hook=0, priority=nft.PRIORITY_RAW)
    assert raw("0800 0200 fffffed4") in request.payload


def test_what_iptables_would_write() -> None:
    """Read from the kernel after `iptables-nft -A … -i carboy0 -m conntrack … -m comment … -j ACCEPT`."""
    assert expressions(nft.match_interface_as_iptables("iifname", "carboy0")) == [
        ("meta", {2: raw("00000006"), 1: raw("00000001")}),
        ("cmp", {1: raw("00000001"), 2: raw("00000000"), 3: raw("0c000100636172626f793000")}),
    ]
    name, fields = expressions(nft.xt_established_or_published())[0]
    assert (name, fields[1], fields[2]) == ("match", b"conntrack\0", raw("00000003"))
    assert fields[3] == bytes(146) + raw("0100 0000 8600 0000") + bytes(14)
    name, fields = expressions(nft.xt_comment("carboy x"))[0]
    assert (name, fields[1], fields[2]) == ("match", b"comment\0", raw("00000000"))
    assert fields[3] == b"carboy x".ljust(256, b"\0")
    assert expressions(nft.verdict(nft.ACCEPT)) == [
        ("immediate", {1: raw("00000000"), 2: raw("0c000280 0800 0100 00000001")})
    ]


def test_a_final_plus_matches_any_rest() -> None:
    assert expressions(nft.match_interface_as_iptables("oifname", "br-+"))[1][1][3] == raw(
        "0700 0100 62722d 00"
    )


def test_a_network_match_masks_and_compares() -> None:
    found = expressions(nft.match_network("saddr", raw("ac1e0000"), raw("ffff0000"), negate=True))
    assert [name for name, _ in found] == ["payload", "bitwise", "cmp"]
    assert found[0][1][3] == raw("0000000c")
    assert found[2][1][2] == raw("00000001")


@pytest.mark.parametrize("table", ["", "x" * 256, "a\0b"])
def test_impossible_names_are_refused(table: str) -> None:
    with pytest.raises(InvalidArgument):
        nft.new_table(table)


def test_comments_have_a_limit() -> None:
    with pytest.raises(InvalidArgument):
        nft.append_rule("t", "c", comment="x" * 128)
    with pytest.raises(InvalidArgument):
        nft.xt_comment("x" * 256)


@pytest.mark.parametrize("as_iptables", [True, False])
def test_a_comment_is_found_in_both_notations(as_iptables: bool) -> None:
    parts = nft.xt_comment("carboy t") if as_iptables else nft.verdict(nft.ACCEPT)
    request = nft.append_rule("t", "c", *parts, comment="" if as_iptables else "carboy t")
    rule = nft.parse_rule(Message(nft.NEWRULE, 0, 1, request.payload))
    assert (rule.table, rule.chain, rule.comment) == ("t", "c", "carboy t")


def test_a_chain_is_read_back() -> None:
    request = nft.new_base_chain("filter", "FORWARD", kind="filter", hook=2, priority=0, policy=nft.DROP)
    chain = nft.parse_chain(Message(nft.NEWCHAIN, 0, 1, request.payload))
    assert chain == nft.Chain(family=2, table="filter", name="FORWARD", hook=2, policy=nft.DROP)
    plain = nft.parse_chain(Message(nft.NEWCHAIN, 0, 1, new_chain("filter", "x").payload))
    assert plain.hook == -1


def test_short_messages_are_corrupt() -> None:
    for parse in (nft.parse_chain, nft.parse_rule, nft.parse_generation):
        with pytest.raises(Corrupt):
            parse(Message(nft.NEWRULE, 0, 1, struct.pack("=H", 1)))
    with pytest.raises(Corrupt):
        nft.parse_generation(Message(nft.NEWGEN, 0, 1, bytes(4)))
