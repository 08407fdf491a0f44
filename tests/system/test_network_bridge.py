"""The bridge network on the real kernel, in namespaces that the tests make.

container ──veth── carboy0 [machine: forwards, NAT] up0 ──veth── out0 [outside: a server]
                                 198.51.100.1               198.51.100.2
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from carboy.errors import Conflict, InvalidArgument, NotFound
from carboy.formats import nftables as nft
from carboy.formats import rtnetlink
from carboy.formats.netlink import Request
from carboy.network import uplink
from carboy.network.bridge import BridgeNetwork, Endpoint
from carboy.network.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket
from support.netns import Netns
from support.nft import new_chain

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]

UPLINK_ADDRESS = IPv4Address("198.51.100.1")
OUTSIDE_ADDRESS = IPv4Address("198.51.100.2")
UPLINK_MTU = 1400
LONG = 5.0
SHORT = 0.3


class World:
    """A machine with an uplink to an outside; both are empty namespaces."""

    def __init__(self) -> None:
        self.machine = Netns()
        self.outside = Netns()
        self.containers: list[Netns] = []
        self.networks: list[BridgeNetwork] = []
        self.add_uplink()

    def add_uplink(self) -> None:
        """Join machine and outside; the machine's default route goes there."""
        with self.route_socket(self.machine) as here, self.route_socket(self.outside) as there:
            # Not on a bridge: the request for one with a master of 0 means none.
            here.send(
                rtnetlink.new_veth(
                    "up0", peer="out0", peer_netns_fd=self.outside.fd, master=0, mtu=UPLINK_MTU
                )
            )
            self._configure(here, "up0", UPLINK_ADDRESS, gateway=OUTSIDE_ADDRESS)
            self._configure(there, "out0", OUTSIDE_ADDRESS, gateway=None)

    @staticmethod
    def route_socket(namespace: Netns) -> NetlinkSocket:
        return namespace.run(lambda: NetlinkSocket(NETLINK_ROUTE))

    @staticmethod
    def _configure(
        sock: NetlinkSocket, name: str, address: IPv4Address, *, gateway: IPv4Address | None
    ) -> None:
        link = rtnetlink.parse_link(sock.send(rtnetlink.get_link(name))[0])
        requests = [
            rtnetlink.set_up(index=1),
            rtnetlink.new_address(link.index, address=address.packed, prefix=24),
            rtnetlink.set_up(index=link.index),
        ]
        if gateway is not None:
            requests.append(rtnetlink.new_default_route(gateway.packed, oif=link.index))
        sock.send(*requests)

    def network(self, name: str = "carboy0", **options: object) -> BridgeNetwork:
        made = self.machine.run(lambda: BridgeNetwork(name, **options))  # type: ignore[arg-type] # test's own
        self.networks.append(made)
        self.machine.run(made.ensure)
        return made

    def container(self) -> Netns:
        self.containers.append(Netns())
        return self.containers[-1]

    def connect(self, network: BridgeNetwork, namespace: Netns, name: str = "c1") -> Endpoint:
        return self.machine.run(lambda: network.connect(namespace.fd, container_id=name))

    def links(self, namespace: Netns) -> dict[str, rtnetlink.Link]:
        with self.route_socket(namespace) as sock:
            return {link.name: link for link in uplink.list_links(sock)}

    def firewall(self, *requests: Request) -> None:
        with self.machine.run(lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
            sock.transact(*requests)

    def rules(self, table: str, chain: str) -> list[nft.Rule]:
        with self.machine.run(lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
            replies = sock.dump(nft.dump_rules(table, chain))
        return [nft.parse_rule(m) for m in replies if m.kind == nft.NEWRULE]

    def tables_with_chains(self) -> set[str]:
        with self.machine.run(lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
            return {nft.parse_chain(m).table for m in sock.dump(nft.dump_chains()) if m.kind == nft.NEWCHAIN}

    def close(self) -> None:
        for network in self.networks:
            network.close()
        for namespace in (*self.containers, self.machine, self.outside):
            namespace.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


def reach(
    client: Netns, server: Netns, address: IPv4Address, *, source: str = "", timeout: float = LONG
) -> str:
    """Open a TCP connection from one namespace to another; what the server sees as the client's address."""

    def listen() -> socket.socket:
        return socket.create_server((str(address), 0))

    with server.run(listen) as listener, client.run(lambda: socket.socket()) as sock:
        sock.settimeout(timeout)
        listener.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.connect((str(address), listener.getsockname()[1]))
        accepted, peer = listener.accept()
        accepted.close()
        return str(peer[0])


def docker_like_rules(*, with_hook: bool) -> list[Request]:
    """What a running Docker leaves in `ip filter`: a forward policy of DROP, and a chain for others."""
    requests = [
        nft.new_table("filter"),
        nft.new_base_chain(
            "filter", "FORWARD", kind="filter", hook=nft.HOOK_FORWARD, priority=0, policy=nft.DROP
        ),
    ]
    if with_hook:
        requests += [
            new_chain("filter", "DOCKER-USER"),
            nft.append_rule("filter", "FORWARD", *nft.verdict(nft.JUMP, "DOCKER-USER")),
            nft.append_rule("filter", "DOCKER-USER", *nft.verdict(nft.RETURN)),
        ]
    return requests


def test_a_container_reaches_the_outside_as_the_machine(world: World) -> None:
    network = world.network()
    container = world.container()
    endpoint = world.connect(network, container)
    assert reach(container, world.outside, OUTSIDE_ADDRESS) == str(UPLINK_ADDRESS)
    assert endpoint.gateway == network.gateway == network.subnet[1]
    assert endpoint.address == network.subnet[2]


def test_the_container_is_configured_as_the_endpoint_says(world: World) -> None:
    network = world.network()
    container = world.container()
    endpoint = world.connect(network, container)
    links = world.links(container)
    assert links["lo"].up
    assert links["eth0"].up
    assert links["eth0"].mtu == endpoint.mtu == UPLINK_MTU
    assert links["eth0"].mac.hex(":") == endpoint.mac
    assert (
        world.links(world.machine)[endpoint.host_interface].master
        == world.links(world.machine)["carboy0"].index
    )


def test_an_uplink_that_comes_later_gives_its_mtu(world: World) -> None:
    with world.route_socket(world.machine) as sock:
        sock.send(rtnetlink.delete_link(name="up0"))
    network = world.network()
    assert network.mtu == 1500
    assert "no-uplink" in {finding.code for finding in world.machine.run(network.check)}
    world.add_uplink()
    assert world.connect(network, world.container()).mtu == UPLINK_MTU


def test_a_network_without_ipv6_gives_no_ipv6_address(world: World) -> None:
    network = world.network()
    container = world.container()
    world.connect(network, container)

    def addresses() -> list[str]:
        return [line.split()[-1] for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()]

    assert set(container.run(addresses)) == {"lo"}
    assert set(world.machine.run(addresses)) <= {"lo", "up0"}


def test_containers_reach_each_other_and_the_machine(world: World) -> None:
    network = world.network()
    first, second = world.container(), world.container()
    source = world.connect(network, first, "c1")
    target = world.connect(network, second, "c2")
    assert reach(first, second, target.address) == str(source.address)
    assert reach(first, world.machine, network.gateway) == str(source.address)
    assert reach(world.machine, first, source.address) == str(network.gateway)


def test_a_container_cannot_use_an_address_that_is_not_the_networks(world: World) -> None:
    network = world.network()
    container = world.container()
    world.connect(network, container)
    with world.route_socket(container) as sock:
        index = world.links(container)["eth0"].index
        sock.send(rtnetlink.new_address(index, address=bytes((203, 0, 113, 7)), prefix=32))
    with pytest.raises(TimeoutError):
        reach(container, world.machine, network.gateway, source="203.0.113.7", timeout=SHORT)


def test_the_outside_cannot_reach_into_the_network(world: World) -> None:
    network = world.network()
    container = world.container()
    endpoint = world.connect(network, container)
    with world.route_socket(world.outside) as sock:
        sock.send(
            rtnetlink.new_default_route(UPLINK_ADDRESS.packed, oif=world.links(world.outside)["out0"].index)
        )
    with pytest.raises(TimeoutError):
        reach(world.outside, container, endpoint.address, timeout=SHORT)


def test_a_drop_policy_of_docker_is_overcome_in_its_hook(world: World) -> None:
    network = world.network()
    container = world.container()
    world.connect(network, container)
    world.firewall(*docker_like_rules(with_hook=True))
    with pytest.raises(TimeoutError):
        reach(container, world.outside, OUTSIDE_ADDRESS, timeout=SHORT)
    for _ in range(3):
        world.machine.run(network.ensure)
    assert reach(container, world.outside, OUTSIDE_ADDRESS) == str(UPLINK_ADDRESS)
    comments = [rule.comment for rule in world.rules("filter", "DOCKER-USER")]
    assert comments == ["carboy carboy_carboy0"] * 4 + [""]
    # A namespace starts with the machine's ip_forward, which may be on already.
    assert {finding.code for finding in world.machine.run(network.check)} <= {"ip-forward-on"}


@pytest.mark.skipif(shutil.which("iptables-nft") is None, reason="the iptables-nft program is not installed")
def test_the_iptables_program_can_read_what_we_put_into_its_table(world: World) -> None:
    def iptables(*words: str) -> str:
        command = ["iptables-nft", *words]
        done = world.machine.run(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
        return done.stdout

    iptables("-N", "DOCKER-USER")
    iptables("-A", "DOCKER-USER", "-j", "RETURN")
    world.network()
    comment = '-m comment --comment "carboy carboy_carboy0"'
    assert iptables("-S", "DOCKER-USER").splitlines() == [
        "-N DOCKER-USER",
        f"-A DOCKER-USER -i carboy0 -o docker0 {comment} -j RETURN",
        f"-A DOCKER-USER -i carboy0 -o br-+ {comment} -j RETURN",
        f"-A DOCKER-USER -i carboy0 {comment} -j ACCEPT",
        f"-A DOCKER-USER -o carboy0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {comment} -j ACCEPT",
        "-A DOCKER-USER -j RETURN",
    ]


def test_the_next_connection_repairs_what_docker_did_after_us(world: World) -> None:
    network = world.network()
    world.firewall(*docker_like_rules(with_hook=True))
    container = world.container()
    world.connect(network, container)
    assert reach(container, world.outside, OUTSIDE_ADDRESS) == str(UPLINK_ADDRESS)


def test_another_owners_drop_policy_is_reported(world: World) -> None:
    network = world.network()
    world.firewall(*docker_like_rules(with_hook=False))
    findings = {finding.code: finding for finding in world.machine.run(network.check)}
    assert "ip filter FORWARD" in findings["forward-policy"].text
    assert "nft insert rule ip filter FORWARD" in findings["forward-policy"].hint


def test_ensure_puts_back_rules_and_bridge_that_were_removed(world: World) -> None:
    network = world.network()
    container = world.container()
    world.firewall(nft.delete_table("carboy_carboy0"))
    with world.route_socket(world.machine) as sock:
        sock.send(rtnetlink.delete_link(name="carboy0"))
    world.connect(network, container)
    assert reach(container, world.outside, OUTSIDE_ADDRESS) == str(UPLINK_ADDRESS)


def test_a_partly_emptied_table_is_made_whole(world: World) -> None:
    network = world.network()
    rule = world.rules("carboy_carboy0", "forward")[-1]
    world.firewall(nft.delete_rule(rule))
    world.machine.run(network.ensure)
    assert len(world.rules("carboy_carboy0", "forward")) == 4


def test_remove_leaves_nothing(world: World) -> None:
    world.firewall(*docker_like_rules(with_hook=True))
    network = world.network()
    world.connect(network, world.container())
    world.machine.run(network.remove)
    world.machine.run(network.remove)
    assert {name for name in world.links(world.machine) if name.startswith(("cv", "carboy"))} == set()
    assert world.tables_with_chains() == {"filter"}
    assert [rule.comment for rule in world.rules("filter", "DOCKER-USER")] == [""]


def test_two_networks_choose_different_subnets(world: World) -> None:
    first, second = world.network("carboy0"), world.network("cb-12345678")
    assert not first.subnet.overlaps(second.subnet)
    container = world.container()
    world.connect(second, container)
    assert reach(container, world.outside, OUTSIDE_ADDRESS) == str(UPLINK_ADDRESS)


def test_a_network_takes_over_the_subnet_of_its_bridge(world: World) -> None:
    first = world.network("cb-1", subnet=IPv4Network("10.77.0.0/24"))
    assert world.network("cb-1").subnet == first.subnet


def test_disconnect_is_idempotent_and_frees_the_address(world: World) -> None:
    network = world.network()
    container = world.container()
    endpoint = world.connect(network, container)
    for _ in range(2):
        world.machine.run(lambda: network.disconnect(endpoint))
    assert set(world.links(container)) == {"lo"}
    assert network.addresses.owner(endpoint.address) is None


def test_a_failed_connection_leaves_nothing(world: World) -> None:
    network = world.network()
    container = world.container()
    endpoint = world.connect(network, container)
    before = set(world.links(world.machine))
    with pytest.raises(Conflict):
        world.connect(network, container, "again")
    assert set(world.links(world.machine)) == before
    assert network.addresses.owner(IPv4Address(int(endpoint.address) + 1)) is None


def test_a_descriptor_that_is_no_namespace_is_refused(world: World, tmp_path: object) -> None:
    network = world.network()
    fd = os.open(str(tmp_path), os.O_RDONLY)
    try:
        with pytest.raises((InvalidArgument, NotFound)):
            world.machine.run(lambda: network.connect(fd, container_id="c1"))
    finally:
        os.close(fd)


def test_a_name_that_is_taken_by_another_kind_of_interface_is_refused(world: World) -> None:
    with pytest.raises(Conflict, match="not a bridge"):
        world.network("up0")


def test_loopback_alone(world: World) -> None:
    network = world.network()
    container = world.container()
    world.machine.run(lambda: network.loopback(container.fd))
    assert world.links(container)["lo"].up


def test_many_connect_at_once(world: World) -> None:
    network = world.network()
    containers = [world.container() for _ in range(16)]

    def connect(item: tuple[int, Netns]) -> Endpoint:
        return world.connect(network, item[1], f"c{item[0]}")

    with ThreadPoolExecutor(8) as pool:
        endpoints = list(pool.map(connect, enumerate(containers)))
    assert len({endpoint.address for endpoint in endpoints}) == 16
    assert all(world.links(container)["eth0"].up for container in containers)


def test_a_refused_request_says_what_it_was(world: World) -> None:
    def refused(request: Request) -> Callable[[], object]:
        return lambda: sock.send(request)

    with (
        world.route_socket(world.machine) as sock,
        pytest.raises(NetlinkError, match="look up interface nope") as caught,
    ):
        refused(rtnetlink.get_link("nope"))()
    assert caught.value.errno == errno.ENODEV
