"""The firewall: one table of our own, and a few marked rules in Docker's documented hook.

    table ip carboy_…                               what it is for
      prerouting  (raw)     from the bridge with 127/8 as source or destination: drop
                            from the bridge with a source outside its subnet: drop
      dstnat, output        to a published port of this machine: to its container (formats/nftmaps.py)
      forward     (filter)  to the bridge from elsewhere: only answers to what containers asked for,
                            and what was sent there by a published port
      postrouting (srcnat)  from the subnet, leaving by another interface: masquerade
                            to a container by a published port, from another container or 127/8: masquerade

nf_tables asks every base chain at a hook; an accept ends one chain only, a drop is final.  So where
another owner's forward chain drops by default, a rule in a table of ours cannot help: Docker's is
overcome in the chain DOCKER-USER, which Docker leaves to others; anybody else's is reported.

Rules can vanish at any time (a firewall reload, a flush).  `ensure()` is made to be called often:
the kernel numbers the generations of its rules, and an unchanged number means that nothing changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from carboy.errors import InvalidArgument, Unavailable
from carboy.formats import conntrack, netlink, nftmaps
from carboy.formats import nftables as nft
from carboy.formats.netlink import Request
from carboy.formats.nftables import Chain, Rule
from carboy.formats.nftmaps import Element
from carboy.network.sockets import NETLINK_NETFILTER, NetlinkError, NetlinkSocket

_ATTEMPTS = 4
_FILTER = "filter"
_LOOPBACK, _LOOPBACK_MASK = bytes((127, 0, 0, 0)), bytes((255, 0, 0, 0))
_DOCKER_USER = "DOCKER-USER"
_DOCKER_BRIDGES = ("docker0", "br-+")
_MAPS = {"published": True, "published_any": False}
"""Our maps, and whether their keys name an address of the machine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `system check` tells the user."""

    severity: str
    """One of "note" (good to know), "warning" (may break something) and "problem" (it is broken)."""
    code: str
    text: str
    hint: str = ""


class Firewall:
    """The rules of one bridge. Not thread-safe: its network calls it under a lock."""

    def __init__(self, *, table: str, bridge: str, subnet: IPv4Network) -> None:
        if not table.isidentifier() or not table.isascii() or len(table) > 64:
            raise InvalidArgument(
                f"firewall table name {table[:64]!r} has to be letters, digits and underscores"
            )
        self.table = table
        self.tag = f"carboy {table}"
        self._bridge = bridge
        self._plan = plan_table(table=table, bridge=bridge, subnet=subnet)
        self._socket = NetlinkSocket(NETLINK_NETFILTER)
        self._seen_generation: int | None = None
        self._elements: dict[str, dict[bytes, Element]] = {name: {} for name in _MAPS}

    def close(self) -> None:
        """Close the socket; the rules stay."""
        self._socket.close()

    def ensure(self) -> None:
        """Put our rules in place where they are missing or changed."""
        for _ in range(_ATTEMPTS):
            generation = self._generation()
            if generation == self._seen_generation:
                return
            if not self._repair():
                self._seen_generation = generation
                return
        raise Unavailable(
            f"firewall table {self.table} does not stay: another program keeps removing its rules"
        )

    def forget_flows(self, elements: Sequence[Element]) -> None:
        """UDP flows go on as they were begun: those of ports that change hands are begun anew."""
        udp = [one for one in elements if one.protocol == "udp"]
        requests = [conntrack.forget_flows_to(one.outside_port, one.outside) for one in udp]
        requests += [conntrack.forget_flows_answered_by(inside) for inside in {one.inside for one in udp}]
        if requests:
            # Without the kernel's part for this, a client that goes on sending waits for its time-out.
            with contextlib.suppress(NetlinkError):
                self._socket.send(*requests)

    def make_guard(self) -> NetlinkSocket:
        """A table that drops 127/8 from the bridge and survives a flush, as long as the socket is open."""
        guard = NetlinkSocket(NETLINK_NETFILTER)
        try:
            guard.transact(*plan_guard(table=f"{self.table}_guard", bridge=self._bridge))
        except BaseException:
            guard.close()
            raise
        return guard

    @property
    def publishes(self) -> bool:
        """Whether any port is published."""
        return any(self._elements.values())

    def publish(self, elements: Sequence[Element]) -> None:
        """Send what arrives for these ports to their containers, from now on and after every repair."""
        changes = self._by_map(elements)
        for name, part in changes.items():
            self._elements[name].update({one.key: one for one in part})
        self._change(nftmaps.add_elements, changes)

    def unpublish(self, elements: Sequence[Element]) -> None:
        """No longer do so; ports that are not published, or by now another container's, are no error."""
        changes = {
            name: [one for one in part if self._elements[name].get(one.key) == one]
            for name, part in self._by_map(elements).items()
        }
        for name, part in changes.items():
            for one in part:
                del self._elements[name][one.key]
        self._change(nftmaps.delete_elements, changes)

    def farewell(self, elements: Sequence[Element]) -> bytes:
        """The packet that takes them out of the maps, for somebody else to send when we are gone."""
        requests = [
            one
            for name, part in self._by_map(elements).items()
            for one in nftmaps.delete_elements(self.table, name, part)
        ]
        batch = (nft.begin(), *requests, nft.end())
        return b"".join(netlink.encode(one, number) for number, one in enumerate(batch, 1))

    def remember(self, elements: Sequence[Element]) -> None:
        """Ports that an earlier daemon has published: the next `ensure` makes it so where it is not."""
        for name, part in self._by_map(elements).items():
            self._elements[name].update({one.key: one for one in part})
        self._seen_generation = None

    @staticmethod
    def _by_map(elements: Sequence[Element]) -> dict[str, list[Element]]:
        return {
            name: [one for one in elements if bool(one.outside) is with_address]
            for name, with_address in _MAPS.items()
        }

    def _change(
        self,
        make: Callable[[str, str, Sequence[Element]], list[Request]],
        changes: dict[str, list[Element]],
    ) -> None:
        requests = [one for name, part in changes.items() for one in make(self.table, name, part)]
        if not requests:
            return
        before = self._seen_generation
        try:
            self._socket.transact(*requests)
        except NetlinkError:
            # Somebody has changed the table: made anew from what is to be in it.
            self._seen_generation = None
            self.ensure()
            return
        if before is not None and self._generation() == before + 1:
            self._seen_generation = before + 1  # nobody but us

    def remove(self) -> None:
        """Take out every rule of ours, wherever it is."""
        self._seen_generation = None
        self._apply(nft.delete_table(self.table), ignore=errno.ENOENT)
        if _has_docker_hook(self._chains()):
            self._remove_from_hook()

    def check(self) -> list[Finding]:
        """What else on this machine decides about our traffic."""
        findings = forward_findings(self._chains(), own=self.table, bridge=self._bridge)
        if _has_legacy_filter():
            findings.append(
                Finding(
                    "warning",
                    "legacy-xtables",
                    "rules of iptables-legacy are loaded; Carboy cannot see or change them, and if "
                    "their FORWARD policy is DROP (Docker sets that) containers have no way out",
                    "switch to iptables-nft, or run: "
                    f"iptables-legacy -I FORWARD -i {self._bridge} -j ACCEPT; "
                    f"iptables-legacy -I FORWARD -o {self._bridge} "
                    "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
                )
            )
        return findings

    def _generation(self) -> int:
        replies = self._socket.send(nft.get_generation())
        return nft.parse_generation(next(m for m in replies if m.kind == nft.NEWGEN))

    def _chains(self) -> list[Chain]:
        replies = self._socket.dump(nft.dump_chains())
        return [nft.parse_chain(m) for m in replies if m.kind == nft.NEWCHAIN]

    def _rules(self, table: str, chain: str) -> list[Rule]:
        try:
            replies = self._socket.dump(nft.dump_rules(table, chain))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return []
            raise
        rules = [nft.parse_rule(m) for m in replies if m.kind == nft.NEWRULE]
        # Kernels differ in whether they filter by chain.
        return [rule for rule in rules if rule.chain == chain and rule.table == table]

    def _repair(self) -> bool:
        """Whether anything had to be changed."""
        changed = False
        if not self._table_is_whole():
            self._apply(*self._plan.requests, *self._all_elements())
            changed = True
        if _has_docker_hook(self._chains()) and not self._hook_is_whole():
            self._remove_from_hook()
            self._apply(*plan_docker_hook(bridge=self._bridge, tag=self.tag))
            changed = True
        return changed

    def _table_is_whole(self) -> bool:
        for chain, count in self._plan.counts.items():
            comments = [rule.comment for rule in self._rules(self.table, chain)]
            if comments != [self._plan.mark] * count:
                return False
        return all(
            self._found_elements(name) == {key: one.value for key, one in self._elements[name].items()}
            for name in _MAPS
        )

    def _all_elements(self) -> list[Request]:
        return [
            one
            for name in _MAPS
            for one in nftmaps.add_elements(self.table, name, list(self._elements[name].values()))
        ]

    def _found_elements(self, name: str) -> dict[bytes, bytes] | None:
        try:
            return nftmaps.parse_elements(self._socket.dump(nftmaps.dump_elements(self.table, name)))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def _hook_is_whole(self) -> bool:
        ours = [rule for rule in self._rules(_FILTER, _DOCKER_USER) if rule.comment == self.tag]
        return len(ours) == len(plan_docker_hook(bridge=self._bridge, tag=self.tag))

    def _remove_from_hook(self) -> None:
        ours = [rule for rule in self._rules(_FILTER, _DOCKER_USER) if rule.comment == self.tag]
        for rule in ours:
            self._apply(nft.delete_rule(rule), ignore=errno.ENOENT)

    def _apply(self, *requests: Request, ignore: int = 0) -> None:
        try:
            self._socket.transact(*requests)
        except NetlinkError as error:
            if error.errno == ignore:
                return
            raise Unavailable(
                f"cannot change firewall table {self.table}: {error.strerror}; "
                "the kernel needs nf_tables with nat, masquerade, fib and connection tracking"
            ) from error


