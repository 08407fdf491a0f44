"""Published ports by a real daemon: reached from the host, from containers and from another machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon, RequestError, daemon
from support.reach import LONG, Inside, Neighbour, ask, free_ports, inside, refused, send_127_to_the_gateway

__all__ = ["daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_network]


def bound(**ports: str) -> dict[str, Any]:
    """A host configuration from `tcp80="127.0.0.1:8080"` and the like."""
    bindings: dict[str, Any] = {}
    for inner, outer in ports.items():
        address, _, port = outer.rpartition(":")
        bindings[f"{inner[3:]}/{inner[:3]}"] = [{"HostIp": address.strip("[]"), "HostPort": port}]
    return {"PortBindings": bindings}


@contextlib.contextmanager
def running(daemon: Daemon, host: dict[str, Any], **config: Any) -> Iterator[str]:
    container = daemon.create("sleep", "1000", host=host, **config)
    try:
        daemon.post(f"/containers/{container}/start")
        yield container
    finally:
        with contextlib.suppress(RequestError):
            daemon.request("DELETE", f"/containers/{container}?force=1")


def published(daemon: Daemon, container: str) -> Any:
    return daemon.get(f"/containers/{container}/json")["NetworkSettings"]["Ports"]


def own_address() -> str:
    """An address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))
        return str(sock.getsockname()[0])


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    made = Neighbour()
    try:
        yield made
    finally:
        made.close()


