"""The process: identity, capabilities, limits, scheduling, terminal, `--init`, exec, descriptors."""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
from pathlib import Path

import pytest

from carboy.formats import seccomp as profiles
from carboy.formats.spawner import StepError
from carboy.runtime import labels, seccomp
from support.oci import CAPABILITIES, Config, Running, base_config, rootfs, run, use_user_namespace

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root


def status(config: Config) -> dict[str, str]:
    """The inside's /proc/self/status."""
    config["process"]["args"] = ["cat", "/proc/self/status"]
    return dict(line.split(":\t", 1) for line in run(config).lines() if ":\t" in line)


def test_user_groups_umask_and_directory(rootfs: Path) -> None:
    config = base_config(rootfs, "sh", "-c", "id -u; id -g; id -G; umask; pwd; echo $A")
    config["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o77}
    config["process"]["cwd"] = "/made/for/it"
    config["process"]["env"].append("A=b=c")
    assert run(config).lines() == ["1000", "1001", "1001 5 7", "0077", "/made/for/it", "b=c"]


def test_capabilities_in_all_five_sets(rootfs: Path) -> None:
    config = base_config(rootfs)
    kill, chown = 1 << 5, 1
    config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    found = {name: int(value, 16) for name, value in status(config).items() if name.startswith("Cap")}
    assert found == {"CapInh": kill, "CapPrm": kill, "CapEff": kill, "CapBnd": kill | chown, "CapAmb": kill}


def test_an_ordinary_user_has_no_capabilities(rootfs: Path) -> None:
    config = base_config(rootfs)
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert int(status(config)["CapEff"], 16) == 0


def test_no_new_privileges_and_seccomp_are_off_unless_asked_for(rootfs: Path) -> None:
    config = base_config(rootfs)
    assert (status(config)["NoNewPrivs"], status(config)["Seccomp"]) == ("0", "0")
    config["process"]["noNewPrivileges"] = True
    assert status(config)["NoNewPrivs"] == "1"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_seccomp_filter_holds_in_init_and_exec(rootfs: Path, no_new_privileges: bool) -> None:
    config = base_config(rootfs, "sleep", "100")
    config["process"]["noNewPrivileges"] = no_new_privileges
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    with Running(config, rootfs.parent) as running:
        seen = Path(f"/proc/{running.pid}/status").read_text()
        assert "Seccomp:\t2" in seen
        assert "not supported" in running.execute("mkdir", "/x").err


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("missing", [{"close_range"}, set(seccomp.NEWER_CALLS)])
def test_the_filter_need_not_allow_what_the_runtime_calls(
    rootfs: Path, missing: set[str], no_new_privileges: bool, init: bool
) -> None:
    """A profile that allows what programs need; descriptors are ready for execve before it is loaded."""
    text = (Path(profiles.__file__).parent / "seccomp_default.json").read_text()
    wanted = profiles.resolve(
        json.loads(text), capabilities=CAPABILITIES, machine=platform.machine(), kernel=(6, 1)
    )
    for rule in wanted["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in missing]
    count = "ls -l /proc/self/fd | grep -c -- '->'"
    config = base_config(rootfs, "sh", "-c", f"{count}; sleep 100")
    config["process"]["noNewPrivileges"] = no_new_privileges
    config["linux"]["seccomp"] = wanted
    config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    with Running(config, rootfs.parent, init=init) as running:
        assert running.read_line() == "3"
        assert running.execute("sh", "-c", count).out == "3\n"
        if init:
            assert sorted(os.listdir(f"/proc/{running.pid}/fd")) == ["0", "1", "2"]


def test_limits_are_set_and_the_impossible_becomes_the_nearest(rootfs: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    config = base_config(rootfs, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")
    config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    assert run(config).lines() == ["100", "200", "0"]
    if hard == resource.RLIM_INFINITY or os.geteuid() != 0:
        pytest.skip("every limit can be set here")
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]
    done = run(config)
    if done.warnings:
        assert done.lines()[:2] == [str(hard), str(hard)]
        assert "RLIMIT_NOFILE" in done.warnings[0]
        config["annotations"] = {"dev.carboy.rlimits-explicit": "RLIMIT_NOFILE"}
        with pytest.raises(StepError, match="cannot raise RLIMIT_NOFILE"):
            run(config)


def test_oom_score_scheduler_personality_and_affinity(rootfs: Path) -> None:
    config = base_config(
        rootfs, "sh", "-c", "cat /proc/self/oom_score_adj; uname -m; grep policy /proc/self/sched"
    )
    config["process"] |= {
        "oomScoreAdj": 321,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
    }
    if os.uname().machine == "x86_64":
        config["linux"]["personality"] = {"domain": "LINUX32"}
    lines = run(config).lines()
    assert (lines[0], lines[2].split()[-1]) == ("321", "3")
    assert lines[1] == ("i686" if os.uname().machine == "x86_64" else os.uname().machine)


def test_exec_has_the_oom_score_that_is_asked_for(rootfs: Path) -> None:
    words = ("cat", "/proc/self/oom_score_adj")
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running:
        for wanted in (321, 7):
            done = running.execute(*words, oomScoreAdj=wanted)
            assert (done.out, done.warnings) == (f"{wanted}\n", [])
        assert running.execute(*words).out == Path("/proc/self/oom_score_adj").read_text()


def test_exec_may_be_pinned_to_processors(rootfs: Path) -> None:
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running:
        done = running.execute(
            "grep", "Cpus_allowed_list", "/proc/self/status", execCPUAffinity={"initial": "0", "final": "0"}
        )
        assert done.out.split() == ["Cpus_allowed_list:", "0"]


def test_sysctls_of_its_namespaces(rootfs: Path) -> None:
    config = base_config(rootfs, "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel/msgmax": "4321"}
    assert run(config).lines() == ["1", "4321"]


def test_a_terminal_of_its_own(rootfs: Path) -> None:
    config = base_config(
        rootfs, "sh", "-c", "tty; stty size; stat -c %u /dev/pts/0 /dev/console; echo x > /dev/tty"
    )
    config["process"] |= {
        "terminal": True,
        "consoleSize": {"height": 33, "width": 99},
        "user": {"uid": 1000, "gid": 1000},
    }
    assert run(config).lines() == ["/dev/pts/0", "33 99", "1000", "1000", "x"]


def test_exec_with_a_terminal(rootfs: Path) -> None:
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running:
        assert running.execute("sh", "-c", "tty; echo x > /dev/tty", terminal=True).lines() == [
            "/dev/pts/0",
            "x",
        ]


def test_init_reaps_forwards_and_has_no_more_rights_than_the_program(rootfs: Path) -> None:
    config = base_config(
        rootfs,
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo $$; grep CapEff /proc/1/status; while :; do sleep 1; done",
    )
    with Running(config, rootfs.parent, init=True) as running:
        assert running.read_line() == "2"
        mask = int(running.read_line().split()[1], 16)
        assert mask.bit_count() == len(CAPABILITIES)
        os.kill(running.pid, 15)
        assert running.finish().code == 5


@pytest.mark.parametrize(
    ("args", "errno", "text"),
    [
        (["nope"], 2, 'exec: "nope": executable file not found in \\$PATH'),
        (["/nope"], 2, "no such file or directory"),
        (["/etc/passwd"], 13, "permission denied"),
        ([], 0, "nothing to execute"),
    ],
)
def test_what_cannot_be_executed_is_told_apart(rootfs: Path, args: list[str], errno: int, text: str) -> None:
    with pytest.raises(StepError, match=text) as caught:
        run(base_config(rootfs, *args))
    assert (caught.value.step, caught.value.errno) == ("exec", errno)
    if args:
        with (
            Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running,
            pytest.raises(StepError, match=text),
        ):
            running.execute(*args)


def test_exit_codes_and_signals(rootfs: Path) -> None:
    assert run(base_config(rootfs, "sh", "-c", "exit 42")).code == 42
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running:
        os.kill(running.pid, 9)
        assert running.finish().code == -9


def test_the_user_may_reopen_its_streams(rootfs: Path) -> None:
    config = base_config(rootfs, "sh", "-c", "echo again > /dev/stdout; echo err > /dev/stderr")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    done = run(config)
    assert (done.out, done.err) == ("again\n", "err\n")


def test_an_absent_label_module_is_said(rootfs: Path) -> None:
    if os.path.exists("/sys/kernel/security/apparmor"):
        pytest.skip("this kernel has AppArmor")
    config = base_config(rootfs, "true")
    config["process"]["apparmorProfile"] = "container-default"
    with pytest.raises(StepError, match="without AppArmor"):
        run(config)


@pytest.mark.parametrize("label", ["apparmorProfile", "selinuxLabel"])
@pytest.mark.parametrize("owner", ["host", "user namespace"])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_label_is_written_while_it_may_be(
    rootfs: Path, monkeypatch: pytest.MonkeyPatch, label: str, owner: str, no_new_privileges: bool
) -> None:
    """Opening a procfs needs rights that the program has not.

    A kernel without the module refuses the value (EINVAL), not the way to it.
    """
    if os.path.exists("/sys/kernel/security/apparmor") or os.path.exists("/sys/fs/selinux"):
        pytest.skip("this kernel has a label module")
    monkeypatch.setattr(labels, "require", lambda _: None)
    config = base_config(rootfs, "sleep", "100")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["openat2", "fsopen", "fsmount"], "action": "SCMP_ACT_ERRNO"}],
    }
    if owner == "user namespace":
        use_user_namespace(config)
    process = {
        "user": {"uid": 1000, "gid": 1000},
        "noNewPrivileges": no_new_privileges,
        "capabilities": {},
    }
    with Running(config, rootfs.parent) as running, pytest.raises(StepError) as caught:
        running.execute("true", **process, **{label: "mine"})
    assert (caught.value.step, caught.value.errno) == ("label", errno.EINVAL), caught.value
    config["process"] |= {**process, label: "mine"}
    with pytest.raises(StepError) as caught:
        run(config)
    assert (caught.value.step, caught.value.errno) == ("label", errno.EINVAL), caught.value


def test_a_label_for_mounts_is_refused_where_nobody_reads_it(rootfs: Path) -> None:
    if os.path.exists("/sys/fs/selinux"):
        pytest.skip("this kernel has SELinux")
    config = base_config(rootfs, "true")
    config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0"
    with pytest.raises(StepError, match=r"mountLabel.* without SELinux"):
        run(config)


def test_sessions_keyrings_are_not_shared(rootfs: Path) -> None:
    config = base_config(rootfs, "sleep", "100")
    config["linux"]["maskedPaths"] = []
    with Running(config, rootfs.parent) as one, Running(config, rootfs.parent) as two:
        names = []
        for running in (one, two):
            line = running.execute("grep", "_ses.", "/proc/keys").out
            names.append(f"_ses.{running.created.container_id}" in line)
        assert names == [True, True]