# --- plans: pure ---


@dataclass(frozen=True, slots=True)
class TablePlan:
    """The batch that makes the table, and how to tell later that it is still whole."""

    requests: tuple[Request, ...]
    counts: dict[str, int]
    mark: str
    """The comment of every rule: changes when the rules do."""


def plan_table(*, table: str, bridge: str, subnet: IPv4Network) -> TablePlan:
    """Our table for a bridge; the batch replaces what is there."""
    rules = _rules_of(bridge, subnet)
    told = repr([(chain, expressions) for chain, expressions in rules]).encode()
    mark = f"carboy {zlib.crc32(told):08x}"
    requests = [
        # Made first so that the deletion always finds one: the three together replace it atomically.
        nft.new_table(table),
        nft.delete_table(table),
        nft.new_table(table),
        nft.new_base_chain(
            table, "prerouting", kind="filter", hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_RAW
        ),
        *(
            nftmaps.new_map(table, name, with_address=with_address, number=number)
            for number, (name, with_address) in enumerate(_MAPS.items(), 1)
        ),
        nft.new_base_chain(
            table, "dstnat", kind="nat", hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_DSTNAT
        ),
        nft.new_base_chain(table, "output", kind="nat", hook=nft.HOOK_OUTPUT, priority=nft.PRIORITY_DSTNAT),
        nft.new_base_chain(
            table, "forward", kind="filter", hook=nft.HOOK_FORWARD, priority=nft.PRIORITY_FILTER
        ),
        nft.new_base_chain(
            table, "postrouting", kind="nat", hook=nft.HOOK_POSTROUTING, priority=nft.PRIORITY_SRCNAT
        ),
    ]
    requests += [nft.append_rule(table, chain, *parts, comment=mark) for chain, parts in rules]
    counts = dict.fromkeys(("prerouting", "dstnat", "output", "forward", "postrouting"), 0)
    for chain, _ in rules:
        counts[chain] += 1
    return TablePlan(tuple(requests), counts, mark)


