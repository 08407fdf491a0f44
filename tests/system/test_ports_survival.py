"""Published ports when something is killed: daemon, forwarder, firewall rules, container."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.formats import nftables as nft
from carboy.formats import nftmaps
from carboy.network.bridge import table_name
from carboy.network.sockets import NETLINK_NETFILTER, NetlinkError, NetlinkSocket
from support.daemon import Daemon, daemon
from support.reach import Inside, ask, free_ports, inside, refused, send_127_to_the_gateway

__all__ = ["daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]


def forwarder_of(daemon: Daemon) -> int:
    """The process that serves ports.sock: found by the socket's inode."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    inodes = {line.split()[6] for line in lines if line.endswith("/ports.sock") or "ports.sock" in line}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if not name.isdigit() or b"carboy ports" not in Path(f"/proc/{name}/cmdline").read_bytes():
                continue
            links = {os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")}
            if links & {f"socket:[{inode}]" for inode in inodes} and belongs(daemon, int(name)):
                return int(name)
    raise AssertionError("no forwarder")


def belongs(daemon: Daemon, pid: int) -> bool:
    return daemon.paths.cgroup_parent in Path(f"/proc/{pid}/cgroup").read_text()


def wait_for_end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        assert select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)


class World:
    """A daemon with one container that publishes a port."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        (self.port,) = free_ports()
        binding = [{"HostPort": str(self.port)}]
        host = {"PortBindings": {"80/tcp": binding, "53/udp": binding}}
        self.container = daemon.create("sleep", "1000", host=host)
        daemon.post(f"/containers/{self.container}/start")
        self.box: Inside

    @property
    def pid(self) -> int:
        pid: int = self.daemon.get(f"/containers/{self.container}/json")["State"]["Pid"]
        return pid

    def answers(self) -> bool:
        return all(ask(address, self.port).startswith("box ") for address in ("127.0.0.1", "::1"))


@pytest.fixture
def world(daemon: Daemon) -> Iterator[World]:
    made = World(daemon)
    try:
        with inside(daemon, made.container) as box:
            box.serve_tcp(80)
            box.serve_udp(53)
            made.box = box
            yield made
    finally:
        if daemon.process is None or daemon.process.poll() is not None:
            daemon.start()
        daemon.remove_all()


def free_again(port: int) -> bool:
    """Whether another program can have the port, soon."""
    for _ in range(2000):
        try:
            socket.create_server(("0.0.0.0", port)).close()
            return True
        except OSError:
            time.sleep(0.02)  # no event tells: the forwarder is nobody's child
    return False


def test_ports_are_served_while_the_daemon_is_dead_and_by_the_next_one(world: World) -> None:
    daemon = world.daemon
    before = daemon.get(f"/containers/{world.container}/json")["NetworkSettings"]["Ports"]
    daemon.kill()
    assert world.answers()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("0.0.0.0", world.port))
    daemon.start()
    assert world.answers()
    assert daemon.get(f"/containers/{world.container}/json")["NetworkSettings"]["Ports"] == before
    other = daemon.create("true", host={"PortBindings": {"80/tcp": [{"HostPort": str(world.port)}]}})
    with pytest.raises(AssertionError, match="port is already allocated"):
        daemon.post(f"/containers/{other}/start")
    daemon.request("DELETE", f"/containers/{world.container}?force=1")
    daemon.post(f"/containers/{other}/start")
    assert daemon.wait(other) == 0


def test_connections_live_on_when_the_daemon_dies(world: World) -> None:
    listener = world.box.run(lambda: socket.create_server(("0.0.0.0", 81)))
    with listener:
        address = ("127.0.0.1", world.port)
        with socket.create_connection(address), socket.create_connection(("::1", world.port)) as client:
            world.daemon.kill()
            assert client.recv(100).startswith(b"box ")
    world.daemon.start()


def test_a_port_is_freed_when_the_container_ends_while_the_daemon_is_dead(world: World) -> None:
    pid = world.pid
    world.daemon.kill()
    os.kill(pid, signal.SIGKILL)
    assert free_again(world.port)
    assert refused("::1", world.port)
    deadline = time.monotonic() + 40
    while elements(world.daemon) and time.monotonic() < deadline:
        time.sleep(0.02)  # the forwarder's last act: nobody is told
    assert elements(world.daemon) == set()
    world.daemon.start()
    assert world.daemon.wait(world.container) == 137
    assert elements(world.daemon) == set()


def elements(daemon: Daemon) -> set[bytes]:
    """What the firewall's maps hold: empty when nothing is published."""
    found: set[bytes] = set()
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        for name in ("published", "published_any"):
            found.update(
                nftmaps.parse_elements(sock.dump(nftmaps.dump_elements(table_name(daemon.bridge), name)))
            )
    return found


