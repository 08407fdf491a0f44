"""Known break-outs of container runtimes, each tried here: the rows of docs/conformance.md, "Security"."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.spawner import StepError
from carboy.runtime import spec
from carboy.runtime.command.inside import parse_user
from support.leftovers import mounts_of_the_machine
from support.oci import GROUP, Running, base_config, bind, mount, rootfs, run, use_user_namespace
from support.ocicommand import Command

__all__ = ["rootfs"]
pytestmark = pytest.mark.needs_root


def test_cve_2016_9962_no_descriptor_of_the_host_is_seen_during_exec(rootfs: Path) -> None:
    """Init watches every /proc/N/fd while processes join: it sees the program's 0 to 2, never a directory."""
    watch = (
        "while :; do for l in /proc/[0-9]*/fd/*; do t=$(readlink $l) && case $t in "
        "pipe:*|/dev/null|/proc*|/dev/pts*) ;; *) echo LEAK $l $t;; esac; done; done"
    )
    with Running(base_config(rootfs, "sh", "-c", f"echo ready; {watch}"), rootfs.parent) as running:
        assert running.read_line() == "ready"
        for _ in range(15):
            running.execute("true")
        os.kill(running.pid, 9)
        assert "LEAK" not in running.finish().out


def test_cve_2019_5736_the_interpreter_cannot_be_opened_for_writing(rootfs: Path, tmp_path: Path) -> None:
    """A `#!/proc/self/exe` program, as the command runs it: sealed, and the interpreter's bytes stay."""
    (rootfs / "evil").write_text("#!/proc/self/exe\n")
    (rootfs / "evil").chmod(0o755)
    interpreter = Path(os.path.realpath(sys.executable))
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    show = "import os; print(os.statvfs('/proc/self/exe').f_flag & os.ST_RDONLY)"
    code = f"from carboy.runtime import sealed; sealed.ensure(); {show}"
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source}
    )
    # Busy while it runs; on a read-only mount that nobody else has, also when it has ended.
    assert done.stdout == "1\n", done.stderr
    with pytest.raises(StepError):
        run(base_config(rootfs, "/evil"))
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before


@pytest.mark.parametrize("place", ["/proc", "/proc/self", "/proc/sys/..", "/proc/1/attr"])
def test_cve_2019_16884_nothing_is_mounted_over_proc(rootfs: Path, tmp_path: Path, place: str) -> None:
    config = base_config(rootfs, "true")
    config["mounts"].append(bind(tmp_path, place))
    with pytest.raises(CarboyError, match=r"inside /proc|/proc"):
        run(config)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_cve_2019_19921_2023_27561_a_linked_proc_or_sys_is_refused(rootfs: Path, name: str) -> None:
    (rootfs / name).rmdir()
    (rootfs / "elsewhere").mkdir()
    (rootfs / name).symlink_to("elsewhere")
    with pytest.raises(CarboyError, match="is not a directory"):
        run(base_config(rootfs, "true"))


def test_cve_2023_28642_a_linked_parent_of_a_mask_stays_inside(rootfs: Path) -> None:
    """The mask of a path that is a link covers what the container sees there, nothing of the host."""
    (rootfs / "secret").write_text("x\n")
    (rootfs / "link").symlink_to("/secret")
    config = base_config(rootfs, "sh", "-c", "cat /secret; cat /link")
    config["linux"]["maskedPaths"] = ["/link"]
    assert run(config).out == ""
    assert (rootfs / "secret").read_text() == "x\n"


_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2


def exchange_for_ever(first: Path, second: Path) -> int:
    """A child that exchanges two names until it is killed: its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            while os.getppid() != 1:
                _renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2)
        finally:
            os._exit(0)
    return pid


@pytest.mark.parametrize("target", ["dir", "absolute link", "upward link"])
def test_cve_2021_30465_a_race_of_links_never_mounts_outside(
    rootfs: Path, tmp_path: Path, target: str
) -> None:
    """Also CVE-2024-45310: no directory or file appears outside of the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (rootfs / "a").mkdir()
    destinations = {
        "dir": "/b/c",
        "absolute link": str(outside),
        "upward link": "../" * 20 + str(outside)[1:],
    }
    (rootfs / "b").symlink_to(destinations[target]) if target != "dir" else (rootfs / "b").mkdir()
    config = base_config(rootfs, "true")
    config["mounts"] += [mount("/a/deep/place", "tmpfs"), bind("/etc/hostname", "/a/file")]
    racing = exchange_for_ever(rootfs / "a", rootfs / "b")
    before = mounts_of_the_machine()
    try:
        for _ in range(25):
            try:
                run(config)
            except CarboyError:
                continue  # refused in a moment of confusion: as good
    finally:
        os.kill(racing, 9)
        os.waitpid(racing, 0)
    assert list(outside.iterdir()) == []
    assert mounts_of_the_machine() <= before


