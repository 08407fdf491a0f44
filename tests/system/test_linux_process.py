"""Namespaces, capabilities, filters and attributes, each in a child that tells what it became."""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Callable

import pytest

from carboy.linux import attributes, bpf, capabilities, namespaces, process, seccomp

pytestmark = pytest.mark.needs_root


def in_child(action: Callable[[], object]) -> str:
    """What `action` returns, or the error it raises, in a forked child."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            text = str(action())
        except BaseException as error:  # told, whatever it is
            text = repr(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    parts = []
    while part := os.read(reader, 4096):
        parts.append(part)
    os.close(reader)
    os.waitpid(pid, 0)
    return b"".join(parts).decode()


def status(field: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith(field + ":"))


def test_unshare_and_names() -> None:
    def act() -> str:
        namespaces.unshare(namespaces.CLONE_NEWUTS)
        namespaces.sethostname("inside")
        namespaces.setdomainname("example")
        return " ".join((os.uname().nodename, open("/proc/sys/kernel/domainname").read().strip()))

    before = os.uname().nodename
    assert in_child(act) == "inside example"
    assert os.uname().nodename == before


def test_setns_joins_through_a_pidfd() -> None:
    ready, tell = os.pipe2(os.O_CLOEXEC)
    waiting, release = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone3(namespaces.CLONE_NEWUTS)
    if pid == 0:
        os.close(release)
        namespaces.sethostname("joined")
        os.write(tell, b"x")
        os.read(waiting, 1)
        os._exit(0)
    os.read(ready, 1)

    def act() -> str:
        namespaces.setns(pidfd, namespaces.CLONE_NEWUTS)
        return os.uname().nodename

    try:
        assert in_child(act) == "joined"
    finally:
        for fd in (ready, tell, waiting, release, pidfd):
            os.close(fd)
        os.waitpid(pid, 0)


def test_namespace_files_know_their_kind() -> None:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert namespaces.namespace_type(fd) == namespaces.CLONE_NEWNET
        owner = namespaces.owning_user_namespace(fd)
        assert namespaces.namespace_type(owner) == namespaces.CLONE_NEWUSER
        os.close(owner)
    finally:
        os.close(fd)


def test_all_five_sets_are_set() -> None:
    def act() -> str:
        last = capabilities.last_capability()
        chown = capabilities.mask(["CAP_CHOWN"])
        both = chown | capabilities.mask(["CAP_BPF"])
        capabilities.drop_bounding(both, last)
        capabilities.capset(chown, both, chown)
        capabilities.clear_ambient()
        capabilities.raise_ambient(0)
        return " ".join(
            f"{int(status(name), 16):x}" for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")
        )

    both = f"{1 | 1 << 39:x}"
    assert in_child(act) == f"{both} 1 {both} 1 1"


def test_a_filter_is_loaded() -> None:
    def act() -> str:
        # ld nr; if it is uname: EXDEV, else allow
        number = {"x86_64": 63, "aarch64": 160}[os.uname().machine]
        program = b"".join(
            struct.pack("=HBBI", *row)
            for row in (
                (0x20, 0, 0, 0),
                (0x15, 0, 1, number),
                (0x06, 0, 0, 0x00050000 | errno.EXDEV),
                (0x06, 0, 0, 0x7FFF0000),
            )
        )
        process.set_no_new_privs()
        seccomp.load(program, seccomp.SECCOMP_FILTER_FLAG_LOG)
        try:
            os.uname()
        except OSError as error:
            return f"{errno.errorcode[error.errno or 0]} {status('Seccomp')}"
        return "not filtered"

    assert in_child(act) == "EXDEV 2"


def test_small_attributes_reach_the_kernel() -> None:
    def act() -> str:
        attributes.ioprio_set(attributes.IOPRIO_CLASSES["IOPRIO_CLASS_IDLE"], 0)
        attributes.sched_setattr(attributes.SCHED_POLICIES["SCHED_BATCH"], nice=3)
        attributes.personality(attributes.PER_LINUX32)
        return f"{os.sched_getscheduler(0)} {os.nice(0)} {os.uname().machine}"

    machine = {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine]
    assert in_child(act) == f"{os.SCHED_BATCH} 3 {machine}"


def test_a_device_program_is_taken_by_the_verifier() -> None:
    # r0 = 1; exit
    program = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    fd = bpf.prog_load(program)
    try:
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_an_endless_device_program_is_refused() -> None:
    with pytest.raises(OSError, match="bpf"):
        bpf.prog_load(struct.pack("=BBhi", 0x05, 0, -1, 0))


def test_a_child_starts_in_new_namespaces() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone3(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWUSER)
    if pid == 0:
        os.write(writer, str(os.getpid()).encode())
        os._exit(0)
    os.close(writer)
    try:
        assert os.read(reader, 10) == b"1"
    finally:
        os.close(reader)
        os.close(pidfd)
        os.waitpid(pid, 0)


def test_a_child_dies_with_its_parent() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        os.close(reader)
        synchronise, set_up = os.pipe2(os.O_CLOEXEC)
        if os.fork() == 0:
            process.set_pdeathsig(9)
            os.write(set_up, b"x")
            while True:  # only the signal ends this: the writing end of the pipe goes with it
                signal.pause()
        os.read(synchronise, 1)
        os._exit(0)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
        os.waitpid(middle, 0)