def test_the_forwarder_is_started_again(world: World) -> None:
    first = forwarder_of(world.daemon)
    os.kill(first, signal.SIGKILL)
    wait_for_end(first)
    assert ask("127.0.0.1", world.port).startswith("box ")
    for _ in range(2000):
        with contextlib.suppress(OSError):
            if ask("::1", world.port).startswith("box "):
                break
        time.sleep(0.02)  # the daemon notices by itself; nothing tells us
    assert forwarder_of(world.daemon) != first
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("0.0.0.0", world.port))


def test_a_forwarder_killed_while_the_daemon_is_dead_is_made_up_for(world: World) -> None:
    forwarder = forwarder_of(world.daemon)
    world.daemon.kill()
    os.kill(forwarder, signal.SIGKILL)
    wait_for_end(forwarder)
    assert refused("::1", world.port)
    world.daemon.start()
    assert world.answers()


def test_without_ports_the_forwarder_ends_with_its_daemon(world: World) -> None:
    forwarder = forwarder_of(world.daemon)
    world.daemon.request("DELETE", f"/containers/{world.container}?force=1")
    world.daemon.stop()
    wait_for_end(forwarder)


def test_a_flushed_firewall_leaves_the_port_reachable_and_is_repaired(world: World) -> None:
    daemon = world.daemon
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        sock.transact(nft.delete_table(table_name(daemon.bridge)))
    assert world.answers()
    assert ask("127.0.0.1", world.port, udp=True).startswith("box ")
    code, _, _ = daemon.run_container("true", host={"NetworkMode": "bridge"})
    assert code == 0
    assert elements(daemon) != set()
    assert world.answers()


def test_a_flushed_firewall_opens_no_way_to_the_hosts_loopback(world: World) -> None:
    table = table_name(world.daemon.bridge)
    with socket.create_server(("127.0.0.1", 0)) as private, NetlinkSocket(NETLINK_NETFILTER) as sock:
        # As `nft flush ruleset` does it: what is owned by somebody stays.
        sock.transact(nft.delete_table(table))
        with pytest.raises(NetlinkError) as caught:
            sock.transact(nft.delete_table(f"{table}_guard"))
        assert caught.value.errno == errno.EPERM
        route_localnet = Path(f"/proc/sys/net/ipv4/conf/{world.daemon.bridge}/route_localnet")
        assert route_localnet.read_text().strip() == "1"
        world.box.run(send_127_to_the_gateway)
        assert refused("127.0.0.1", private.getsockname()[1], place=world.box)
        world.daemon.request("DELETE", f"/containers/{world.container}?force=1")
        assert route_localnet.read_text().strip() == "0"


def test_a_daemon_that_starts_puts_back_what_is_missing(world: World) -> None:
    daemon = world.daemon
    before = elements(daemon)
    daemon.kill()
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        sock.transact(nft.delete_table(table_name(daemon.bridge)))
    daemon.start()
    daemon.run_container("true", host={"NetworkMode": "bridge"})
    assert elements(daemon) == before


def test_a_long_stream_goes_through_the_forwarder_whole(world: World) -> None:
    """Both ways at once, with a half-closed end, by IPv6."""
    listener = world.box.run(lambda: socket.create_server(("0.0.0.0", 90)))
    binding = [{"HostIp": "::1", "HostPort": ""}]
    daemon = world.daemon
    size = 8 << 20
    container = daemon.create("sleep", "1000", host={"PortBindings": {"90/tcp": binding}})
    listener.close()
    daemon.post(f"/containers/{container}/start")
    port = daemon.get(f"/containers/{container}/json")["NetworkSettings"]["Ports"]["90/tcp"][0]["HostPort"]
    with inside(daemon, container) as box:
        listener = box.run(lambda: socket.create_server(("0.0.0.0", 90)))
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        with listener, socket.create_connection(("::1", int(port)), timeout=40) as client:
            sender = threading.Thread(target=send_all, args=(client, size))
            sender.start()
            received = bytearray()
            while part := client.recv(1 << 16):
                received += part
            sender.join()
    assert bytes(received) == pattern(size)


def pattern(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


def send_all(client: socket.socket, size: int) -> None:
    client.sendall(pattern(size))
    client.shutdown(socket.SHUT_WR)


def echo(listener: socket.socket) -> None:
    accepted, _ = listener.accept()
    with accepted:
        while part := accepted.recv(1 << 16):
            accepted.sendall(part)


def test_an_idle_forwarder_is_small_and_sleeps(world: World) -> None:
    pid = forwarder_of(world.daemon)
    assert world.answers()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    assert pss < 12 * 1024  # 5 MiB beside its spawner, 8 when that has ended
    for _ in range(25):  # the last connections may still be closing
        before = switches(pid)
        time.sleep(0.4)  # the point: nothing happens
        if switches(pid) == before:
            return
    raise AssertionError("the forwarder does not sleep")


def switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
