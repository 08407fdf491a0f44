"""Values of flags: sizes, durations, mounts, ports, environments; and what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from carboy.cli import containerconfig, deviceflags, flags, mountflag, networkflags, terminal, units, values
from carboy.cli.containerflags import CONTAINER_FLAGS
from carboy.errors import InvalidArgument
from carboy.formats import human

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("64KiB", 65536),
        ("7", 7),
        ("10b", 10),
        ("2GB", 2 << 30),
        ("1 k", 1024),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert units.parse_size(text, "--memory") == count


@pytest.mark.parametrize("text", ["", "m", "-1m", "1x", "1.2.3m", "1e3", "५", "1mm"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument):
        units.parse_size(text, "--memory")


def test_durations_and_times() -> None:
    assert units.parse_duration("1h30m", "x") == 5400 * 10**9
    assert units.parse_duration("300ms", "x") == 300 * 10**6
    assert units.parse_duration("1.5s", "x") == 1_500_000_000
    assert units.parse_duration("0", "x") == 0
    for bad in ("", "5", "h", "1y", "1h x"):
        with pytest.raises(InvalidArgument):
            units.parse_duration(bad, "x")
    assert units.parse_time("10m", 1000.0, "x") == "400.000000000"
    assert units.parse_time("1700000000.5", 0, "x") == "1700000000.5"
    assert units.parse_time("2023-11-14T22:13:20Z", 0, "x") == "1700000000.000000000"
    assert units.parse_cpus("1.5") == 1_500_000_000


@pytest.mark.parametrize("number", ["9" * 400, "9" * 20, "9" * 5000])
def test_numbers_beyond_all_measure_are_refused(number: str) -> None:
    with pytest.raises(InvalidArgument, match="64 bits"):
        units.parse_size(number + "p", "--memory")
    with pytest.raises(InvalidArgument, match="64 bits"):
        units.parse_cpus(number)
    with pytest.raises(InvalidArgument):
        units.parse_duration(number + "h", "x")
    with pytest.raises(InvalidArgument):
        units.parse_time(number + "h", 0, "--since")
    with pytest.raises(InvalidArgument):
        units.parse_time("0001-01-01", 0, "--since")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"), (49 * 3600, "2 days"),
        (15 * 86400, "2 weeks"), (70 * 86400, "2 months"), (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_human_durations(seconds: float, text: str) -> None:
    assert human.duration(seconds) == text


def test_human_sizes() -> None:
    assert [human.size(n) for n in (0, 999, 1234, 12_345_678, 160_000_000)] == [
        "0B",
        "999B",
        "1.23kB",
        "12.3MB",
        "160MB",
    ]
    assert human.binary_size(16 << 30) == "16GiB"


def test_timestamps() -> None:
    assert human.unix_time("2024-02-29T23:59:59Z") == 1709251199
    assert human.unix_time("1999-12-31T00:00:00.5+02:00") == 946591200.5
    assert human.unix_time("0001-01-01T00:00:00Z") == 0
    assert human.unix_time("garbage") == 0


def test_environment_files_and_our_own_values(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\nOURS\nMISSING\n  B=x y\r\n")
    got = values.environment(["C=3", "OURS", "MISSING"], [str(file)], {"OURS": "yes"})
    assert got == ["A=1", "OURS=yes", "B=x y", "C=3", "OURS=yes", "MISSING"]
    file.write_text("A B=1\n")
    with pytest.raises(InvalidArgument):
        values.read_lines(str(file))


def test_mounts() -> None:
    assert mountflag.mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave") == {
        "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }  # fmt: skip
    assert mountflag.mount('type=volume,"source=a,b",target=/x')["Source"] == "a,b"
    assert mountflag.mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770")["TmpfsOptions"] == {
        "SizeBytes": 1 << 20,
        "Mode": 0o1770,
    }
    for bad in ("type=bind,volume-nocopy,target=/x", "type=volume", "nonsense", "target=/x,frob=1"):
        with pytest.raises(InvalidArgument):
            mountflag.mount(bad)
    assert values.bind("data:/d:ro") == ("data:/d:ro", "")
    assert values.bind("/d") == ("", "/d")
    assert values.bind("./x:/d") == (os.path.abspath("x") + ":/d", "")
    for bad in ("", "data:", ":/x"):
        with pytest.raises(InvalidArgument):
            values.bind(bad)


def test_ports() -> None:
    exposed, bindings = networkflags.ports(["8080:80", "127.0.0.1::53/udp", "1000-1001:2000-2001"], ["9"])
    assert set(exposed) == {"80/tcp", "53/udp", "2000/tcp", "2001/tcp", "9/tcp"}
    assert bindings["80/tcp"] == [{"HostIp": "", "HostPort": "8080"}]
    assert bindings["53/udp"] == [{"HostIp": "127.0.0.1", "HostPort": ""}]
    assert bindings["2001/tcp"] == [{"HostIp": "", "HostPort": "1001"}]
    _, bindings = networkflags.ports(["8000-8010:80", "[::1]:53:53/udp", "published=8080,target=81"], [])
    assert bindings["80/tcp"] == [{"HostIp": "", "HostPort": "8000-8010"}]
    assert bindings["53/udp"] == [{"HostIp": "::1", "HostPort": "53"}]
    assert bindings["81/tcp"] == [{"HostIp": "", "HostPort": "8080"}]
    for bad in ("0", "70000", "1-3:5-6", "x", "80/frob", "published=1"):
        with pytest.raises(InvalidArgument):
            networkflags.ports([bad], [])


def test_limits_devices_and_policies() -> None:
    assert values.ulimit("nofile=1024:2048") == {"Name": "nofile", "Soft": 1024, "Hard": 2048}
    assert values.ulimit("core=0") == {"Name": "core", "Soft": 0, "Hard": 0}
    nodes, requests = deviceflags.devices(["/dev/a:r", "/dev/a:/dev/b:rw", "vendor.com/class=name"])
    assert nodes[0]["CgroupPermissions"] == "r"
    assert nodes[1]["PathInContainer"] == "/dev/b"
    assert requests == [{"Driver": "cdi", "DeviceIDs": ["vendor.com/class=name"]}]
    assert values.restart_policy("on-failure:3") == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert values.throttle("/dev/sda:1mb", "device-read-bps") == {"Path": "/dev/sda", "Rate": 1 << 20}
    wrong = ((values.ulimit, "nofile=2:1"), (values.ulimit, "x"), (values.restart_policy, "always:x"))
    for call, bad in wrong:
        with pytest.raises(InvalidArgument):
            call(bad)


def test_gpus() -> None:
    assert deviceflags.gpus("all") == {"Count": -1, "Capabilities": [["gpu"]]}
    assert deviceflags.gpus("2")["Count"] == 2
    found = deviceflags.gpus('"device=0,1",driver=nvidia,"capabilities=compute,utility",options=a=b')
    assert found == {
        "DeviceIDs": ["0", "1"],
        "Driver": "nvidia",
        "Capabilities": [["compute", "utility", "gpu"]],
        "Options": {"a": "b"},
    }
    for bad in ("x", "count=1,count=2", "foo=bar", "count=1,2"):
        with pytest.raises(InvalidArgument):
            deviceflags.gpus(bad)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--mount", "type=bind,src=/x"], "target is required"),
        (
            ["--mount", "type=bind,src=/x,dst=/x,volume-nocopy"],
            "cannot mix 'volume-*' options with mount type",
        ),
        (["--mount", "type=bind,src=/x,dst=/x,bind-recursive=foo"], "invalid value for bind-recursive: foo"),
        (["--mount", "type=bind,src=/x,dst=/x,bind-recursive=readonly"], "requires 'readonly'"),
        (["--mount", "type=bind,src=/x,dst=/x,readonly=foo"], "invalid value for readonly: foo"),
        (["--mount", "type=tmpfs,dst=/x,tmpfs-mode=9"], "invalid value for tmpfs-mode: 9"),
        (["--mount", "foo"], "invalid field 'foo' must be a key=value pair"),
        (["--mount", "dst=/x,foo=1"], "unexpected key 'foo' in 'foo=1'"),
        (["--device", "foo"], "foo is not an absolute path"),
        (["--device", "/dev/x:/y:foo"], "bad mode specified: foo"),
        (["--device-read-bps", "/dev/x:foo"], "invalid rate for device: /dev/x:foo"),
        (["--blkio-weight-device", "/dev/x:5"], "invalid weight for device"),
        (["--link", "a:b:c"], "bad format for links: a:b:c"),
        (["--dns", "foo"], "IP address is not correctly formatted: foo"),
        (["--add-host", "foo"], 'bad format for add-host: "foo"'),
        (["--add-host", "foo:bar"], 'invalid IP address in add-host: "bar"'),
        (["--mac-address", "foo"], "foo is not a valid mac address"),
        (["--pid", "foo"], "--pid: invalid PID mode"),
        (["--uts", "container:x"], "--uts: invalid UTS mode"),
        (["--userns", "foo"], "--userns: invalid USER mode"),
        (["--cgroupns", "foo"], "--cgroupns: invalid CGROUP mode"),
        (["--memory-swappiness", "200"], "Valid memory swappiness range is 0-100"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (["--health-interval", "-5s"], "--health-interval cannot be negative"),
        (["--security-opt", "seccomp=/absent"], "opening seccomp profile (/absent) failed"),
        (["--security-opt", "foo"], 'Invalid --security-opt: "foo"'),
        (["--storage-opt", "foo"], "invalid storage option"),
        (["--restart", "on-failure:x"], "maximum retry count must be an integer"),
        (["--cpu-count", "1"], "only supported on a Docker daemon running on windows"),
        (["-v", ""], "invalid empty volume spec"),
        (["-v", ":/x"], "empty section between colons"),
        (["-p", "80-81:90-95"], "invalid ranges specified for container and host Ports"),
        (["--network", "name=a,foo=b"], "invalid field key foo"),
        (["--ulimit", "nofile=10:5"], "ulimit soft limit must be less than or equal to hard limit: 10 > 5"),
    ],
)
def test_what_dockers_command_refuses_by_itself(arguments: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config(*arguments, "img")
    assert text in str(caught.value)


def test_networks_links_and_their_long_form() -> None:
    body = config("--network", "name=bridge,alias=a,ip=10.0.0.2,driver-opt=x=y", "--mac-address",
                  "02:00:00:00:00:01", "--link", "db:data", "--link", "web", "--add-host", "h=host-gateway",
                  "img")  # fmt: skip
    host, endpoints = body["HostConfig"], body["NetworkingConfig"]["EndpointsConfig"]
    assert host["NetworkMode"] == "bridge"
    assert endpoints == {
        "bridge": {
            "Aliases": ["a"],
            "IPAMConfig": {"IPv4Address": "10.0.0.2"},
            "DriverOpts": {"x": "y"},
            "MacAddress": "02:00:00:00:00:01",
        }
    }
    assert host["Links"] == ["db:data", "web:web"]
    assert host["ExtraHosts"] == ["h:host-gateway"]


def test_systempaths_and_profiles_are_the_clients_work(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }')
    host = config("--security-opt", "systempaths=unconfined", "--security-opt",
                  f"seccomp={tmp_path}/profile", "img")["HostConfig"]  # fmt: skip
    assert (host["MaskedPaths"], host["ReadonlyPaths"]) == ([], [])
    assert host["SecurityOpt"] == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']


def config(*arguments: str) -> dict[str, Any]:
    parsed = flags.parse(CONTAINER_FLAGS, list(arguments), interspersed=False)
    return containerconfig.build(parsed, attached=(False, True, True))


def test_a_whole_container_configuration() -> None:
    body = config(
        "-m", "512m", "--cpus", "1.5", "--pids-limit", "10", "-v", "data:/d", "-v", "/anon",
        "--tmpfs", "/t:size=1m",
        "--cap-drop", "ALL", "--read-only", "--rm", "--init", "-u", "1:1", "-w", "/w", "--label", "a=b",
        "-e", "X=1",
        "--network", "none", "--entrypoint", "sh", "--memory-swap", "-1", "--ulimit", "nofile=5",
        "img", "-c", "x",
    )  # fmt: skip
    host = body["HostConfig"]
    assert body["Image"] == "img"
    assert body["Cmd"] == ["-c", "x"]
    assert body["Entrypoint"] == ["sh"]
    assert body["Volumes"] == {"/anon": {}}
    assert body["Labels"] == {"a": "b"}
    assert host["Memory"] == 512 << 20
    assert host["MemorySwap"] == -1
    assert host["NanoCpus"] == 1_500_000_000
    assert host["Binds"] == ["data:/d"]
    assert host["NetworkMode"] == "none"
    assert host["AutoRemove"]
    assert host["Init"]


def test_only_what_was_said_is_sent() -> None:
    body = config("img")
    assert body["HostConfig"] == {}
    assert body["Cmd"] is None
    with pytest.raises(InvalidArgument, match="--restart and --rm"):
        config("--rm", "--restart", "always", "img")


def test_detach_keys() -> None:
    assert terminal.parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert terminal.parse_detach_keys("a,ctrl-@") == b"a\x00"
    scanner = terminal.DetachScanner(b"\x10\x11")
    assert not scanner.seen(b"abc\x10")
    assert scanner.seen(b"\x11")
    assert not scanner.seen(b"\x10x\x11")
    assert scanner.seen(b"\x10\x10\x11")
    with pytest.raises(InvalidArgument):
        terminal.parse_detach_keys("ctrl-é")
