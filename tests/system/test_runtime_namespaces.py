"""Namespaces: new ones, joined ones, id maps, time offsets, exec into all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.errors import CarboyError
from support.oci import Running, add_namespace, base_config, bind, rootfs, run, use_user_namespace

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root

KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}


def test_every_namespace_is_the_containers_own(rootfs: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    use_user_namespace(config)
    add_namespace(config, "time")
    with Running(config, rootfs.parent) as running:
        for name in KINDS.values():
            inside = os.readlink(f"/proc/{running.pid}/ns/{name}")
            assert inside != os.readlink(f"/proc/self/ns/{name}"), name


def test_what_is_not_asked_for_is_shared(rootfs: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    config["linux"]["namespaces"] = [{"type": "mount"}]
    del config["hostname"]
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "sysfs"]
    with Running(config, rootfs.parent) as running:
        for kind, name in KINDS.items():
            same = os.readlink(f"/proc/{running.pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")
            assert same == (kind != "mount"), kind


def test_joined_namespaces_are_those_of_the_path(rootfs: Path) -> None:
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as first:
        config = base_config(rootfs, "sh", "-c", "hostname; ps -o args | grep -c '^sleep 100'")
        del config["hostname"]
        for kind in ("pid", "network", "ipc", "uts"):
            add_namespace(config, kind, f"/proc/{first.pid}/ns/{KINDS[kind]}")
        assert run(config).lines() == ["inside", "1"]


def test_the_parent_keeps_no_descriptor_of_a_pid_namespace_that_was_joined(rootfs: Path) -> None:
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as first:
        wanted = os.readlink(f"/proc/{first.pid}/ns/pid")
        config = base_config(rootfs, "sleep", "100")
        add_namespace(config, "pid", f"/proc/{first.pid}/ns/pid")
        with Running(config, rootfs.parent):
            assert wanted not in [os.readlink(f"/proc/self/fd/{fd}") for fd in open_descriptors()]


def open_descriptors() -> list[int]:
    """Of this process."""
    return [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]


def test_a_path_of_another_kind_is_refused(rootfs: Path) -> None:
    config = base_config(rootfs, "true")
    add_namespace(config, "network", "/proc/self/ns/uts")
    with pytest.raises(CarboyError, match="is not a network namespace"):
        run(config)


def test_root_of_a_user_namespace_is_nobody_outside(rootfs: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    use_user_namespace(config, 100000, 5000)
    with Running(config, rootfs.parent) as running:
        assert os.stat(f"/proc/{running.pid}/root/proc/1").st_uid == 100000
        done = running.execute(
            "sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo written"
        )
        assert [line.split() for line in done.lines()] == [["0"], ["0", "100000", "5000"], ["written"]]
        assert running.execute("id", "-u", user={"uid": 1000, "gid": 1000}).lines() == ["1000"]


def test_a_user_namespace_can_be_joined(rootfs: Path) -> None:
    first = base_config(rootfs, "sleep", "100")
    use_user_namespace(first)
    with Running(first, rootfs.parent) as running:
        config = base_config(rootfs, "sh", "-c", "id -u; cat /proc/self/uid_map; ps -o pid | wc -l")
        for kind in ("user", "network"):
            add_namespace(config, kind, f"/proc/{running.pid}/ns/{KINDS[kind]}")
        done = run(config)
        assert done.lines()[1].split() == ["0", "100000", "65536"], done.err


def test_a_user_namespace_joins_a_network_of_the_host(rootfs: Path) -> None:
    config = base_config(rootfs, "sh", "-c", "id -u; ls /sys/class/net")
    use_user_namespace(config)
    add_namespace(config, "network", "/proc/self/ns/net")
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "sysfs"]
    config["mounts"].append(bind("/sys", "/sys", "rbind", "ro"))
    assert run(config).lines()[0] == "0"


def test_time_offsets_move_the_clock_of_init_and_exec(rootfs: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    add_namespace(config, "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}, "monotonic": {"secs": 5}}
    with Running(config, rootfs.parent) as running:
        assert float(running.execute("cat", "/proc/uptime").out.split()[0]) > 10_000_000
        assert "monotonic" in Path(f"/proc/{running.pid}/timens_offsets").read_text()


def test_time_offsets_in_a_user_namespace(rootfs: Path) -> None:
    config = base_config(rootfs, "cat", "/proc/uptime")
    use_user_namespace(config)
    add_namespace(config, "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    assert float(run(config).out.split()[0]) > 10_000_000


def test_host_and_domain_name(rootfs: Path) -> None:
    config = base_config(rootfs, "cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname")
    config["domainname"] = "example.org"
    assert run(config).lines() == ["inside", "example.org"]


def test_the_cgroup_namespace_hides_where_the_group_is(rootfs: Path) -> None:
    config = base_config(rootfs, "cat", "/proc/self/cgroup")
    assert all(line.endswith(":/") for line in run(config).lines())


def test_a_joined_mount_namespace_has_its_root_already(rootfs: Path) -> None:
    first = base_config(rootfs, "sleep", "100")
    first["mounts"].append({"destination": "/mark", "type": "tmpfs", "source": "tmpfs", "options": []})
    with Running(first, rootfs.parent) as running:
        config = base_config(rootfs, "sh", "-c", "grep -c ' /mark ' /proc/mounts; ls /bin/busybox")
        add_namespace(config, "mount", f"/proc/{running.pid}/ns/mnt")
        add_namespace(config, "pid", f"/proc/{running.pid}/ns/pid")
        assert run(config).lines() == ["1", "/bin/busybox"]
