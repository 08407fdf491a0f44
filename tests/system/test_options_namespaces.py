"""Namespaces, names and networks of create, asked from inside; conflicts in Docker's words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import IMAGE, Daemon, RequestError, daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]


def refused(daemon: Daemon, status: int = 400, **body: Any) -> str:
    with pytest.raises(RequestError) as caught:
        container = daemon.post("/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})["Id"]
        try:
            daemon.post(f"/containers/{container}/start")
        finally:
            daemon.request("DELETE", f"/containers/{container}?force=1")
    assert caught.value.status == status, caught.value
    return caught.value.message


@pytest.fixture(scope="module")
def donor(daemon: Daemon) -> Iterator[str]:
    """A container that others join."""
    host = {"IpcMode": "shareable", "NetworkMode": "none", "ShmSize": 1 << 20}
    container = daemon.create("sleep", "1000", name="donor", host=host, Hostname="given")
    daemon.post(f"/containers/{container}/start")
    yield container
    daemon.request("DELETE", f"/containers/{container}?force=1")


def test_ipc_is_shared_with_its_memory(daemon: Daemon, donor: str) -> None:
    theirs = {"IpcMode": f"container:{donor[:12]}"}
    daemon.shell("echo text > /dev/shm/file", host=theirs)
    assert daemon.shell("cat /dev/shm/file; df -k /dev/shm | tail -n 1", host=theirs).startswith("text\n")
    pid = daemon.get(f"/containers/{donor}/json")["State"]["Pid"]
    ours = daemon.shell("readlink /proc/self/ns/ipc", host=theirs).strip()
    assert ours == os.readlink(f"/proc/{pid}/ns/ipc")
    assert daemon.shell("ls /dev/shm") == ""
    private = daemon.create("sleep", "1000", name="private", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{private}/start")
    text = refused(daemon, HostConfig={"IpcMode": "container:private"})
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in text
    daemon.request("DELETE", f"/containers/{private}?force=1")


def test_ipc_modes(daemon: Daemon) -> None:
    host = os.readlink("/proc/self/ns/ipc")
    assert daemon.shell("readlink /proc/self/ns/ipc", host={"IpcMode": "host"}).strip() == host
    assert daemon.shell("readlink /proc/self/ns/ipc", host={"IpcMode": "private"}).strip() != host
    assert daemon.shell("test -e /dev/shm && echo there; true", host={"IpcMode": "none"}) == ""
    assert " 2048 " in daemon.shell("df -k /dev/shm | tail -n 1", host={"ShmSize": 2 << 20})


def test_pid_and_network_of_another_container(daemon: Daemon, donor: str) -> None:
    assert "sleep 1000" in daemon.shell("ps", host={"PidMode": "container:donor"})
    pid = daemon.get(f"/containers/{donor}/json")["State"]["Pid"]
    network = daemon.shell("readlink /proc/self/ns/net", host={"NetworkMode": "container:donor"})
    assert network.strip() == os.readlink(f"/proc/{pid}/ns/net")
    assert (
        daemon.shell("hostname; cat /etc/hostname", host={"NetworkMode": "container:donor"}).split()[1]
        == "given"
    )
    script = "test $(ls -d /proc/[0-9]* | wc -l) -gt 5 && echo host"
    assert daemon.shell(script, host={"PidMode": "host"}) == "host\n"
    for mode in ("PidMode", "IpcMode", "NetworkMode"):
        assert "o such container" in refused(daemon, 404, HostConfig={mode: "container:absent"})


def test_uts_cgroup_and_user_modes(daemon: Daemon) -> None:
    assert daemon.shell("hostname", host={"UTSMode": "host"}).strip() == os.uname().nodename
    ours = os.readlink("/proc/self/ns/cgroup")
    assert daemon.shell("readlink /proc/self/ns/cgroup", host={"CgroupnsMode": "host"}).strip() == ours
    assert daemon.shell("readlink /proc/self/ns/cgroup", host={"CgroupnsMode": "private"}).strip() != ours
    assert daemon.shell("readlink /proc/self/ns/user", host={"UsernsMode": "host"}).strip() == os.readlink(
        "/proc/self/ns/user"
    )
    for field, value in (
        ("UTSMode", "container:x"),
        ("CgroupnsMode", "foo"),
        ("UsernsMode", "foo"),
        ("IpcMode", "x"),
    ):
        assert "invalid" in refused(daemon, HostConfig={field: value})


def test_names_inside(daemon: Daemon) -> None:
    text = daemon.shell(
        "hostname; cat /proc/sys/kernel/domainname /etc/hostname",
        Hostname="h",
        Domainname="d.example",
    )
    assert text.split() == ["h", "d.example", "h"]
    assert "invalid hostname format" in refused(daemon, Hostname="a/b")


def test_dns_and_hosts_files(daemon: Daemon) -> None:
    host = {
        "Dns": ["192.0.2.1", "2001:db8::1"],
        "DnsSearch": ["a.example", "b.example"],
        "DnsOptions": ["ndots:2"],
        "ExtraHosts": ["one:192.0.2.7", "two=2001:db8::7"],
    }
    text = daemon.shell("cat /etc/resolv.conf /etc/hosts", host=host)
    for line in (
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::1",
        "search a.example b.example",
        "options ndots:2",
    ):
        assert line in text.splitlines()
    assert "192.0.2.7\tone" in text
    assert "2001:db8::7\ttwo" in text
    assert "bad nameserver address" in refused(daemon, HostConfig={"Dns": ["foo"]})
    assert "bad format for add-host" in refused(daemon, HostConfig={"ExtraHosts": ["foo"]})
    assert "invalid IP address in add-host" in refused(daemon, HostConfig={"ExtraHosts": ["foo:bar"]})


@pytest.mark.needs_network
def test_host_gateway_and_mac_address(daemon: Daemon) -> None:
    gateway = daemon.get("/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
    host = {"NetworkMode": "bridge", "ExtraHosts": ["outside:host-gateway"]}
    mac = "02:42:ac:11:ff:01"
    text = daemon.shell("grep outside /etc/hosts; cat /sys/class/net/eth0/address", host=host, MacAddress=mac)
    assert text.split() == [gateway, "outside", mac]
    endpoint = {"EndpointsConfig": {"bridge": {"MacAddress": mac}}}
    text = daemon.shell(
        "cat /sys/class/net/eth0/address", host={"NetworkMode": "bridge"}, NetworkingConfig=endpoint
    )
    assert text.strip() == mac
    assert "invalid MAC address" in refused(daemon, MacAddress="foo")


@pytest.mark.needs_network
def test_a_network_by_its_id(daemon: Daemon) -> None:
    network = daemon.get("/networks/none")["Id"]
    for mode in (network, network[:12]):
        assert daemon.shell("ls /sys/class/net", host={"NetworkMode": mode}).split() == ["lo"]


@pytest.mark.needs_network
def test_links(daemon: Daemon) -> None:
    other = daemon.create(
        "sleep",
        "1000",
        name="db",
        host={"NetworkMode": "bridge"},
        ExposedPorts={"5432/tcp": {}},
        Env=["SECRET=x"],
    )
    linked = {"NetworkMode": "bridge", "Links": ["db:data-base"]}
    assert "Cannot link to a non running container" in refused(daemon, 409, HostConfig=linked)
    daemon.post(f"/containers/{other}/start")
    address = daemon.get(f"/containers/{other}/json")["NetworkSettings"]["IPAddress"]
    text = daemon.shell(
        "grep -w data-base /etc/hosts; env; ping -c 1 -W 3 db > /dev/null && echo reached",
        host=linked,
    )
    assert f"{address}\tdata-base" in text
    assert "reached" in text
    lines = text.splitlines()
    assert f"DATA_BASE_PORT=tcp://{address}:5432" in lines
    assert f"DATA_BASE_PORT_5432_TCP_ADDR={address}" in lines
    assert "DATA_BASE_ENV_SECRET=x" in lines
    container = daemon.create("true", name="app", host=linked)
    assert daemon.get("/containers/app/json")["HostConfig"]["Links"] == ["/db:/app/data-base"]
    for one in (container, other):
        daemon.request("DELETE", f"/containers/{one}?force=1")
    assert "o such container" in refused(
        daemon, 404, HostConfig={"NetworkMode": "bridge", "Links": ["absent"]}
    )


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"HostConfig": {"NetworkMode": "nowhere"}}, 404, "network nowhere not found"),
        ({"HostConfig": {"NetworkMode": "container:"}}, 400, "invalid container format container:<name|id>"),
        (
            {"HostConfig": {"NetworkMode": "container:donor"}, "Hostname": "h"},
            400,
            "hostname and the network mode",
        ),
        (
            {"HostConfig": {"NetworkMode": "container:donor", "Dns": ["192.0.2.1"]}},
            400,
            "dns and the network mode",
        ),
        (
            {
                "HostConfig": {
                    "NetworkMode": "container:donor",
                    "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
                }
            },
            400,
            "port publishing and the container type network mode",
        ),
        (
            {"HostConfig": {"NetworkMode": "container:donor"}, "ExposedPorts": {"80/tcp": {}}},
            400,
            "port exposing and the container type network mode",
        ),
        ({"HostConfig": {"NetworkMode": "host", "Links": ["donor"]}}, 400, "can't be used with links"),
        ({"HostConfig": {"UTSMode": "host"}, "Hostname": "h"}, 400, "hostname and the UTS mode"),
        (
            {
                "NetworkingConfig": {
                    "EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}
                }
            },
            400,
            "user specified IP address is supported on user defined networks only",
        ),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["a"]}}}},
            400,
            "network-scoped aliases are only supported for user-defined networks",
        ),
        ({"NetworkingConfig": {"EndpointsConfig": {"mine": {}}}}, 404, "network mine not found"),
        ({"HostConfig": {"Runtime": "foo"}}, 400, "unknown or invalid runtime name: foo"),
        ({"HostConfig": {"Isolation": "hyperv"}}, 400, "linux only supports 'default'"),
        (
            {"HostConfig": {"StorageOpt": {"size": "10G"}}},
            400,
            "--storage-opt is supported only for overlay over xfs",
        ),
        ({"HostConfig": {"Sysctls": {"vm.swappiness": "1"}}}, 400, "not allowed"),
        (
            {"HostConfig": {"NetworkMode": "host", "Sysctls": {"net.ipv4.ip_forward": "1"}}},
            400,
            "host network namespace",
        ),
        ({"HostConfig": {"IpcMode": "host", "Sysctls": {"kernel.msgmax": "1"}}}, 400, "host ipc namespace"),
        ({"StopSignal": "FOO"}, 400, "nvalid signal: FOO"),
        ({"WorkingDir": "relative"}, 400, "it needs to be an absolute path"),
    ],
)
def test_what_is_refused(daemon: Daemon, donor: str, body: dict[str, Any], status: int, text: str) -> None:
    assert text in refused(daemon, status, **body)


def test_what_has_no_effect_is_warned_about(daemon: Daemon) -> None:
    body = {
        "Image": IMAGE,
        "Cmd": ["true"],
        "NetworkDisabled": True,
        "Nonsense": 1,
        "HostConfig": {"Runtime": "runc", "CpuCount": 1, "KernelMemory": 1 << 30, "Isolation": "default"},
    }
    made = daemon.post("/containers/create", body)
    text = "\n".join(made["Warnings"])
    for word in ("runc", "Windows", "ernel memory", "NetworkDisabled", "Nonsense"):
        assert word in text
    assert daemon.get(f"/containers/{made['Id']}/json")["HostConfig"]["NetworkMode"] == "none"
    daemon.request("DELETE", f"/containers/{made['Id']}")


def test_sysctls_ulimits_annotations_and_stop_settings(daemon: Daemon) -> None:
    host = {
        "Sysctls": {"kernel.msgmax": "4096", "net.ipv4.ip_forward": "1"},
        "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 64}, {"Name": "core", "Soft": 0, "Hard": 0}],
        "Annotations": {"a.b": "c"},
        "OomScoreAdj": 500,
        "NetworkMode": "none",
    }
    script = "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward; ulimit -n; ulimit -c;"
    script += "cat /proc/self/oom_score_adj"
    assert daemon.shell(script, host=host).split() == ["4096", "1", "64", "0", "500"]
    container = daemon.create("true", host=host, StopSignal="SIGUSR1", StopTimeout=3)
    shown = daemon.get(f"/containers/{container}/json")
    assert shown["HostConfig"]["Annotations"] == {"a.b": "c"}
    assert (shown["Config"]["StopSignal"], shown["Config"]["StopTimeout"]) == ("SIGUSR1", 3)
    daemon.request("DELETE", f"/containers/{container}")


def test_init_forwards_and_reaps(daemon: Daemon) -> None:
    script = "tr '\\0' ' ' < /proc/1/cmdline; echo; (sleep 0 &); sleep 0.1;"
    script += "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    text = daemon.shell(script, host={"Init": True})
    assert "sh -c" not in text.splitlines()[0]
    assert text.splitlines()[1] == "0"


def test_a_read_only_root(daemon: Daemon) -> None:
    script = "touch /x 2>/dev/null || echo no; touch /t/x /dev/shm/x && echo yes"
    assert daemon.shell(script, host={"ReadonlyRootfs": True, "Tmpfs": {"/t": ""}}).split() == ["no", "yes"]


def test_variables_of_the_image_can_be_taken_away(daemon: Daemon) -> None:
    base = daemon.create("true")
    query = "repo=withenv&tag=1&changes=ENV%20GONE%3D1&changes=ENV%20KEPT%3D1"
    daemon.post(f"/commit?container={base}&{query}", {})
    daemon.request("DELETE", f"/containers/{base}")
    code, out, _ = daemon.run_container("env", Image="withenv:1", Env=["A=1", "EMPTY=", "GONE"])
    lines = out.decode().splitlines()
    assert code == 0
    assert {"A=1", "EMPTY=", "KEPT=1"} <= set(lines)
    assert not any(line.startswith("GONE") for line in lines)
    daemon.request("DELETE", "/images/withenv:1")
