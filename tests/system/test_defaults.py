"""What a container gets when nobody asks for anything: read from inside, compared exactly.

The lists are written out here a second time, on purpose: a change of the engine's own is seen.
Source: the defaults of moby (daemon/pkg/oci), as noted in docs/conformance.md.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from carboy.linux.capabilities import NUMBERS
from support.daemon import Daemon, daemon
from support.hijack import run_exec

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["daemon"]

CAPABILITIES = str.split(
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
    "SYS_CHROOT KILL AUDIT_WRITE"
)
MASKED = [
    *(
        f"/proc/{name}"
        for name in str.split("acpi asound interrupts kcore keys latency_stats sched_debug scsi")
    ),
    *("/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
    *(f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(os.cpu_count() or 1)),
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MOUNTS = {
    "/proc": ("proc", {"rw", "nosuid", "nodev", "noexec"}),
    "/dev": ("tmpfs", {"rw", "nosuid", "size=65536k", "mode=755"}),
    "/dev/pts": ("devpts", {"rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}),
    "/dev/mqueue": ("mqueue", {"rw", "nosuid", "nodev", "noexec"}),
    "/dev/shm": ("tmpfs", {"rw", "nosuid", "nodev", "noexec", "size=65536k"}),
    "/sys": ("sysfs", {"ro", "nosuid", "nodev", "noexec"}),
}
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def fields(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def check_status(text: str) -> None:
    found = fields(text)
    wanted = sum(1 << NUMBERS[f"CAP_{name}"] for name in CAPABILITIES)
    assert len(CAPABILITIES) == 14
    assert {name: int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": 0, "CapPrm": wanted, "CapEff": wanted, "CapBnd": wanted, "CapAmb": 0,
    }  # fmt: skip
    assert (found["NoNewPrivs"], found["Seccomp"], found["Seccomp_filters"]) == ("0", "2", "1")
    assert found["Groups"].split() == ["0"]
    assert found["Umask"] == "0022"
    assert int(found["SigBlk"], 16) == int(found["SigIgn"], 16) == 0


def test_capabilities_seccomp_and_signals_of_run_and_exec(daemon: Daemon) -> None:
    container = daemon.create(
        "sh", "-c", "cat /proc/self/status; exec sleep 100", host={"NetworkMode": "none"}
    )
    daemon.post(f"/containers/{container}/start")
    check_status(run_exec(daemon, container, "cat", "/proc/self/status")[1].decode())
    check_status(daemon.output(container).decode())
    # Other users have no capabilities, but the same bounding set.
    other = fields(daemon.shell("cat /proc/self/status", User="1000:1000"))
    assert (int(other["CapEff"], 16), int(other["CapPrm"], 16), int(other["CapInh"], 16)) == (0, 0, 0)
    daemon.remove_all()


def test_masked_paths_show_nothing(daemon: Daemon) -> None:
    script = (
        "for path in $PATHS; do [ -e $path ] || continue; echo $path $(if [ -d $path ]; then ls -A $path; "
    )
    script += 'else cat $path; fi | wc -c) $(grep -c " $path " /proc/mounts); done'
    lines = daemon.shell(script, Env=[f"PATHS={' '.join(MASKED)}"]).splitlines()
    present = [path for path in MASKED if os.path.exists(path)]
    assert lines == [f"{path} 0 1" for path in present]
    assert {"/proc/keys", "/sys/firmware"} <= set(present)


def test_read_only_paths_refuse_writes(daemon: Daemon) -> None:
    options = {
        line.split()[1]: line.split()[3].split(",") for line in daemon.shell("cat /proc/mounts").splitlines()
    }
    for path in READ_ONLY:
        if os.path.exists(path):
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(options[path]), path
    script = "for path in /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/irq/default_smp_affinity "
    script += "/sys/kernel/mm/ksm/run /sys/fs/cgroup/memory/memory.limit_in_bytes; "
    script += "do [ -e $path ] && (echo 1 > $path) 2>/dev/null && echo wrote $path; done; true"
    assert daemon.shell(script) == ""


def test_mounts_and_their_options(daemon: Daemon) -> None:
    found: dict[str, tuple[str, set[str]]] = {}
    for line in daemon.shell("cat /proc/mounts").splitlines():
        _, path, kind, options, *_ = line.split()
        found[path] = (kind, set(options.split(",")) - {"relatime", "inode64"})
    for path, (kind, wanted) in MOUNTS.items():
        assert found[path][0] == kind
        assert wanted <= found[path][1], (path, found[path])
    assert "nodev" not in found["/dev"][1]
    groups = {path: options for path, (kind, options) in found.items() if kind in ("cgroup", "cgroup2")}
    assert groups
    assert all({"ro", "nosuid", "nodev", "noexec"} <= options for options in groups.values())
    expected = {"/", *MOUNTS, "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sys/fs/cgroup", *groups}
    assert set(found) - expected - set(MASKED) - set(READ_ONLY) == set()
    assert daemon.shell("stat -c '%a' /dev/shm /dev/mqueue /dev /tmp").split() == [
        "1777",
        "1777",
        "755",
        "1777",
    ]


def test_device_nodes_and_links(daemon: Daemon) -> None:
    text = daemon.shell(
        "cd /dev; for name in *; do stat -c '%n %F %a %t:%T' $name; readlink $name; done; true"
    )
    lines = text.splitlines()
    for name, (major, minor) in NODES.items():
        assert f"{name} character special file 666 {major:x}:{minor:x}" in lines
    links = daemon.shell(
        "cd /dev; for name in fd stdin stdout stderr core ptmx; do readlink $name; done"
    ).split()
    assert links[:4] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert links[-1] in ("pts/ptmx", "/dev/pts/ptmx")
    names = {line.split()[0] for line in lines if " special file " in line or " file " in line}
    assert not names & {"fuse", "kvm", "mem", "kmem", "port", "sda", "vda", "loop0"}


def test_the_device_filter(daemon: Daemon) -> None:
    # Nodes may be made (CAP_MKNOD), but opened only where the filter has them.
    tries = {
        "null": "c 1 3", "zero": "c 1 5", "full": "c 1 7", "random": "c 1 8", "urandom": "c 1 9",
        "tty": "c 5 0", "console": "c 5 1", "ptmx": "c 5 2", "mem": "c 1 1", "kmsg": "c 1 11",
        "fuse": "c 10 229", "tun": "c 10 200", "loop": "b 7 0", "vda": "b 254 0", "sda": "b 8 0",
        "other": "c 240 7",
    }  # fmt: skip
    script = "mkdir /n; cd /n; "
    script += "".join(f"mknod {name} {numbers} || echo no {name}; " for name, numbers in tries.items())
    script += (
        "for name in *; do echo $name $(dd if=$name bs=1 count=0 2>&1 | grep -c 'Operation not perm'); done"
    )
    denied = {line.split()[0] for line in daemon.shell(script).splitlines() if line.endswith(" 1")}
    assert denied == {"mem", "kmsg", "fuse", "tun", "loop", "vda", "sda", "other"}


def test_namespaces(daemon: Daemon) -> None:
    script = "for kind in mnt net time uts pid ipc cgroup user; do readlink /proc/self/ns/$kind; done; "
    script += "readlink /proc/self/ns/time_for_children"
    inside = daemon.shell(script).split()
    kinds = ("mnt", "net", "time", "uts", "pid", "ipc", "cgroup", "user")
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    shared = {kind for kind, link in zip(kinds, inside[:8], strict=True) if own[kind] == link}
    assert shared == {"user"}
    assert inside[8] == inside[2]


def test_environment_limits_and_scores(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "env; cat /proc/self/oom_score_adj; cat /proc/self/limits; pwd")
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    lines = daemon.output(container).decode().splitlines()
    env = {line for line in lines if "=" in line}
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert env - {"SHLVL=1", "PWD=/"} == {path, "HOME=/root", f"HOSTNAME={container[:12]}"}
    assert "0" in lines
    assert lines[-1] == "/"
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines if line.startswith("Max ")}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits["Max open files"] == [str(hard), str(hard)]
    assert limits["Max core file size"] == [limit(one) for one in resource.getrlimit(resource.RLIMIT_CORE)]
    assert soft <= hard
    daemon.remove_all()


def limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def test_only_the_three_streams_are_open(daemon: Daemon) -> None:
    container = daemon.create("sh", "-c", "ls /proc/self/fd; exec sleep 100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    # The fourth is what `ls` itself reads.
    assert run_exec(daemon, container, "ls", "/proc/self/fd")[1].split() == [b"0", b"1", b"2", b"3"]
    assert run_exec(daemon, container, "ls", "/proc/1/fd")[1].split() == [b"0", b"1", b"2"]
    assert daemon.output(container).split() == [b"0", b"1", b"2", b"3"]
    daemon.remove_all()


def test_hostname_files_and_network(daemon: Daemon) -> None:
    container = daemon.create(
        "sh", "-c", "hostname; cat /etc/hostname; cat /proc/sys/net/ipv4/ping_group_range"
    )
    daemon.post(f"/containers/{container}/start")
    daemon.wait(container)
    text = daemon.output(container).decode().split()
    assert text == [container[:12], container[:12], "0", "2147483647"]
    daemon.remove_all()


def test_privileged_has_everything_that_the_host_has(daemon: Daemon) -> None:
    found = fields(daemon.shell("cat /proc/self/status", host={"Privileged": True}))
    bounding = fields(Path("/proc/self/status").read_text())["CapBnd"]
    assert found["CapEff"] == found["CapBnd"] == bounding
    assert (int(found["CapInh"], 16), found["Seccomp"]) == (0, "0")
    options = {
        line.split()[1]: line.split()[3]
        for line in daemon.shell("cat /proc/mounts", host={"Privileged": True}).splitlines()
    }
    assert "rw" in options["/sys"].split(",")
    assert not set(MASKED) & set(options)
