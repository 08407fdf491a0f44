"""UDP: each sender gets a socket towards the container, and its answers back from the same port.

Answers leave with the address that the request came to (the ancillary data of the kernel's
packet information is sent back as it came): a machine has several, and clients compare.
"""

from __future__ import annotations

import time
from _socket import (
    AF_INET,
    IPPROTO_IP,
    IPPROTO_IPV6,
    MSG_DONTWAIT,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
)
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.runtime.monitor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.runtime.monitor.loop import Loop, Timer

    Ancillary = list[tuple[int, int, bytes]]

IDLE = 90.0
"""Seconds without a datagram after which a sender is forgotten."""

MOST = 512
"""Senders of one port: beyond it the one that was silent longest is forgotten."""

_LARGEST = 65536
_BURST = 64
_KINDS = ((IPPROTO_IP, 8), (IPPROTO_IPV6, 50))
"""IP_PKTINFO and IPV6_PKTINFO."""


class Flow:
    """One sender."""

    __slots__ = ("ancillary", "sender", "socket", "used")

    def __init__(self, sender: Any, socket: Socket) -> None:
        self.sender = sender
        self.socket = socket
        self.ancillary: Ancillary = []
        self.used = 0.0


class Datagrams:
    """One held UDP port and those who send to it."""

    __slots__ = ("_flows", "_loop", "_socket", "_target", "_timer")

    def __init__(self, loop: Loop, socket: Socket, target: tuple[str, int]) -> None:
        self._loop = loop
        self._socket = socket
        self._target = target
        self._flows: dict[Any, Flow] = {}
        self._timer: Timer | None = None
        loop.watch(socket.fileno(), READ, self._inward)

    def close(self) -> None:
        """Free the port."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for flow in list(self._flows.values()):
            self._forget(flow)
        if self._timer is not None:
            self._timer.cancel()

    def _inward(self, _events: int) -> None:
        for _ in range(_BURST):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(_LARGEST, 128, MSG_DONTWAIT)
            except OSError:
                return
            try:
                flow = self._flows.get(sender) or self._begin(sender)
                flow.ancillary = [one for one in ancillary if one[:2] in _KINDS]
                flow.used = time.monotonic()
                flow.socket.send(data, MSG_DONTWAIT)
            except OSError:
                continue  # nobody listens inside, or no descriptors are left: as a network would lose it

    def _begin(self, sender: Any) -> Flow:
        if len(self._flows) >= MOST:
            self._forget(min(self._flows.values(), key=lambda flow: flow.used))
        socket = Socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            socket.connect(self._target)
        except OSError:
            socket.close()
            raise
        flow = self._flows[sender] = Flow(sender, socket)
        self._loop.watch(socket.fileno(), READ, lambda _events: self._outward(flow))
        if self._timer is None:
            self._timer = self._loop.later(IDLE, self._sweep)
        return flow

    def _outward(self, flow: Flow) -> None:
        for _ in range(_BURST):
            try:
                data = flow.socket.recv(_LARGEST, MSG_DONTWAIT)
            except OSError:
                return
            flow.used = time.monotonic()
            try:
                self._socket.sendmsg([data], flow.ancillary, MSG_DONTWAIT, flow.sender)
            except OSError:
                continue

    def _sweep(self) -> None:
        self._timer = None
        oldest = time.monotonic() - IDLE
        for flow in [flow for flow in self._flows.values() if flow.used <= oldest]:
            self._forget(flow)
        if self._flows:
            self._timer = self._loop.later(IDLE, self._sweep)

    def _forget(self, flow: Flow) -> None:
        self._flows.pop(flow.sender, None)
        self._loop.forget(flow.socket.fileno())
        flow.socket.close()
