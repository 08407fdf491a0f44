"""The seccomp profile as a process inside meets it: the host's Python, chrooted to, calls the kernel.

Arguments are chosen so that the kernel alone would answer something else than the filter.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from carboy.formats import seccomp as profiles
from carboy.runtime import seccomp
from support.daemon import Daemon, RequestError, daemon
from support.hijack import run_exec

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_overlay,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no table of numbers"),
]
__all__ = ["daemon"]

COLUMN = 0 if platform.machine() == "x86_64" else 1
NUMBERS = {
    name: row[COLUMN]
    for name, row in {
        "unshare": (272, 97), "mount": (165, 40), "setns": (308, 268), "keyctl": (250, 219),
        "add_key": (248, 217), "request_key": (249, 218), "socket": (41, 198), "personality": (135, 92),
        "userfaultfd": (323, 282), "perf_event_open": (298, 241), "bpf": (321, 280), "quotactl": (179, 60),
        "swapon": (167, 224), "pivot_root": (155, 41), "kexec_load": (246, 104), "acct": (163, 89),
        "open_by_handle_at": (304, 265), "mbind": (237, 235), "settimeofday": (164, 170),
        "reboot": (169, 142), "init_module": (175, 105), "umount2": (166, 39), "ptrace": (101, 117),
        "io_uring_setup": (425, 425), "clone3": (435, 435), "open_tree": (428, 428), "fsopen": (430, 430),
        "mount_setattr": (442, 442), "openat2": (437, 437), "close_range": (436, 436), "clone": (56, 220),
        "nonsense": (9999, 9999),
    }.items()
}  # fmt: skip

PROGRAM = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
answers = []
for number, *arguments in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    result = libc.syscall(*(ctypes.c_long(one) for one in (number, *arguments)))
    answers.append(ctypes.get_errno() if result == -1 else 0)
print(json.dumps(answers))
"""

NEW_USER = 0x10000000
FAMILIES = {"unix": 1, "inet": 2, "netlink": 16, "alg": 38, "nfc": 39, "vsock": 40, "xdp": 44}


def ask(daemon: Daemon, calls: list[tuple[Any, ...]], **host: Any) -> list[int]:
    """The errno of each call (0 for success), made in a container with this HostConfig."""
    python = os.path.realpath(sys.executable)
    numbered = [(NUMBERS[name], *arguments) for name, *arguments in calls]
    code, out, err = daemon.run_container(
        "chroot", "/host", python, "-I", "-S", "-c", PROGRAM, json.dumps(numbered),
        host={"Binds": ["/:/host:ro"], **host},
    )  # fmt: skip
    assert code == 0, err
    answers: list[int] = json.loads(out)
    return answers


def named(calls: list[tuple[Any, ...]], answers: list[int]) -> dict[str, int]:
    return {f"{call[0]}{call[1:]}": answer for call, answer in zip(calls, answers, strict=True)}


BLOCKED: list[tuple[Any, ...]] = [
    ("unshare", 0),
    ("mount", 0, 0, 0, 0, 0),
    ("setns", -1, 0),
    ("umount2", 0, 0),
    ("keyctl", 9999),
    ("add_key", 0, 0, 0, 0, 0),
    ("request_key", 0, 0, 0, 0),
    ("io_uring_setup", 0, 0),
    ("open_tree", -1, 0, 0),
    ("fsopen", 0, 0),
    ("mount_setattr", -1, 0, 0, 0, 0),
    ("userfaultfd", -1),
    ("bpf", -1, 0, 0),
    ("perf_event_open", 0, 0, 0, 0, 0),
    ("pivot_root", 0, 0),
    ("quotactl", -1, 0, 0, 0),
    ("swapon", 0, 0),
    ("kexec_load", 0, 0, 0, 0),
    ("acct", -1),
    ("open_by_handle_at", -1, 0, 0),
    ("mbind", 0, 0, -1, 0, 0, 0),
    ("settimeofday", -1, -1),
    ("reboot", 0, 0, 0, 0),
    ("init_module", 0, 0, 0),
    ("socket", FAMILIES["alg"], 5, 0),
    ("socket", FAMILIES["vsock"], 1, 0),
    ("personality", 0x0008000),
    ("personality", 0x0400000),
    ("clone", NEW_USER | 17, 0, 0, 0, 0),
]

TELLING = ("unshare", "mount", "setns", "keyctl", "add_key", "request_key", "personality")
"""Calls that the kernel answers with something else than EPERM when the filter lets them pass."""


def test_the_default_profile_blocks(daemon: Daemon) -> None:
    answers = named(BLOCKED, ask(daemon, BLOCKED))
    assert answers == dict.fromkeys(answers, errno.EPERM)


def test_the_default_profile_allows(daemon: Daemon) -> None:
    calls: list[tuple[Any, ...]] = [
        ("personality", value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0)
    ]
    calls += [
        ("socket", FAMILIES[name], 3 if name == "netlink" else 1, 0) for name in ("unix", "inet", "netlink")
    ]
    assert named(calls, ask(daemon, calls)) == dict.fromkeys(named(calls, [0] * len(calls)), 0)
    others = [("socket", FAMILIES["nfc"], 1, 0), ("ptrace", 9999, 0, 0, 0), ("openat2", -1, 0, 0, 0)]
    assert errno.EPERM not in ask(daemon, [*others, ("close_range", 1000, 999, 0)])