def test_cve_2022_29162_inheritable_capabilities_are_empty(rootfs: Path) -> None:
    """Also CVE-2022-24769, 2022-27649, 2022-27650: in init and in exec."""
    config = base_config(rootfs, "sh", "-c", "grep CapInh /proc/self/status; sleep 100")
    with Running(config, rootfs.parent) as running:
        assert int(running.read_line().split()[1], 16) == 0
        process = {"capabilities": config["process"]["capabilities"]}
        assert int(running.execute("grep", "CapInh", "/proc/self/status", **process).out.split()[1], 16) == 0


def test_cve_2023_25809_control_groups_cannot_be_written(rootfs: Path) -> None:
    config = base_config(rootfs, "sh", "-c", "for d in /sys/fs/cgroup/*; do mkdir $d/x && echo MADE; done")
    config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"))
    assert "MADE" not in run(config).out


def test_cve_2024_21626_no_descriptor_is_a_working_directory(rootfs: Path) -> None:
    with Running(base_config(rootfs, "sleep", "100"), rootfs.parent) as running:
        for number in range(3, 21):
            config = base_config(rootfs, "pwd")
            config["process"]["cwd"] = f"/proc/self/fd/{number}"
            with pytest.raises(StepError):
                run(config)
            with pytest.raises(StepError):
                running.execute("pwd", cwd=f"/proc/self/fd/{number}")
        seen = running.execute("sh", "-c", "exec ls -l /proc/self/fd").out
        assert {line.split()[-3] for line in seen.splitlines() if "->" in line} <= {"0", "1", "2", "3"}