def _rules_of(bridge: str, subnet: IPv4Network) -> list[tuple[str, list[bytes]]]:
    network, mask = subnet.network_address.packed, subnet.netmask.packed
    loopback, loopback_mask = _LOOPBACK, _LOOPBACK_MASK
    incoming = nft.match_interface("iifname", bridge)
    from_elsewhere = nft.match_interface("iifname", bridge, negate=True)
    to_bridge = nft.match_interface("oifname", bridge)
    from_subnet = nft.match_network("saddr", network, mask)
    drop, accept = nft.verdict(nft.DROP), nft.verdict(nft.ACCEPT)
    to_container = [
        nftmaps.send_to_container("published", with_address=True),
        nftmaps.to_the_machine() + nftmaps.send_to_container("published_any", with_address=False),
    ]
    return [
        # Host-only services listen on 127/8: nothing from a container may reach or claim it.
        ("prerouting", incoming + nft.match_network("saddr", loopback, loopback_mask) + drop),
        ("prerouting", incoming + nft.match_network("daddr", loopback, loopback_mask) + drop),
        ("prerouting", incoming + nft.match_network("saddr", network, mask, negate=True) + drop),
        # A port published on 127.0.0.1 is not for neighbours who send us packets for that address.
        ("dstnat", nft.match_network("daddr", loopback, loopback_mask) + nft.verdict(nft.RETURN)),
        *(("dstnat", parts) for parts in to_container),
        *(("output", parts) for parts in to_container),
        ("forward", incoming + accept),
        ("forward", from_elsewhere + to_bridge + nft.match_established() + accept),
        ("forward", from_elsewhere + to_bridge + nftmaps.published() + accept),
        # Other machines on the uplink's network could route to containers directly.
        ("forward", from_elsewhere + to_bridge + drop),
        (
            "postrouting",
            from_subnet + nft.match_interface("oifname", bridge, negate=True) + nft.masquerade(),
        ),
        # A container that reaches another (or itself) by the machine's address must get its answer
        # through the machine; and 127.0.0.1 means somebody else in there.
        ("postrouting", from_subnet + to_bridge + nftmaps.published() + nft.masquerade()),
        (
            "postrouting",
            nft.match_network("saddr", loopback, loopback_mask) + to_bridge + nft.masquerade(),
        ),
    ]


