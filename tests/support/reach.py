"""Servers inside containers (from here, through their network namespace), and clients of published ports."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from carboy.formats import rtnetlink
from carboy.network.sockets import NETLINK_ROUTE, NetlinkSocket
from support.daemon import Daemon
from support.netns import Netns

LONG = 30.0
SHORT = 0.3
_SIOCSIFFLAGS = 0x8914


class Inside(Netns):
    """A running container's network namespace, with servers that say who they are and who asks."""

    def __init__(self, daemon: Daemon, container: str, name: str = "box") -> None:
        inspected = daemon.get(f"/containers/{container}/json")
        self.fd = os.open(f"/proc/{inspected['State']['Pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.name = name
        self.address: str = inspected["NetworkSettings"]["IPAddress"]
        self._sockets: list[socket.socket] = []

    def serve_tcp(self, port: int) -> None:
        """Answer each connection with the server's name and the client's address."""
        listener = self.run(lambda: socket.create_server(("0.0.0.0", port)))
        self._sockets.append(listener)
        threading.Thread(target=self._tcp, args=(listener,), daemon=True).start()

    def serve_udp(self, port: int) -> None:
        """The same for each datagram."""
        sock = self.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("0.0.0.0", port))
        self._sockets.append(sock)
        threading.Thread(target=self._udp, args=(sock,), daemon=True).start()

    def _tcp(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, peer = listener.accept()
                with accepted, contextlib.suppress(OSError):
                    accepted.sendall(f"{self.name} {peer[0]}".encode())

    def _udp(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = sock.recvfrom(65536)
                if peer is None:
                    return  # shut down
                sock.sendto(f"{self.name} {peer[0]} ".encode() + data, peer)

    def close(self) -> None:
        """End the servers, let go of the namespace."""
        for one in self._sockets:
            # A close alone would not wake the thread.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        super().close()


@contextlib.contextmanager
def inside(daemon: Daemon, container: str, name: str = "box") -> Iterator[Inside]:
    """The container's namespace, let go at the end."""
    found = Inside(daemon, container, name)
    try:
        yield found
    finally:
        found.close()


def ask(
    address: str, port: int, *, udp: bool = False, timeout: float = LONG, place: Netns | None = None
) -> str:
    """What the server at an address says; from another namespace where one is given."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    make: Callable[[], socket.socket] = lambda: socket.socket(family, kind)  # noqa: E731 - for a thread
    with place.run(make) if place is not None else make() as sock:
        sock.settimeout(timeout)
        sock.connect((address, port))
        if udp:
            sock.send(b"ping")
        return sock.recv(65536).decode()


def refused(address: str, port: int, **options: Any) -> bool:
    """Whether nobody answers there."""
    try:
        return not ask(address, port, timeout=SHORT, **options)
    except OSError as error:
        if isinstance(error, TimeoutError):
            return True
        return error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH)


def free_ports(count: int = 1, kind: int = socket.SOCK_STREAM) -> list[int]:
    """Ports that nobody has just now, below the ephemeral ones, in a row."""
    for first in range(21000 + os.getpid() % 500 * 16, 32000, count):
        try:
            with contextlib.ExitStack() as stack:
                for number in range(first, first + count):
                    sock = stack.enter_context(socket.socket(socket.AF_INET6, kind))
                    sock.bind(("::", number))
            return list(range(first, first + count))
        except OSError:
            continue
    raise AssertionError("no free ports")


class Neighbour(Netns):
    """Another machine: a namespace at the other end of a veth pair of this one."""

    def __init__(self) -> None:
        super().__init__()
        self.link = f"nb{os.getpid() % 100000}"
        self.subnet = f"10.199.{os.getpid() % 250}"
        self.ours, self.theirs = f"{self.subnet}.1", f"{self.subnet}.2"
        with NetlinkSocket(NETLINK_ROUTE) as here, self.run(lambda: NetlinkSocket(NETLINK_ROUTE)) as there:
            here.send(rtnetlink.new_veth(self.link, peer="eth0", peer_netns_fd=self.fd, master=0, mtu=1500))
            self._configure(here, self.link, self.ours)
            index = self._configure(there, "eth0", self.theirs)
            there.send(rtnetlink.new_default_route(socket.inet_aton(self.ours), oif=index))

    @staticmethod
    def _configure(sock: NetlinkSocket, name: str, address: str) -> int:
        index = rtnetlink.parse_link(sock.send(rtnetlink.get_link(name))[0]).index
        sock.send(
            rtnetlink.new_address(index, address=socket.inet_aton(address), prefix=24),
            rtnetlink.set_up(index=index),
        )
        return index

    def close(self) -> None:
        """Remove the pair and let go of the namespace."""
        with NetlinkSocket(NETLINK_ROUTE) as here:
            here.send(rtnetlink.delete_link(name=self.link), ignore=(errno.ENODEV,))
        super().close()


def send_127_to_the_gateway() -> None:
    """In this thread's namespace: as an attacker with a network stack of its own would send."""
    for name in ("all", "eth0"):
        with open(f"/proc/sys/net/ipv4/conf/{name}/route_localnet", "w") as file:
            file.write("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # With lo down its local routes are gone, and 127/8 goes the default route's way.
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", 0))