def test_cve_2024_45310_a_working_directory_is_never_made_outside(rootfs: Path, tmp_path: Path) -> None:
    """Init still has descriptors of the host when it makes the directory: links to them are not followed.

    The missing part stands for a race: the path is not there when entered, and leads out when it is made.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    held = os.open(outside, os.O_PATH | os.O_DIRECTORY)
    (rootfs / "link").symlink_to(f"/proc/self/fd/{held}")
    config = base_config(rootfs, "pwd")
    try:
        for unsafe in ("/missing/../link/made", "/link/made"):
            config["process"]["cwd"] = unsafe
            with pytest.raises(StepError, match="cwd"):
                run(config)
    finally:
        os.close(held)
    assert list(outside.iterdir()) == []
    (rootfs / "inner").symlink_to("/not/there/yet")
    config["process"]["cwd"] = "/inner/made"
    assert run(config).out == "/not/there/yet/made\n"


def test_cve_2025_31133_a_replaced_dev_null_masks_nothing_of_the_host(rootfs: Path) -> None:
    """The container's /dev/null is never the source of a mask, and a link there is replaced or refused."""
    (rootfs / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    config = base_config(
        rootfs, "sh", "-c", "cat /proc/kcore; stat -c %t:%T /dev/null; cat /proc/1/mountinfo"
    )
    config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/dev")]
    done = run(config)
    assert done.lines()[0] == "1:3"
    assert not any("core_pattern" in line for line in done.lines())


def test_masks_do_not_hand_out_the_hosts_null_device(rootfs: Path) -> None:
    """Container root is host root: through a writable mask, `chmod 000` would close /dev/null for everybody.

    Here with the mode and the owner that it has anyway: nothing happens to the host when this fails.
    """
    masked = ("/proc/version", "/proc/cmdline", "/proc/interrupts")
    change = "chmod 666 $f; chown 0:0 $f; chmod 666 /proc/self/fd/3 3<$f; cat $f; echo x > $f"
    config = base_config(rootfs, "sh", "-c", f"for f in $0 $@; do {change}; done", *masked)
    config["linux"]["maskedPaths"] = list(masked)
    done = run(config)
    assert (done.code, done.out) == (0, "")
    assert done.err.count("Read-only file system") == 3 * len(masked) == len(done.err.splitlines())


def host_nulls(pid: int) -> list[int]:
    """Which of 0, 1 and 2 of that process are the host's null device, and may change its inode."""
    null = os.stat("/dev/null")
    paths = {number: f"/proc/{pid}/fd/{number}" for number in range(3)}
    return [
        number
        for number, path in paths.items()
        if os.path.samestat(os.stat(path), null) and not os.statvfs(path).f_flag & os.ST_RDONLY
    ]


@pytest.mark.parametrize("own", ["own", "user namespace"])
def test_standard_input_is_not_the_hosts_null_device(rootfs: Path, own: str) -> None:
    config = base_config(rootfs, "sh", "-c", "readlink /proc/self/fd/0; cat; echo; exec sleep 100")
    if own == "user namespace":
        use_user_namespace(config)
        os.chmod(rootfs.parent, 0o755)
    with Running(config, rootfs.parent) as running:
        assert [running.read_line(), running.read_line()] == ["/dev/null", ""]
        if own == "own":  # a user namespace has the host's node bound, and no rights over it
            assert host_nulls(running.pid) == []
            assert running.execute("stat", "-Lc", "%d", "/proc/self/fd/0", "/dev/null").lines()[0:2] == 2 * [
                str(os.stat(f"/proc/{running.pid}/root/dev/null").st_dev)
            ]
        assert running.execute("readlink", "/proc/self/fd/0").out == "/dev/null\n"


@pytest.mark.parametrize("instead", ["true", "echo > /dev/null", "mknod /dev/null c 1 5", "mkdir /dev/null"])
def test_an_exec_without_the_containers_null_device_leaves_the_hosts(rootfs: Path, instead: str) -> None:
    with Running(
        base_config(rootfs, "sh", "-c", f"rm /dev/null; {instead}; echo ready; exec sleep 100"), rootfs.parent
    ) as running:
        assert running.read_line() == "ready"
        done = running.execute("sh", "-c", "cat; chmod 666 /proc/self/fd/0; chown 0:0 /proc/self/fd/0")
        assert (done.out, done.err.count("Read-only file system")) == ("", 2)


def test_streams_that_are_inherited_are_not_the_hosts_null_device(rootfs: Path, tmp_path: Path) -> None:
    """As carboy-runtime is called by engines: /dev/null as 0, 1 and 2."""
    config = base_config(rootfs, "sh", "-c", "echo x >&2; exec sleep 100")
    config["root"]["path"] = "rootfs"
    config["linux"]["cgroupsPath"] = f"{GROUP}/inherited"
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = Command(tmp_path)
    try:
        command.quiet("run", "--detach", "--bundle", str(tmp_path), "one")
        assert host_nulls(command.state("one")["pid"]) == []
        command.quiet("exec", "--detach", "--pid-file", str(tmp_path / "pid"), "one", "sleep", "100")
        assert host_nulls(int((tmp_path / "pid").read_text())) == []
    finally:
        command.ok("delete", "--force", "one")


@pytest.mark.parametrize("init", [False, True])
def test_hooks_of_the_image_have_no_more_rights_than_its_program(rootfs: Path, init: bool) -> None:
    """startContainer hooks are files of the container's root: of a hostile image."""
    show = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -n; pwd"
    config = base_config(rootfs, "sh", "-c", show)
    config["process"] |= {"user": {"uid": 1000, "gid": 1000, "additionalGids": [2000]}, "cwd": "/home/me"}
    config["process"] |= {
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    }
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"({show}) > /tmp/hook"], "env": ["PATH=/bin"]}
    config["hooks"] = {"startContainer": [hook]}
    (rootfs / "tmp").chmod(0o1777)
    inside = run(config, init=init).out
    assert "Seccomp:\t2" in inside
    assert (rootfs / "tmp/hook").read_text() == inside


def test_cve_2025_52565_the_console_is_the_terminal_of_its_own_devpts(rootfs: Path) -> None:
    (rootfs / "dev/pts").mkdir()
    config = base_config(rootfs, "true")
    config["process"]["terminal"] = True
    config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/dev")]
    with pytest.raises(StepError, match="console"):
        run(config)  # /dev/pts is no devpts
    config = base_config(rootfs, "sh", "-c", "stat -c %t:%T /dev/console /dev/pts/0")
    config["process"]["terminal"] = True
    first, second = run(config).lines()
    assert first == second == "88:0"


