"""The firewall's plans, and what it says of other owners' chains."""

from __future__ import annotations

from ipaddress import IPv4Network

from carboy.formats import nftables as nft
from carboy.formats.nftables import Chain
from carboy.formats.rtnetlink import Link, Route
from carboy.network.firewall import forward_findings, plan_docker_hook, plan_table
from carboy.network.uplink import FALLBACK_MTU, Uplink, pick_uplink

SUBNET = IPv4Network("172.30.0.0/16")


def chain(table: str = "filter", name: str = "FORWARD", **fields: int) -> Chain:
    return Chain(
        family=fields.get("family", nft.FAMILY_IPV4),
        table=table,
        name=name,
        hook=fields.get("hook", nft.HOOK_FORWARD),
        policy=fields.get("policy", nft.DROP),
    )


def codes(*chains: Chain) -> list[str]:
    return [finding.code for finding in forward_findings(chains, own="carboy_x", bridge="carboy0")]


def test_the_mark_changes_with_the_rules() -> None:
    plan = plan_table(table="t", bridge="carboy0", subnet=SUBNET)
    again = plan_table(table="t", bridge="carboy0", subnet=SUBNET)
    other = plan_table(table="t", bridge="carboy0", subnet=IPv4Network("172.31.0.0/16"))
    assert plan == again
    assert plan.mark != other.mark


def test_the_plan_replaces_the_table_in_one_batch() -> None:
    plan = plan_table(table="t", bridge="carboy0", subnet=SUBNET)
    assert [request.what for request in plan.requests[:3]] == [
        "create table t",
        "delete table t",
        "create table t",
    ]
    assert sum(plan.counts.values()) == sum("add rule" in request.what for request in plan.requests)


def test_the_hook_gets_few_rules() -> None:
    assert len(plan_docker_hook(bridge="carboy0", tag="carboy t")) == 4


def test_a_forward_policy_of_drop_is_a_finding() -> None:
    assert codes(chain()) == ["forward-policy"]
    assert codes(chain(family=nft.FAMILY_INET, table="mine")) == ["forward-policy"]


def test_dockers_policy_is_none_when_its_hook_is_there() -> None:
    hook = chain(name="DOCKER-USER", hook=-1)
    assert codes(chain(), hook) == []
    assert codes(chain(), hook, chain(table="other")) == ["forward-policy"]


def test_what_does_not_concern_us_is_no_finding() -> None:
    assert codes(chain(policy=nft.ACCEPT), chain(family=10), chain(hook=1), chain(table="carboy_x")) == []


def test_firewalld_is_a_finding() -> None:
    assert codes(chain(table="firewalld", policy=nft.ACCEPT, family=nft.FAMILY_INET)) == ["firewalld"]


def route(oif: int, metric: int = 0, prefix: int = 0, table: int = 254) -> Route:
    return Route(2, b"", prefix, bytes(4), oif, metric, table)


def test_the_uplink_is_the_default_route_of_lowest_metric() -> None:
    links = {n: Link(n, f"eth{n}", "", 1400 + n, up=True, master=0, mac=b"") for n in (1, 2, 3)}
    routes = [route(1, 100), route(2, 50), route(3, 0, prefix=24), route(3, 0, table=99)]
    assert pick_uplink(routes, links) == Uplink("eth2", 1402)
    assert pick_uplink([], links) == Uplink("", FALLBACK_MTU)
    assert pick_uplink([route(9)], links) == Uplink("", FALLBACK_MTU)