def test_a_tcp_port_is_reached_on_every_address_of_the_host(daemon: Daemon) -> None:
    (port,) = free_ports()
    with running(daemon, bound(tcp80=str(port))) as container, inside(daemon, container) as box:
        box.serve_tcp(80)
        gateway = daemon.get("/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
        assert ask("127.0.0.1", port) == f"box {gateway}"
        assert ask("127.0.0.7", port).startswith("box ")
        assert ask(own_address(), port) == f"box {own_address()}"
        assert ask("::1", port) == f"box {gateway}"
        assert ask(gateway, port).startswith("box ")
        assert published(daemon, container) == {
            "80/tcp": [
                {"HostIp": "0.0.0.0", "HostPort": str(port)},
                {"HostIp": "::", "HostPort": str(port)},
            ]
        }


def test_a_udp_port_answers_from_where_it_was_asked(daemon: Daemon) -> None:
    (port,) = free_ports(kind=socket.SOCK_DGRAM)
    with running(daemon, bound(udp53=str(port))) as container, inside(daemon, container) as box:
        box.serve_udp(53)
        for address in ("127.0.0.1", own_address(), "::1"):
            # Connected sockets take answers from that address only.
            assert ask(address, port, udp=True).startswith("box ")
            assert ask(address, port, udp=True).endswith(" ping")


def test_a_client_that_goes_on_sending_reaches_the_next_container(daemon: Daemon) -> None:
    (port,) = free_ports(kind=socket.SOCK_DGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LONG)
        client.connect((own_address(), port))
        for name in ("one", "two"):
            with running(daemon, bound(udp53=str(port))) as container:
                with contextlib.suppress(ConnectionRefusedError):
                    client.send(b"too early")
                    client.recv(100)
                with inside(daemon, container, name) as box:
                    box.serve_udp(53)
                    client.send(b"ping")
                    assert client.recv(100).startswith(f"{name} ".encode())


def test_another_machine_is_seen_by_its_own_address(daemon: Daemon, neighbour: Neighbour) -> None:
    (port,) = free_ports()
    host = bound(tcp80=str(port), udp53=str(port))
    with running(daemon, host) as container, inside(daemon, container) as box:
        box.serve_tcp(80)
        box.serve_udp(53)
        assert ask(neighbour.ours, port, place=neighbour) == f"box {neighbour.theirs}"
        assert ask(neighbour.ours, port, udp=True, place=neighbour) == f"box {neighbour.theirs} ping"
        # The container's own address is not for other machines.
        assert refused(box.address, 80, place=neighbour)


def test_containers_reach_it_through_the_hosts_address(daemon: Daemon) -> None:
    (port,) = free_ports()
    with (
        running(daemon, bound(tcp80=str(port))) as one,
        running(daemon, {}) as two,
        inside(daemon, one, "one") as first,
        inside(daemon, two, "two") as second,
    ):
        first.serve_tcp(80)
        assert ask(own_address(), port, place=second).startswith("one ")
        assert ask(own_address(), port, place=first).startswith("one ")


def test_a_port_on_loopback_is_for_the_host_alone(daemon: Daemon, neighbour: Neighbour) -> None:
    (port,) = free_ports()
    with (
        running(daemon, bound(tcp80=f"127.0.0.1:{port}")) as container,
        running(daemon, {}) as other,
        inside(daemon, container) as box,
        inside(daemon, other) as stranger,
    ):
        box.serve_tcp(80)
        assert ask("127.0.0.1", port).startswith("box ")
        assert refused(own_address(), port)
        assert refused("::1", port)
        assert refused(neighbour.ours, port, place=neighbour)
        assert refused(own_address(), port, place=stranger)


def test_a_neighbour_cannot_send_for_127(daemon: Daemon, neighbour: Neighbour) -> None:
    (port,) = free_ports()
    with running(daemon, bound(tcp80=f"127.0.0.1:{port}")) as container, inside(daemon, container) as box:
        box.serve_tcp(80)
        neighbour.run(send_127_to_the_gateway)
        assert refused("127.0.0.1", port, place=neighbour)


def test_a_container_cannot_reach_services_on_the_hosts_loopback(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as private:
        (port,) = free_ports()
        with running(daemon, bound(tcp80=str(port))) as container, inside(daemon, container) as box:
            gateway = daemon.get("/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
            assert refused(gateway, private.getsockname()[1], place=box)
            box.run(send_127_to_the_gateway)
            assert refused("127.0.0.1", private.getsockname()[1], place=box)


def test_ephemeral_ports_are_chosen_and_chosen_again(daemon: Daemon) -> None:
    with running(daemon, bound(tcp80="", udp80="")) as container:
        first = published(daemon, container)
        assert set(first) == {"80/tcp", "80/udp"}
        number = int(first["80/tcp"][0]["HostPort"])
        assert 32768 <= number <= 60999
        assert {binding["HostPort"] for binding in first["80/tcp"]} == {str(number)}
        daemon.post(f"/containers/{container}/restart?t=0")
        assert published(daemon, container)["80/tcp"][0]["HostPort"] != str(number)


def test_publish_all_takes_what_is_exposed(daemon: Daemon) -> None:
    exposed: dict[str, Any] = {"80/tcp": {}, "53/udp": {}, "9/sctp": {}}
    with running(daemon, {"PublishAllPorts": True}, ExposedPorts=exposed) as container:
        found = published(daemon, container)
        assert found["9/sctp"] is None
        assert found["80/tcp"][0]["HostIp"] == "0.0.0.0"
        assert found["53/udp"][1]["HostIp"] == "::"


def test_a_range_gives_the_first_that_is_free(daemon: Daemon) -> None:
    ports = free_ports(3)
    span = f"{ports[0]}-{ports[2]}"
    with socket.create_server(("127.0.0.1", ports[0])), running(daemon, bound(tcp80=span)) as one:
        assert published(daemon, one)["80/tcp"][0]["HostPort"] == str(ports[1])
        with running(daemon, bound(tcp80=span)) as two:
            assert published(daemon, two)["80/tcp"][0]["HostPort"] == str(ports[2])
            with pytest.raises(RequestError, match="all ports are allocated") as caught:
                running(daemon, bound(tcp80=span)).__enter__()
            assert caught.value.status == 500


def test_a_port_of_another_container_is_a_conflict_in_dockers_words(daemon: Daemon) -> None:
    (port,) = free_ports()
    with running(daemon, bound(tcp80=str(port))):
        for wanted in (str(port), f"127.0.0.1:{port}"):
            refused_one = daemon.create("true", host=bound(tcp80=wanted))
            address = wanted.rpartition(":")[0] or "0.0.0.0"
            with pytest.raises(RequestError) as caught:
                daemon.post(f"/containers/{refused_one}/start")
            assert caught.value.status == 500
            assert "driver failed programming external connectivity on endpoint " in caught.value.message
            assert f"Bind for {address}:{port} failed: port is already allocated" in caught.value.message
            assert daemon.get(f"/containers/{refused_one}/json")["State"]["Status"] == "created"
            daemon.request("DELETE", f"/containers/{refused_one}")


def test_a_start_that_fails_is_over_when_it_is_told(daemon: Daemon) -> None:
    """Nothing is made any more where a removal may be under way."""
    (port,) = free_ports()
    with running(daemon, bound(tcp80=str(port))):
        for _ in range(5):
            container = daemon.create("true", host=bound(tcp80=str(port)))
            with pytest.raises(RequestError, match="already allocated"):
                daemon.post(f"/containers/{container}/start")
            seen: set[str] = set()
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                seen.update(os.listdir(daemon.paths.container_run(container)))
            assert not seen
            daemon.request("DELETE", f"/containers/{container}")


def test_a_port_of_another_program_is_a_conflict(daemon: Daemon) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((address, 0), family=family) as other:
            port = other.getsockname()[1]
            container = daemon.create("true", host=bound(tcp80=str(port)))
            with pytest.raises(RequestError, match=f":{port}/tcp: address already in use") as caught:
                daemon.post(f"/containers/{container}/start")
            assert caught.value.status == 500
    (port,) = free_ports()
    container = daemon.create("true", host=bound(tcp80=f"192.0.2.77:{port}"))
    with pytest.raises(RequestError, match="cannot assign requested address"):
        daemon.post(f"/containers/{container}/start")
    daemon.remove_all()


def test_a_published_port_is_taken_for_other_programs(daemon: Daemon) -> None:
    (port,) = free_ports()
    with running(daemon, bound(tcp80=str(port), udp53=str(port))):
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("0.0.0.0", port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="in use"):
            sock.bind(("127.0.0.1", port))


@pytest.mark.parametrize("end", ["stop", "kill", "rm", "init", "monitor"])
def test_ports_are_free_whatever_ends_the_container(daemon: Daemon, end: str) -> None:
    (port,) = free_ports()
    with running(daemon, bound(tcp80=str(port))) as container:
        match end:
            case "stop" | "kill":
                daemon.post(f"/containers/{container}/{end}?t=0")
            case "rm":
                daemon.request("DELETE", f"/containers/{container}?force=1")
            case "init":
                os.kill(daemon.get(f"/containers/{container}/json")["State"]["Pid"], signal.SIGKILL)
                daemon.wait(container)
            case _:
                run = Path(daemon.paths.container_run(container))
                os.kill(monitor_of(run), signal.SIGKILL)
                daemon.wait(container)
        # At once, for a container that asks for the same one.
        with running(daemon, bound(tcp80=str(port))) as next_one, inside(daemon, next_one, "next") as box:
            box.serve_tcp(80)
            assert ask("127.0.0.1", port) == ask("127.0.0.1", port)
            assert ask("::1", port).startswith("next ")
        if end != "rm":
            assert published(daemon, container) == {}


def monitor_of(run: Path) -> int:
    import json

    return int(json.loads((run / "monitor.json").read_text())["monitor_pid"])


def test_a_container_that_joined_loses_the_interface_with_its_owner(daemon: Daemon) -> None:
    """Else it would go on with an address that is lent to somebody else some day."""
    with (
        running(daemon, {}) as owner,
        running(daemon, {"NetworkMode": f"container:{owner}"}) as guest,
        inside(daemon, guest) as namespace,
    ):
        assert interfaces(namespace) == {"lo", "eth0"}
        daemon.request("DELETE", f"/containers/{owner}?force=1")
        assert interfaces(namespace) == {"lo"}


def interfaces(namespace: Inside) -> set[str]:
    return namespace.run(lambda: {name for _, name in socket.if_nameindex()})


def test_fifty_ports_at_once(daemon: Daemon) -> None:
    ports = free_ports(50)
    host = bound(**{f"tcp{1000 + n}": str(port) for n, port in enumerate(ports)})
    with running(daemon, host) as container, inside(daemon, container) as box:
        for n in (0, 25, 49):
            box.serve_tcp(1000 + n)
            assert ask("127.0.0.1", ports[n]).startswith("box ")
        listed = next(one for one in daemon.get("/containers/json") if one["Id"] == container)
        assert len(listed["Ports"]) == 100


def test_what_cannot_be_published_is_refused_at_create(daemon: Daemon) -> None:
    for bindings, message in (
        ({"80/sctp": [{"HostPort": "80"}]}, "SCTP is not supported"),
        ({"80/frob": [{}]}, "invalid port specification"),
        ({"x": [{}]}, "invalid port specification"),
        ({"80/tcp": [{"HostPort": "9-1"}]}, "invalid port specification"),
        ({"80/tcp": [{"HostPort": "70000"}]}, "invalid port specification"),
        ({"80/tcp": [{"HostIp": "localhost"}]}, "invalid host IP address"),
    ):
        with pytest.raises(RequestError, match=message) as caught:
            daemon.create("true", host={"PortBindings": bindings})
        assert caught.value.status == 400
    with pytest.raises(RequestError, match="conflicting options: port publishing") as caught:
        daemon.create("true", host={"NetworkMode": "container:x", **bound(tcp80="1")})
    assert caught.value.status == 400


def test_on_the_hosts_network_ports_are_discarded_with_a_warning(daemon: Daemon) -> None:
    body = {
        "Image": "busybox:test",
        "Cmd": ["true"],
        "HostConfig": {"NetworkMode": "host", **bound(tcp80="1")},
    }
    created = daemon.post("/containers/create", body)
    assert created["Warnings"] == ["Published ports are discarded when using host network mode"]
    daemon.request("DELETE", f"/containers/{created['Id']}")
    with running(daemon, {"NetworkMode": "none", **bound(tcp80="")}) as container:
        assert published(daemon, container) == {}


def test_listings_filter_by_port(daemon: Daemon) -> None:
    def names(query: str) -> list[str]:
        return [
            one["Id"]
            for one in daemon.get(f'/containers/json?filters={{"{query[:7].strip()}":["{query[8:]}"]}}')
        ]

    (port,) = free_ports()
    with running(daemon, bound(tcp8000=str(port)), ExposedPorts={"9/udp": {}}) as container:
        for found in (f"publish {port}", f"publish {port - 1}-{port}/tcp", "expose  8000", "expose  9/udp"):
            assert names(found) == [container]
        for missed in (f"publish {port}/udp", "publish 8000", f"expose  {port}"):
            assert names(missed) == []
    with pytest.raises(RequestError, match="should not contain ':'"):
        names("publish 80:80")
