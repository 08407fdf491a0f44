"""Netlink sockets: batches of requests to the kernel, and what it answers.

The kernel works through a packet while `send` runs and queues every answer before `send`
returns (a dump goes on while we receive): so reading never blocks, and an answer that is
missing is an error at once, not a hang.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Sequence

from carboy.errors import Internal, Unavailable, Unsupported
from carboy.formats import netlink, nftables
from carboy.formats.netlink import Message, Request

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_RECEIVE_BYTES = 256 * 1024
_BUFFER_BYTES = 1024 * 1024
_DUMP_ATTEMPTS = 8


class NetlinkError(OSError):
    """The kernel refused a request: errno as usual, and `request`, what it was to do."""

    def __init__(self, number: int, text: str, request: str) -> None:
        super().__init__(number, f"{request}: {text or os.strerror(number)}")
        self.request = request


class NetlinkSocket:
    """One netlink socket; it belongs to the network namespace of the thread that made it, for good.

    Calls from several threads take turns.
    """

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        except OSError as error:
            raise Unsupported(
                f"cannot open a netlink socket (protocol {protocol}): {error.strerror}; "
                "networks need a kernel with rtnetlink and nf_tables"
            ) from error
        self._socket.setblocking(False)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket; later requests fail."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to be passed on."""
        return self._socket.fileno()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def send(self, *requests: Request, ignore: Sequence[int] = ()) -> list[Message]:
        """Do the requests in order; give what the kernel answered.

        All are tried even when one fails; then the first failure is raised as NetlinkError, unless
        its errno is in `ignore`.
        """
        with self._lock:
            first = self._send(requests)
            return self._collect(requests, first, ignore)

    def dump(self, request: Request) -> list[Message]:
        """Do a request that lists things; a list that changed meanwhile is asked for again."""
        for _ in range(_DUMP_ATTEMPTS):
            with self._lock:
                first = self._send((request,))
                messages, interrupted = self._collect_dump(request, first)
            if not interrupted:
                return messages
        raise Unavailable(f"cannot {request.what}: it kept changing while being read; try again")

    def transact(self, *requests: Request) -> None:
        """Do nf_tables requests as one batch: all or nothing."""
        batch = (nftables.begin(), *requests, nftables.end())
        with self._lock:
            first = self._send(batch)
            self._collect(batch, first, ())

    def _send(self, requests: Sequence[Request]) -> int:
        self._drain()
        first = self._sequence + 1
        self._sequence += len(requests)
        packet = b"".join(netlink.encode(request, first + number) for number, request in enumerate(requests))
        self._socket.send(packet)
        return first

    def _drain(self) -> None:
        # Leftovers of a request that was broken off (by a failed batch, or an exception).
        while True:
            try:
                self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return

    def _collect(self, requests: Sequence[Request], first: int, ignore: Sequence[int]) -> list[Message]:
        waiting = {first + n for n, request in enumerate(requests) if request.flags & netlink.NLM_F_ACK}
        answers: list[Message] = []
        failures: list[tuple[int, NetlinkError]] = []
        while waiting:
            for message in self._receive(requests[0].what, failures):
                number = message.sequence - first
                if not 0 <= number < len(requests):
                    continue
                if message.kind != netlink.NLMSG_ERROR:
                    answers.append(message)
                    continue
                waiting.discard(message.sequence)
                told = netlink.outcome(message)
                if told.errno and told.errno not in ignore:
                    failures.append((number, NetlinkError(told.errno, told.text, requests[number].what)))
        if failures:
            raise min(failures, key=lambda failure: failure[0])[1]
        return answers

    def _receive(self, what: str, failures: list[tuple[int, NetlinkError]]) -> list[Message]:
        # A batch that failed as a whole answers only some of its requests.
        try:
            return netlink.decode(self._socket.recv(_RECEIVE_BYTES))
        except BlockingIOError as error:
            if failures:
                raise min(failures, key=lambda failure: failure[0])[1] from None
            raise Internal(f"the kernel did not answer the netlink request to {what}") from error

    def _collect_dump(self, request: Request, sequence: int) -> tuple[list[Message], bool]:
        messages: list[Message] = []
        interrupted = False
        while True:
            for message in self._receive(request.what, []):
                if message.sequence != sequence:
                    continue
                interrupted |= bool(message.flags & netlink.NLM_F_DUMP_INTR)
                if message.kind in (netlink.NLMSG_ERROR, netlink.NLMSG_DONE):
                    told = netlink.outcome(message)
                    if told.errno == errno.EINTR:
                        return [], True
                    if told.errno:
                        raise NetlinkError(told.errno, told.text, request.what)
                    return messages, interrupted
                messages.append(message)
