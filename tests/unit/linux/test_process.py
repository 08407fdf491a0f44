"""Identities, titles, descriptors and forks of processes."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carboy.linux import process

SRC = str(Path(process.__file__).parents[2])


def python(code: str, *padding: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *padding]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={"PYTHONPATH": SRC}, timeout=40
    ).stdout


def test_the_title_replaces_the_whole_command_line() -> None:
    code = (
        "from carboy.linux.process import set_title; set_title('carboy monitor 0123');"
        "print(open('/proc/self/cmdline', 'rb').read())"
    )
    assert python(code, "-" * 50).strip() == repr(b"carboy monitor 0123\0")


def test_a_long_title_is_cut_to_the_room_there_is() -> None:
    code = (
        "from carboy.linux.process import set_title\n"
        "room = len(open('/proc/self/cmdline', 'rb').read())\n"
        "set_title('x' * 100000)\n"
        "title = open('/proc/self/cmdline', 'rb').read().split(b'\\0')[0]\n"
        "print(set(title) == {120}, room - len(title))"
    )
    assert python(code).split() == ["True", "2"]


def test_the_name_is_cut_to_fifteen_bytes() -> None:
    code = (
        "from carboy.linux.process import set_name; set_name('carboy monitor 12');"
        "print(open('/proc/self/comm').read())"
    )
    assert python(code).strip() == "carboy monitor"


def test_start_time_and_boot_id_are_stable() -> None:
    assert process.start_time(os.getpid()) == process.start_time(os.getpid()) > 0
    assert len(process.boot_id()) == 36
    with pytest.raises(FileNotFoundError):
        process.start_time(2**22 + 1)


def test_a_command_name_with_brackets_does_not_confuse_the_start_time() -> None:
    code = (
        "import os; from carboy.linux.process import set_name, start_time\n"
        "before = start_time(os.getpid()); set_name('a) R 1 (b'); print(before == start_time(os.getpid()))"
    )
    assert python(code).strip() == "True"


def test_a_pidfd_becomes_readable_at_the_end() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    pidfd = process.pidfd_open(child)
    try:
        assert not os.get_inheritable(pidfd)
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 10)[0] == [pidfd]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def test_clone3_is_a_fork_with_a_pidfd() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone3(0)
    if pid == 0:
        os.write(writer, str(os.getpid()).encode())
        os._exit(7)
    try:
        os.close(writer)
        assert os.read(reader, 20) == str(pid).encode()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        os.close(reader)
        os.close(pidfd)


def test_clone3_refuses_to_share_memory() -> None:
    with pytest.raises(OSError, match="clone3") as caught:
        process.clone3(0x100)
    assert caught.value.errno == errno.EINVAL


def test_close_range_marks_or_closes() -> None:
    code = (
        "import os; from carboy.linux.process import close_range, CLOSE_RANGE_CLOEXEC\n"
        "fd = os.open('/dev/null', os.O_RDONLY); os.set_inheritable(fd, True)\n"
        "close_range(3, flags=CLOSE_RANGE_CLOEXEC); print(os.get_inheritable(fd))\n"
        "close_range(3)\n"
        "try: os.fstat(fd)\n"
        "except OSError: print('closed')"
    )
    assert python(code).split() == ["False", "closed"]


def test_dumpable_no_new_privs_and_death_signal_reach_the_kernel() -> None:
    code = (
        "from carboy.linux import process as p\n"
        "p.set_dumpable(0); p.set_no_new_privs(); p.set_child_subreaper(1)\n"
        "p.set_pdeathsig(9); p.set_keepcaps(1)\n"
        "print(p.prctl(3), p.prctl(39), p.prctl(7))"
    )
    assert python(code).split() == ["0", "1", "1"]
