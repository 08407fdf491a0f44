"""Choosing subnets and lending addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from carboy.errors import Conflict, InvalidArgument, Unavailable
from carboy.network.addresses import QUARANTINE, SUBNET_POOL, AddressPool, choose_subnet

SUBNET = IPv4Network("10.9.0.0/24")


def address(last: int) -> IPv4Address:
    return SUBNET[last]


def test_the_first_subnet_that_overlaps_nothing_is_chosen() -> None:
    assert choose_subnet([]) == IPv4Network("172.30.0.0/16")
    assert choose_subnet([IPv4Network("172.30.4.0/30")]) == IPv4Network("172.31.0.0/16")
    assert choose_subnet([IPv4Network("172.16.0.0/12")]) == IPv4Network("10.201.0.0/16")


def test_names_start_at_different_places() -> None:
    assert len({choose_subnet([], name=f"cb-{n}") for n in range(20)}) > 5
    assert choose_subnet([], name="cb-1") == choose_subnet([], name="cb-1")


def test_no_free_subnet_is_said() -> None:
    with pytest.raises(Unavailable, match="no free subnet"):
        choose_subnet([IPv4Network("0.0.0.0/0")])


def test_candidates_do_not_overlap_one_another() -> None:
    assert not any(a.overlaps(b) for n, a in enumerate(SUBNET_POOL) for b in SUBNET_POOL[:n])


def test_the_lowest_free_address_is_lent() -> None:
    pool = AddressPool(SUBNET)
    assert pool.gateway == address(1)
    assert [pool.allocate(f"c{n}") for n in range(3)] == [address(2), address(3), address(4)]


def test_a_released_address_is_held_back_for_a_while() -> None:
    pool = AddressPool(SUBNET)
    for turn in range(QUARANTINE + 1):
        lent = pool.allocate("c")
        assert lent == address(2 + turn)
        pool.release("c", lent)
    assert pool.allocate("c") == address(2)


def test_held_back_addresses_are_lent_before_the_network_is_full() -> None:
    pool = AddressPool(IPv4Network("10.9.0.0/29"))
    lent = [pool.allocate("c") for _ in range(5)]
    with pytest.raises(Unavailable, match="no free address"):
        pool.allocate("c")
    pool.release("c", lent[3])
    assert pool.allocate("d") == lent[3]


def test_a_wanted_address_is_lent_once() -> None:
    pool = AddressPool(SUBNET)
    assert pool.allocate("first", address(9)) == address(9)
    assert pool.allocate("first", address(9)) == address(9)
    with pytest.raises(Conflict, match="in use by container first"):
        pool.allocate("second", address(9))
    others = {pool.allocate(f"c{n}") for n in range(20)}
    assert address(9) not in others


@pytest.mark.parametrize("wanted", ["10.9.0.0", "10.9.0.1", "10.9.0.255", "10.9.1.4", "127.0.0.1"])
def test_addresses_that_are_not_to_lend_are_refused(wanted: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be given"):
        AddressPool(SUBNET).allocate("c", IPv4Address(wanted))


def test_only_the_owner_releases() -> None:
    pool = AddressPool(SUBNET)
    lent = pool.allocate("first")
    pool.release("second", lent)
    assert pool.owner(lent) == "first"
    pool.release("first", lent)
    pool.release("first", lent)
    assert pool.owner(lent) is None


def test_restore_takes_over_and_says_what_it_cannot() -> None:
    pool = AddressPool(SUBNET)
    refused = pool.restore(
        [("a", address(2)), ("b", address(2)), ("c", IPv4Address("10.8.0.1")), ("d", address(3))]
    )
    assert refused == [("b", address(2)), ("c", IPv4Address("10.8.0.1"))]
    assert pool.allocate("e") == address(4)


@pytest.mark.parametrize("subnet", ["10.0.0.0/30", "0.0.0.0/0"])
def test_subnets_of_odd_sizes_are_refused(subnet: str) -> None:
    with pytest.raises(InvalidArgument, match="prefix"):
        AddressPool(IPv4Network(subnet))
