"""What the bridge network refuses before it asks the kernel for anything."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from carboy.errors import InvalidArgument
from carboy.network import bridge


@pytest.mark.parametrize("name", ["", "x" * 16, "../etc", "a b", "all", "default", "lo", "a\nb"])
def test_names_of_bridges_are_checked(name: str) -> None:
    with pytest.raises(InvalidArgument):
        bridge.BridgeNetwork(name)


def test_a_mac_address_follows_from_the_address() -> None:
    assert bridge.mac_of(IPv4Address("172.30.0.2")).hex(":") == "02:42:ac:1e:00:02"


def test_mac_addresses_are_parsed() -> None:
    assert bridge.parse_mac("02:42:AC:11:00:02") == bridge.parse_mac("02-42-ac-11-00-02")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:42:ac:11:00",
        "02:42:ac:11:00:0g",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "+2:42:ac:11:00:02",
    ],
)
def test_other_mac_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="MAC"):
        bridge.parse_mac(text)


def test_table_names_are_plain_and_differ() -> None:
    assert bridge.table_name("carboy0") == "carboy_carboy0"
    assert bridge.table_name("cb-1").isidentifier()
    assert bridge.table_name("cb-1") != bridge.table_name("cb_1")
