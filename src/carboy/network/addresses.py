"""Which subnet a network gets, and which address a container gets.

Pure: what is in use comes as an argument.  An address that was just released is not handed out
again while others are free (`QUARANTINE` of them are held back): connections and caches of other
machines' that still mean the old container would reach the new one.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from carboy.errors import Conflict, InvalidArgument, Unavailable

QUARANTINE = 64

SUBNET_POOL: tuple[IPv4Network, ...] = (
    *(IPv4Network(f"172.{second}.0.0/16") for second in (30, 31, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20)),
    *(IPv4Network(f"10.{second}.0.0/16") for second in range(201, 232)),
    *(IPv4Network(f"192.168.{third}.0/20") for third in range(64, 256, 16)),
)
"""Candidates, in order; Docker's own (172.17 to 172.19 first) come late or not at all."""

_MIN_PREFIX, _MAX_PREFIX = 8, 29


def choose_subnet(
    in_use: Iterable[IPv4Network], *, name: str = "", pool: Sequence[IPv4Network] = SUBNET_POOL
) -> IPv4Network:
    """The first candidate that overlaps nothing in use.

    A name moves the starting point, so that daemons which start at the same moment on one machine
    do not pick the same one.
    """
    taken = list(in_use)
    start = zlib.crc32(name.encode()) % len(pool) if name else 0
    for candidate in (*pool[start:], *pool[:start]):
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    raise Unavailable(
        f"no free subnet for network {name or 'bridge'}: all {len(pool)} candidates overlap a route of this "
        "machine; give one explicitly"
    )


class AddressPool:
    """The addresses of one subnet: the first is the gateway's, the others are lent to containers.

    Thread-safe.  Kept in memory: after a restart the engine's records say who has what (`restore`).
    """

    def __init__(self, subnet: IPv4Network) -> None:
        if not _MIN_PREFIX <= subnet.prefixlen <= _MAX_PREFIX:
            raise InvalidArgument(
                f"subnet {subnet} has to have a prefix from /{_MIN_PREFIX} to /{_MAX_PREFIX}"
            )
        self.subnet = subnet
        self.gateway = subnet[1]
        self._first = int(subnet[2])
        self._last = int(subnet[-2])
        self._owners: dict[int, str] = {}
        self._cursor = self._first
        self._quarantine: deque[int] = deque()
        self._lock = threading.Lock()

    def allocate(self, container_id: str, wanted: IPv4Address | None = None) -> IPv4Address:
        """Lend the wanted address, or the lowest that is free and was not released just now."""
        with self._lock:
            number = self._claim(wanted, container_id) if wanted is not None else self._lowest()
            self._owners[number] = container_id
            return IPv4Address(number)

    def release(self, container_id: str, address: IPv4Address) -> None:
        """Take an address back; does nothing when it is not lent to this container."""
        with self._lock:
            number = int(address)
            if self._owners.get(number) != container_id:
                return
            del self._owners[number]
            self._quarantine.append(number)
            if len(self._quarantine) > QUARANTINE:
                self._free(self._quarantine.popleft())

    def restore(self, records: Iterable[tuple[str, IPv4Address]]) -> list[tuple[str, IPv4Address]]:
        """Take over what is lent already; gives the records that cannot be (outside, or lent twice)."""
        refused = []
        with self._lock:
            for container_id, address in records:
                number = int(address)
                if not self._first <= number <= self._last or number in self._owners:
                    refused.append((container_id, address))
                else:
                    self._owners[number] = container_id
        return refused

    def owner(self, address: IPv4Address) -> str | None:
        """The container that has the address."""
        return self._owners.get(int(address))

    def _claim(self, wanted: IPv4Address, container_id: str) -> int:
        number = int(wanted)
        if not self._first <= number <= self._last:
            raise InvalidArgument(
                f"address {wanted} cannot be given to a container: network {self.subnet} lends "
                f"{IPv4Address(self._first)} to {IPv4Address(self._last)}"
            )
        owner = self._owners.get(number, container_id)
        if owner != container_id:
            raise Conflict(f"address {wanted} is in use by container {owner[:12]}")
        return number

    def _lowest(self) -> int:
        held = set(self._quarantine)
        number = self._cursor
        while number <= self._last and (number in self._owners or number in held):
            number += 1
        if number <= self._last:
            # Below the cursor nothing is free except what is held back.
            self._cursor = number + 1
            return number
        while self._quarantine:
            number = self._quarantine.popleft()
            if number not in self._owners:
                return number
        raise Unavailable(f"network {self.subnet} has no free address: {len(self._owners)} are in use")

    def _free(self, number: int) -> None:
        if number not in self._owners:
            self._cursor = min(self._cursor, number)