def plan_guard(*, table: str, bridge: str) -> tuple[Request, ...]:
    """The rules without which `route_localnet` would open the machine's loopback to containers."""
    return (
        nft.new_table(table, owned=True),
        nft.new_base_chain(
            table, "prerouting", kind="filter", hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_RAW
        ),
        *(
            nft.append_rule(
                table,
                "prerouting",
                *nft.match_interface("iifname", bridge),
                *nft.match_network(field, _LOOPBACK, _LOOPBACK_MASK),
                *nft.verdict(nft.DROP),
            )
            for field in ("saddr", "daddr")
        ),
    )


def plan_docker_hook(*, bridge: str, tag: str) -> tuple[Request, ...]:
    """Insertions into DOCKER-USER, last rule first.

    Towards Docker's own bridges our traffic goes back to Docker's rules: an accept would open every
    port of its containers to ours.
    """

    def rule(matches: list[bytes], code: int) -> list[bytes]:
        return matches + nft.xt_comment(tag) + nft.counter() + nft.verdict(code)

    incoming = nft.match_interface_as_iptables("iifname", bridge)
    rules = [
        rule(incoming + nft.match_interface_as_iptables("oifname", other), nft.RETURN)
        for other in _DOCKER_BRIDGES
    ]
    rules.append(rule(incoming, nft.ACCEPT))
    rules.append(
        rule(
            nft.match_interface_as_iptables("oifname", bridge) + nft.xt_established_or_published(), nft.ACCEPT
        )
    )
    return tuple(nft.insert_rule(_FILTER, _DOCKER_USER, *parts) for parts in reversed(rules))


def forward_findings(chains: Iterable[Chain], *, own: str, bridge: str) -> list[Finding]:
    """Other owners' forward chains that stop our traffic, or may."""
    known = list(chains)
    findings = []
    for chain in known:
        if not _is_forward(chain) or chain.table == own:
            continue
        if chain.table == "firewalld":
            findings.append(_firewalld_finding(bridge))
        elif chain.policy == nft.DROP and not (_is_docker(chain) and _has_docker_hook(known)):
            findings.append(_policy_finding(chain, bridge))
    return findings


def _is_forward(chain: Chain) -> bool:
    return chain.hook == nft.HOOK_FORWARD and chain.family in (nft.FAMILY_INET, nft.FAMILY_IPV4)


def _is_docker(chain: Chain) -> bool:
    return (chain.family, chain.table, chain.name) == (nft.FAMILY_IPV4, _FILTER, "FORWARD")


def _has_docker_hook(chains: Iterable[Chain]) -> bool:
    wanted = (nft.FAMILY_IPV4, _FILTER, _DOCKER_USER)
    return any((chain.family, chain.table, chain.name) == wanted for chain in chains)


def _firewalld_finding(bridge: str) -> Finding:
    return Finding(
        "warning",
        "firewalld",
        f"firewalld is active and rejects forwarded traffic of {bridge} unless it is in a trusted zone",
        f"firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload",
    )


def _policy_finding(chain: Chain, bridge: str) -> Finding:
    family = "inet" if chain.family == nft.FAMILY_INET else "ip"
    place = f"{family} {chain.table} {chain.name}"
    return Finding(
        "problem",
        "forward-policy",
        f"the firewall chain '{place}' drops forwarded traffic by default, that of {bridge} included",
        f"nft insert rule {place} iifname {bridge} accept; "
        f"nft insert rule {place} oifname {bridge} ct state established,related accept; "
        f"nft insert rule {place} oifname {bridge} ct status dnat accept",
    )


def _has_legacy_filter() -> bool:
    # Per network namespace; missing where the kernel has no xtables, unreadable for ordinary users.
    try:
        fd = os.open("/proc/thread-self/net/ip_tables_names", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return b"filter" in os.read(fd, 4096).split()
    finally:
        os.close(fd)