def test_cve_2025_52881_sysctls_never_reach_a_procfs_of_the_container(rootfs: Path) -> None:
    """They are written to a procfs that is mounted nowhere, and only values of a namespace are taken."""
    for name in ("kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "kernel.msg/../x"):
        config = base_config(rootfs, "true")
        config["linux"]["sysctl"] = {name: "1"}
        with pytest.raises(CarboyError):
            run(config)
    (rootfs / "proc/sys").mkdir(parents=True)
    config = base_config(rootfs, "cat", "/proc/sys/net/ipv4/ip_forward")
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert run(config).out == "1\n"


@pytest.mark.parametrize("outside", ["absolute", "upward"])
def test_cve_2026_41579_devices_are_not_made_through_a_linked_dev(
    rootfs: Path, tmp_path: Path, outside: str
) -> None:
    """Also CVE-2026-47766."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (rootfs / "dev").rmdir()
    (rootfs / "dev").symlink_to(str(victim) if outside == "absolute" else "../victim")
    for with_mount in (True, False):
        config = base_config(rootfs, "true")
        if not with_mount:
            config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/dev")]
        try:
            run(config)
        except CarboyError:
            continue
        finally:
            assert list(victim.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["name", ":1", "1:", "1:x", "", " 1", "+1", "-1", "1:1:1", "4294967296", "1١"]
)
def test_cve_2026_30892_users_are_numbers_or_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_user(text)


def test_cve_2026_30892_a_number_is_that_user() -> None:
    assert (parse_user("1"), parse_user("1:2"), parse_user("0001")) == ((1, 0), (1, 2), (1, 0))


@pytest.mark.parametrize("uid", [4294967295, 4294967296, 2**63, -1])
def test_cve_2024_40635_ids_beyond_32_bits_are_refused(rootfs: Path, uid: int) -> None:
    config = base_config(rootfs, "true")
    config["process"]["user"] = {"uid": uid, "gid": 0}
    with pytest.raises(InvalidArgument, match=r"process\.user\.uid"):
        spec.parse(config)


def test_cve_2023_25173_groups_of_the_caller_are_dropped(rootfs: Path) -> None:
    """Also CVE-2022-2989: exactly the groups of the configuration, in init and exec."""
    config = base_config(rootfs, "sh", "-c", "id -G; sleep 100")
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [2000]}
    before = os.getgroups()
    os.setgroups([3000, 4000])
    try:
        with Running(config, rootfs.parent) as running:
            assert running.read_line() == "1000 2000"
            assert running.execute("id", "-G", user={"uid": 1000, "gid": 1000}).out == "1000\n"
    finally:
        os.setgroups(before)


def test_a_program_cannot_trace_what_joins_it(rootfs: Path) -> None:
    """Whoever is not executed yet is undumpable: its memory holds the host's heap."""
    watch = (
        "while :; do for p in /proc/[0-9]*; do c=$(readlink $p/exe) && case $c in */busybox) ;; "
        "*) echo LEAK $c;; esac; done; done"
    )
    with Running(base_config(rootfs, "sh", "-c", f"echo ready; {watch}"), rootfs.parent) as running:
        running.read_line()
        for _ in range(15):
            running.execute("true")
        os.kill(running.pid, 9)
        assert "LEAK" not in running.finish().out


def test_denied_devices_cannot_be_opened(rootfs: Path) -> None:
    config = base_config(
        rootfs, "sh", "-c", "mknod /disk b 254 0 && cat /disk | head -c1; mknod /m c 1 1 && cat /m"
    )
    done = run(config)
    assert done.err.count("Operation not permitted") == 2


def test_the_root_of_the_host_is_gone(rootfs: Path) -> None:
    """After the pivot no mount of the host is left, and chroot cannot climb out."""
    config = base_config(rootfs, "sh", "-c", "ls -a /..; ls -d /../../work /proc/1/root/..; cat /proc/mounts")
    out = run(config).out
    assert "lost+found" not in out
    assert not any(" /oldroot" in line or "/sys/kernel/" in line for line in out.splitlines())
    assert stat.S_ISDIR(rootfs.stat().st_mode)
