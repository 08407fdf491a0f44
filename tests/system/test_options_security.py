"""Security options of create, asked from inside: capabilities, filters, masks, privileged, users."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest

from carboy.linux.capabilities import NUMBERS
from support.daemon import IMAGE, Daemon, RequestError, daemon

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]


def status(daemon: Daemon, **host: Any) -> dict[str, str]:
    """The fields of /proc/self/status inside."""
    text = daemon.shell("cat /proc/self/status", host=host)
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def warnings(daemon: Daemon, **host: Any) -> list[str]:
    made = daemon.post("/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host})
    daemon.request("DELETE", f"/containers/{made['Id']}")
    found: list[str] = made["Warnings"]
    return found


def refused(daemon: Daemon, **host: Any) -> str:
    with pytest.raises(RequestError) as caught:
        daemon.create("true", host=host)
    assert caught.value.status == 400
    return caught.value.message


def test_capabilities(daemon: Daemon) -> None:
    assert int(status(daemon, CapDrop=["ALL"])["CapBnd"], 16) == 0
    chosen = int(status(daemon, CapDrop=["ALL"], CapAdd=["NET_BIND_SERVICE", "cap_chown"])["CapEff"], 16)
    assert chosen == 1 << NUMBERS["CAP_NET_BIND_SERVICE"] | 1 << NUMBERS["CAP_CHOWN"]
    everything = int(status(daemon, CapAdd=["ALL"])["CapEff"], 16)
    assert everything == int(status(daemon, Privileged=True)["CapEff"], 16)
    assert everything & 1 << NUMBERS["CAP_SYS_ADMIN"]
    without = int(status(daemon, CapAdd=["ALL"], CapDrop=["SYS_ADMIN"])["CapBnd"], 16)
    assert not without & 1 << NUMBERS["CAP_SYS_ADMIN"]
    assert 'unknown capability: "CAP_FOO"' in refused(daemon, CapAdd=["FOO"])


def test_no_new_privileges(daemon: Daemon) -> None:
    for text, wanted in (
        ("no-new-privileges", "1"),
        ("no-new-privileges:true", "1"),
        ("no-new-privileges=1", "1"),
        ("no-new-privileges=false", "0"),
    ):
        assert status(daemon, SecurityOpt=[text])["NoNewPrivs"] == wanted
    for text in ("no-new-privileges:maybe", "foo=bar", "label=foo", "seccomp"):
        assert "invalid --security-opt" in refused(daemon, SecurityOpt=[text])


def test_seccomp_profiles(daemon: Daemon) -> None:
    assert status(daemon)["Seccomp"] == "2"
    assert status(daemon, SecurityOpt=["seccomp=builtin"])["Seccomp"] == "2"
    assert status(daemon, SecurityOpt=["seccomp=unconfined"])["Seccomp"] == "0"
    assert status(daemon, SecurityOpt=["seccomp:unconfined"])["Seccomp"] == "0"
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    option = f"seccomp={json.dumps(profile)}"
    script = "mkdir /x 2>/dev/null || echo refused"
    assert daemon.shell(script, host={"SecurityOpt": [option]}) == "refused\n"
    for broken in ("seccomp={", "seccomp=[]"):
        with pytest.raises(RequestError, match="Decoding seccomp profile failed"):
            daemon.run_container("true", host={"SecurityOpt": [broken]})


def test_labels_are_warned_about_where_there_are_none(daemon: Daemon) -> None:
    if not os.path.exists("/sys/module/apparmor/parameters/enabled"):
        assert any("AppArmor" in text for text in warnings(daemon, SecurityOpt=["apparmor=mine"]))
    assert warnings(daemon, SecurityOpt=["apparmor=unconfined", "label=disable", "label:disable"]) == []
    assert any("SELinux" in text for text in warnings(daemon, SecurityOpt=["label=type:svirt_t"]))


def test_system_paths(daemon: Daemon) -> None:
    script = "touch /proc/sys/kernel/domainname 2>/dev/null; grep -c ' /proc/' /proc/mounts; true"
    masked = int(daemon.shell(script))
    assert masked > 5
    open_hosts: list[dict[str, list[str]]] = [
        {"MaskedPaths": [], "ReadonlyPaths": []},
        {"SecurityOpt": ["systempaths=unconfined"]},
    ]
    for host in open_hosts:
        assert daemon.shell(script, host=host) == "0\n"
    own = {"MaskedPaths": ["/etc/passwd", "/proc/cpuinfo"], "ReadonlyPaths": ["/tmp"]}
    text = daemon.shell("cat /etc/passwd /proc/cpuinfo; touch /tmp/x 2>/dev/null || echo no", host=own)
    assert text == "no\n"


def test_writable_cgroups(daemon: Daemon) -> None:
    script = "mkdir /sys/fs/cgroup/pids/inner 2>/dev/null || mkdir /sys/fs/cgroup/inner 2>/dev/null"
    script += " && echo made; true"
    assert daemon.shell(script) == ""
    assert daemon.shell(script, host={"SecurityOpt": ["writable-cgroups=true"]}) == "made\n"


def test_privileged(daemon: Daemon) -> None:
    script = (
        "grep ' /sys ' /proc/mounts | cut -d' ' -f4; ls /dev | wc -l; grep -c ' /proc/' /proc/mounts;"
        "mkdir /m; mount -t tmpfs tmpfs /m && echo mounted; test -w /proc/sys && echo writable"
    )
    options, devices, masks, *rest = daemon.shell(script, host={"Privileged": True}).splitlines()
    assert "rw" in options.split(",")
    assert int(devices) > 10
    assert masks == "0"
    assert rest == ["mounted", "writable"]
    fields = status(daemon, Privileged=True)
    assert (fields["Seccomp"], fields["CapInh"]) == ("0", "0000000000000000")
    if os.path.exists("/dev/loop-control") and stat.S_ISCHR(os.stat("/dev/loop-control").st_mode):
        assert daemon.shell("ls /dev/loop-control", host={"Privileged": True})


@pytest.mark.parametrize("user", ["4294967296", "4294967295", "2147483648", "-1", "1:4294967296"])
def test_uids_that_wrap_around_are_refused(daemon: Daemon, user: str) -> None:
    # containerd CVE-2024-40635
    with pytest.raises(RequestError, match="400"):
        daemon.run_container("id", User=user)


def test_groups_are_exactly_those_that_were_said(daemon: Daemon) -> None:
    # containerd CVE-2023-25173
    assert daemon.shell("id -G", User="1000:1000").split() == ["1000"]
    assert daemon.shell("id -G", User="me").split() == ["1000", "2000"]
    added = {"GroupAdd": ["extra", "77"]}
    assert sorted(daemon.shell("id -G", User="1000:1000", host=added).split()) == ["1000", "2000", "77"]
    with pytest.raises(RequestError, match="nable to find group nogroup"):
        daemon.run_container("id", host={"GroupAdd": ["nogroup"]})


def test_devices_and_rules(daemon: Daemon) -> None:
    device = {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/sub/nought", "CgroupPermissions": "r"}
    script = "head -c 3 /dev/sub/nought | wc -c; echo x > /dev/sub/nought && echo wrote; true"
    code, out, _ = daemon.run_container("sh", "-c", script, host={"Devices": [device]})
    assert (code, out.split()[0]) == (0, b"3")
    node = "mknod /k c 1 11; "
    assert daemon.shell(node + "(echo > /k) 2>/dev/null && echo opened; true") == ""
    allowed = {"DeviceCgroupRules": ["c 1:11 rwm"]}
    if os.path.exists("/dev/kmsg"):
        code, out, err = daemon.run_container("sh", "-c", node + "exec 3</k && echo opened", host=allowed)
        assert b"opened" in out or b"not permitted" in err  # syslog's own permission may still refuse
    for bad in ("foo", "c 1 rwm", "c 1:x rwm", "x 1:1 r", "c 1:1 z"):
        assert "invalid device cgroup rule format" in refused(daemon, DeviceCgroupRules=[bad])
    assert "error gathering device information" in refused(
        daemon, Devices=[{"PathOnHost": "/dev/absent", "PathInContainer": "/dev/absent"}]
    )


def test_a_directory_of_devices(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("devices")
    (folder / "inner").mkdir()
    os.mknod(folder / "nought", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(folder / "inner" / "nothing", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (folder / "plain").write_text("no device")
    mapping = {"PathOnHost": str(folder), "PathInContainer": "/dev/many", "CgroupPermissions": "rwm"}
    text = daemon.shell("head -c 2 /dev/many/nought | wc -c; find /dev/many", host={"Devices": [mapping]})
    inner = ["/dev/many", "/dev/many/inner", "/dev/many/inner/nothing", "/dev/many/nought"]
    assert sorted(text.split()) == [*inner, "2"]
