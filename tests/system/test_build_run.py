"""RUN on the real kernel: the program, what of its changes enters the layer, output, ends."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest

from carboy.build.executor import StepFailed, StepLimits
from carboy.build.progress import Cancellation
from carboy.errors import Cancelled, CarboyError, InvalidArgument
from support.steps import EPOCH, Notes, Workbench, tar_of, workbench

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]
__all__ = ["workbench"]


def test_a_program_and_its_changes(workbench: Workbench) -> None:
    notes = Notes()
    done = workbench.run("echo hi; echo no >&2; echo x > /file; mkdir -p /a/b; rm /etc/group", notes=notes)
    assert (notes.out, notes.err) == ("hi\n", "no\n")
    assert workbench.members(done.layer) == {
        "a": EPOCH,
        "a/b": EPOCH,
        "etc": EPOCH,
        "etc/.wh.group": 0,
        "file": EPOCH,
    }
    assert workbench.content(done.layer, "file") == b"x\n"


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "touch /tmp/x && rm /tmp/x",
        "chown -R 0:0 /etc /root",
        "chmod 644 /etc/passwd",
        "ls -la / /etc; cat /etc/hosts /etc/resolv.conf",
        "echo >> /etc/hosts",
    ],
)
def test_what_changes_nothing_adds_no_layer(workbench: Workbench, script: str) -> None:
    assert workbench.run(script).layer is None


def test_a_name_that_a_layer_cannot_hold_is_told(workbench: Workbench) -> None:
    with pytest.raises(CarboyError, match=r'^"/srv/\.wh\.old" cannot be in a layer'):
        workbench.run("mkdir -p /srv && touch /srv/.wh.old")


def test_no_stubs_of_mount_points_whatever_is_missing(workbench: Workbench) -> None:
    done = workbench.run("echo > /etc/mine; mkdir /proc2; cat /etc/hosts; ls /etc /sys")
    assert list(workbench.members(done.layer)) == ["etc", "etc/mine", "proc2"]


def test_the_name_in_etc_is_the_images(workbench: Workbench) -> None:
    done = workbench.run("test ! -e /etc/hostname && echo mine > /etc/hostname && hostname > /h")
    assert workbench.content(done.layer, "etc/hostname") == b"mine\n"
    assert workbench.content(done.layer, "h") == b"buildkitsandbox\n"


def test_two_runs_give_the_same_layer(workbench: Workbench) -> None:
    script = "for i in 3 1 2; do echo $i > /f$i; done; mkdir /d; ln /f1 /d/l; hostname > /h; env > /e"
    first = workbench.run(script)
    assert first.layer == workbench.run(script).layer
    assert workbench.content(first.layer, "h") == b"buildkitsandbox\n"


def test_the_exit_code_is_told(workbench: Workbench) -> None:
    with pytest.raises(
        StepFailed, match=r"^The command '/bin/sh -c exit 3' returned a non-zero code: 3$"
    ) as failed:
        workbench.run("exit 3")
    assert failed.value.exit_code == 3


def test_a_program_that_is_not_there(workbench: Workbench) -> None:
    with pytest.raises(StepFailed, match="nothing-here") as failed:
        workbench.run("", args=("/nothing-here",))
    assert failed.value.exit_code == 127


def test_a_program_of_another_machine(workbench: Workbench) -> None:
    other = workbench.add(tar_of({"other": b"\x7fELF\x02\x01\x01" + bytes(200)}, mode=0o755))
    with pytest.raises(CarboyError, match="binfmt"):
        workbench.run("", args=("/other",), layers=(workbench.base, other))


def test_users_directories_and_variables(workbench: Workbench) -> None:
    text = workbench.printed(
        "id -u; pwd; echo $HOME $A $B",
        user="me",
        cwd="/home/x",
        env=("PATH=/bin", "A=1"),
        hidden_env=("A=0", "B=2"),
    )
    assert text.split() == ["1000", "/home/x", "/home/me", "1", "2"]
    with pytest.raises(InvalidArgument, match="unable to find user nobody"):
        workbench.run("true", user="nobody")


def test_the_sandbox_is_that_of_containers(workbench: Workbench) -> None:
    text = workbench.printed(
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp 2>&1; ls /proc/kcore -l | cut -c1"
    )
    assert "CapEff:\t00000000a80425fb" in text
    assert "Seccomp:\t2" in text
    assert "ermission denied" in text or "not permitted" in text


def test_standard_input_is_the_sandboxs_null_device(workbench: Workbench) -> None:
    """Through the host's, a RUN step could change mode and owner of everybody's /dev/null."""
    path, own, given = workbench.printed(
        "readlink /proc/self/fd/0; stat -Lc %d:%i /dev/null; stat -Lc %d:%i /proc/self/fd/0"
    ).split()
    host = os.stat("/dev/null")
    assert (path, given) == ("/dev/null", own)
    assert given != f"{host.st_dev}:{host.st_ino}"


def test_what_is_left_running_is_killed(workbench: Workbench) -> None:
    begin = time.monotonic()
    done = workbench.run("sleep 1000 & (sleep 1000 </dev/null >/dev/null 2>&1 &) ; echo x > /f")
    assert list(workbench.members(done.layer)) == ["f"]
    assert time.monotonic() - begin < 5


def test_cancelling_ends_it(workbench: Workbench) -> None:
    cancellation, notes = Cancellation(), Notes()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            workbench.run("echo begun; sleep 1000", notes=notes, cancellation=cancellation)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert notes.heard.wait(10)
    cancellation.cancel("enough")
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], Cancelled)


def test_much_output_is_bounded_and_the_end_is_told(workbench: Workbench) -> None:
    notes = Notes()
    workbench.run("yes abcdefghijklmnopqrstuvwxyz | head -c 60000000; echo; echo the end", notes=notes)
    assert 16 << 20 <= len(notes.printed[1]) < 17 << 20
    assert notes.out.endswith("the end\n")
    assert "output clipped" in notes.err


def test_memory_limits_and_oom(workbench: Workbench) -> None:
    with pytest.raises(StepFailed, match="memory"):
        workbench.run("tail -c 200000000 /dev/zero", limits=StepLimits(memory=16 << 20, memory_swap=16 << 20))


def test_limits_reach_the_program(workbench: Workbench) -> None:
    limits = StepLimits(ulimits=(("nofile", 99, 100),), shm_size=1 << 20)
    text = workbench.printed("ulimit -n; df -k /dev/shm | tail -n1", limits=limits)
    assert text.split()[0] == "99"
    assert "1024" in text


def test_hosts_are_added(workbench: Workbench) -> None:
    text = workbench.printed("cat /etc/hosts", extra_hosts=("there:10.1.2.3",))
    assert "10.1.2.3\tthere" in text


def test_a_script(workbench: Workbench) -> None:
    done = workbench.run("", args=("/dev/pipes/EOF",), script="#!/bin/sh\necho $0 > /out\n")
    assert list(workbench.members(done.layer)) == ["out"]


def test_bytecode_stays_fresh(workbench: Workbench) -> None:
    magic = b"\xa7\r\r\n"
    make = (
        "mkdir -p /m/__pycache__; echo 'x=1' > /m/a.py; "
        "touch -d @1700000000 /m/a.py; cat /in/a.pyc > /m/__pycache__/a.cpython-311.pyc"
    )
    pyc = magic + struct.pack("<III", 0, 1700000000, 4) + b"code"
    base = workbench.add(tar_of({"in/a.pyc": pyc}))
    done = workbench.run(make, layers=(workbench.base, base))
    members = workbench.members(done.layer)
    assert members["m/a.py"] == EPOCH
    found = workbench.content(done.layer, "m/__pycache__/a.cpython-311.pyc")
    assert found == magic + struct.pack("<III", 0, EPOCH, 4) + b"code"


def test_a_changed_source_is_not_mistaken_for_the_old_one(workbench: Workbench) -> None:
    """Same size, and both clamped to the same second: Python must see that its bytecode is old."""
    pyc = b"\xa7\r\r\n" + struct.pack("<III", 0, EPOCH, 4) + b"code"
    old = workbench.add(tar_of({"m/a.py": b"x=1\n", "m/__pycache__/a.cpython-311.pyc": pyc}))
    done = workbench.run("echo x=2 > /m/a.py; echo y=3 > /m/b.py", layers=(workbench.base, old))
    assert workbench.members(done.layer) == {"m": EPOCH, "m/a.py": EPOCH - 1, "m/b.py": EPOCH}


def test_an_empty_root(workbench: Workbench, tmp_path: object) -> None:
    """From scratch with one static program: nothing but what it makes is in the layer."""
    program = workbench.content(workbench.base, "bin/busybox")
    only = workbench.add(tar_of({"busybox": program}, mode=0o755))
    done = workbench.run("", layers=(only,), args=("/busybox", "mkdir", "/made"), env=())
    assert list(workbench.members(done.layer)) == ["made"]


@pytest.mark.needs_network
def test_networks(workbench: Workbench) -> None:
    assert "eth0" not in workbench.printed("ip addr", network="none")
    assert "eth0" in workbench.printed("ip addr", network="default")
    assert workbench.printed("readlink /proc/self/ns/net", network="host").strip() == os.readlink(
        "/proc/self/ns/net"
    )


def test_several_at_once(workbench: Workbench) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(workbench.printed(f"echo {n}; sleep 0.2")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [f"{n}\n" for n in range(6)]