def test_what_a_c_library_falls_back_from_is_enosys(daemon: Daemon) -> None:
    assert ask(daemon, [("clone3", 0, 0), ("nonsense",)]) == [errno.ENOSYS, errno.ENOSYS]


def test_capabilities_open_their_calls(daemon: Daemon) -> None:
    calls: list[tuple[Any, ...]] = [
        ("unshare", 0),
        ("mount", 0, 0, 0, 0, 0),
        ("setns", -1, 0),
        ("clone3", 0, 0),
    ]
    assert ask(daemon, calls, CapAdd=["SYS_ADMIN"]) == [0, errno.EFAULT, errno.EBADF, errno.EINVAL]
    closed: list[tuple[Any, ...]] = [
        ("keyctl", 9999),
        ("io_uring_setup", 0, 0),
        ("socket", FAMILIES["alg"], 5, 0),
    ]
    assert set(ask(daemon, closed, CapAdd=["SYS_ADMIN"])) == {errno.EPERM}
    assert ask(daemon, [("open_by_handle_at", -1, 0, 0)], CapAdd=["DAC_READ_SEARCH"]) != [errno.EPERM]
    assert ask(daemon, [("mbind", 0, 0, -1, 0, 0, 0)], CapAdd=["SYS_NICE"]) != [errno.EPERM]


@pytest.mark.parametrize("options", [{"SecurityOpt": ["seccomp=unconfined"]}, {"Privileged": True}])
def test_unconfined_and_privileged_have_no_filter(daemon: Daemon, options: dict[str, Any]) -> None:
    calls = [call for call in BLOCKED if call[0] in TELLING]
    assert errno.EPERM not in ask(daemon, calls, **options)
    assert status(daemon, **options)["Seccomp"] == "0"


def test_a_profile_of_ones_own(daemon: Daemon) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["setns"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_CHOWN"]}},
            {"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"},
        ],
    }
    calls: list[tuple[Any, ...]] = [("unshare", 0), ("setns", -1, 0), ("keyctl", 9999)]
    options = {"SecurityOpt": [f"seccomp={json.dumps(profile)}"]}
    assert ask(daemon, calls, **options) == [95, errno.EBADF, errno.EOPNOTSUPP]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"defaultAction": "SCMP_ACT_NONSENSE"}', '{"defaultAction": "SCMP_ACT_NOTIFY"}'],
)
def test_a_wrong_profile_is_refused(daemon: Daemon, text: str) -> None:
    with pytest.raises(RequestError, match=r"seccomp|Decoding") as caught:
        daemon.run_container("true", host={"SecurityOpt": [f"seccomp={text}"]})
    assert caught.value.status in (400, 501)
    daemon.remove_all()


def status(daemon: Daemon, **host: Any) -> dict[str, str]:
    code, out, err = daemon.run_container("cat", "/proc/self/status", host=host)
    assert code == 0, err
    return dict(line.split(":\t", 1) for line in out.decode().splitlines() if ":\t" in line)


def test_an_exec_has_the_filter_too(daemon: Daemon) -> None:
    container = daemon.create("sleep", "100", host={"NetworkMode": "none"})
    daemon.post(f"/containers/{container}/start")
    for more in ({}, {"Privileged": True}):
        out = run_exec(daemon, container, "grep", "^Seccomp", "/proc/self/status", **more)[1]
        assert out.startswith(b"Seccomp:\t2\n")
    daemon.remove_all()


def test_no_new_privileges_with_and_without_the_filter(daemon: Daemon) -> None:
    for option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"):
        fields = status(daemon, SecurityOpt=[option])
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_the_cache_is_filled_used_and_not_trusted_blindly(tmp_path: Path) -> None:
    text = (Path(profiles.__file__).parent / "seccomp_default.json").read_text()
    wanted = profiles.resolve(json.loads(text), capabilities=(), machine=platform.machine(), kernel=(6, 1))
    cache = tmp_path / "cache"
    first = seccomp.filter_for(wanted, str(cache))
    (file,) = cache.iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    allow = struct.pack("<HBBI", 6, 0, 0, seccomp.ALLOW)
    # A program with a right check sum is taken as it is: this shows that the cache is read.
    from _blake2 import blake2b

    file.write_bytes(blake2b(allow, digest_size=seccomp.CHECK_BYTES).digest() + allow)
    assert seccomp.filter_for(wanted, str(cache)).program == allow
    for damage in (content[:-8], content[:-1], b"", bytes(16) + allow, content[:16] + allow):
        file.write_bytes(damage)
        assert seccomp.filter_for(wanted, str(cache)).program == first.program
        assert file.read_bytes() == content, "it is written again"
    file.write_bytes(blake2b(allow, digest_size=seccomp.CHECK_BYTES).digest() + allow)
    file.chmod(0o622)
    assert seccomp.filter_for(wanted, str(cache)).program == first.program, "others could have written it"
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert seccomp.filter_for(wanted, str(cache)).program == first.program
