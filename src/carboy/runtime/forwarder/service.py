"""The forwarder: a child of the spawner, one for each root, that outlives the daemon.

    daemon ──(<run>/ports.sock)──▶ forwarder      packets of formats/spawner.py, one reply each

    request   fields                                descriptors       reply
    hello     version                               -                 version
    open      id target (the container's address)   pidfd of init     -
              ports (port inside, for each)         and a socket each
              farewell (a netlink packet, in hex)
    hold      id ports                              a socket each     -
    release   id                                    -                 -
    guard     name                                  any descriptor    -   (kept open, not used)
    list      -                                     -                 held {id: number of sockets}, guards

It begins with one descriptor, a listening socket.  The firewall sends nearly everything to
containers directly; here come IPv6, and what a firewall without our rules lets through.  When a
container's init ends, its sockets are closed at once, whether a daemon runs or not: nothing is
ever sent to another container that gets the same address.  With no daemon connected and nothing
held it ends.  It sleeps unless something is forwarded.

`farewell` takes the ports out of the firewall's maps: sent when init ends and no daemon is
connected that would do it, so that another program can use the port.
"""

from __future__ import annotations

import gc
import os
from _socket import AF_NETLINK, SO_TYPE, SOCK_CLOEXEC, SOCK_RAW, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - the C type

from carboy.errors import InvalidArgument, NotFound
from carboy.formats import spawner as protocol
from carboy.linux import process
from carboy.runtime.forwarder.datagram import Datagrams
from carboy.runtime.forwarder.stream import Streams
from carboy.runtime.monitor.connection import Connection, unknown
from carboy.runtime.monitor.loop import READ, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Request = dict[str, Any]


NETLINK_NETFILTER = 12


class Lease:
    """What is held for one container."""

    __slots__ = ("farewell", "pidfd", "ports", "target")

    def __init__(self, target: str, pidfd: int, farewell: bytes) -> None:
        self.target = target
        self.farewell = farewell
        self.pidfd = pidfd
        self.ports: list[Streams | Datagrams] = []


class Forwarder:
    """The process's whole state."""

    def __init__(self, listener: Socket) -> None:
        self.loop = Loop()
        self._leases: dict[str, Lease] = {}
        self._guards: dict[str, int] = {}
        self._connections: list[Connection] = []
        self._listener = listener
        listener.setblocking(False)
        self.loop.watch(listener.fileno(), READ, self._accept)

    def run(self) -> None:
        """Serve until there is nothing left to do."""
        while self._connections or self._leases or not self._had_a_daemon:
            self.loop.step()

    _had_a_daemon = False

    def _accept(self, _events: int) -> None:
        fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # of the C type
        self._had_a_daemon = True
        self._connections.append(Connection(self.loop, Socket(fileno=fd), self._handle, self._gone))

    def _gone(self, connection: Connection) -> None:
        self._connections.remove(connection)

    def _handle(self, request: Request, descriptors: list[int]) -> Request:
        match request.get("op"):
            case "hello":
                return {"version": protocol.VERSION}
            case "open":
                self._open(request, descriptors)
            case "hold":
                self._hold(request, descriptors)
            case "release":
                self._release(str(request.get("id")))
            case "guard":
                self._guard(str(request.get("name")), descriptors)
            case "list":
                held = {key: len(lease.ports) for key, lease in self._leases.items()}
                return {"held": held, "guards": list(self._guards)}
            case operation:
                raise unknown(operation)
        return {}

    def _open(self, request: Request, descriptors: list[int]) -> None:
        if not descriptors:
            raise InvalidArgument("open needs the descriptor of a process")
        key = str(request["id"])
        self._release(key)
        pidfd = descriptors.pop(0)
        farewell = bytes.fromhex(str(request.get("farewell") or ""))
        self._leases[key] = Lease(str(request["target"]), pidfd, farewell)
        self.loop.watch(pidfd, READ, lambda _events: self._ended(key))
        self._hold(request, descriptors)

    def _hold(self, request: Request, descriptors: list[int]) -> None:
        lease = self._leases.get(str(request.get("id")))
        ports: list[Any] = request.get("ports") or []
        if lease is None:
            raise NotFound(f"nothing is open for container {str(request.get('id'))[:12]}: it may have ended")
        if len(ports) != len(descriptors):
            raise InvalidArgument("hold needs a socket for each port")
        for inside in ports:
            made = Socket(fileno=descriptors.pop(0))
            made.setblocking(False)
            target = (lease.target, int(inside))
            if made.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM:
                lease.ports.append(Streams(self.loop, made, target))
            else:
                lease.ports.append(Datagrams(self.loop, made, target))

    def _ended(self, key: str) -> None:
        """Init has ended."""
        packet = self._leases[key].farewell
        self._release(key)
        if packet and not self._connections:
            netlink = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)
            try:
                netlink.send(packet)
            except OSError:
                pass  # the next daemon looks at the maps as a whole
            finally:
                netlink.close()

    def _guard(self, name: str, descriptors: list[int]) -> None:
        if len(descriptors) != 1:
            raise InvalidArgument("guard needs one descriptor")
        before = self._guards.pop(name, None)
        if before is not None:
            os.close(before)
        self._guards[name] = descriptors.pop()

    def _release(self, key: str) -> None:
        lease = self._leases.pop(key, None)
        if lease is None:
            return
        self.loop.forget(lease.pidfd)
        os.close(lease.pidfd)
        for port in lease.ports:
            port.close()


def live(listener: int) -> None:
    """The life of the process."""
    process.set_title("carboy ports")
    process.set_name("carboy-ports")
    process.set_dumpable(0)
    forwarder = Forwarder(Socket(fileno=listener))
    gc.collect()
    gc.freeze()
    gc.enable()
    forwarder.run()
