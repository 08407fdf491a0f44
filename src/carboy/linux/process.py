"""Processes: pidfds, the prctl family, close_range, clone3, titles and identities."""

from __future__ import annotations

import ctypes
import struct

from carboy.linux.libc import LIBC, call, failure, read_file, syscall
from carboy.linux.numbers import number

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

CLOSE_RANGE_CLOEXEC = 4
PIDFD_SIGNAL_PROCESS_GROUP = 4
CLONE_PIDFD = 0x1000
CLONE_INTO_CGROUP = 0x200000000

LIBC.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


def prctl(option: int, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """prctl(2) with numbers only."""
    return call("prctl", LIBC.prctl, option, second, third, fourth, fifth)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """A descriptor of process `pid`, readable when it has ended (CLOEXEC)."""
    return syscall("pidfd_open", pid, flags, path=str(pid))


def pidfd_send_signal(pidfd: int, signal_number: int, flags: int = 0) -> None:
    """Send a signal to exactly the process that `pidfd` means; by a flag to its whole group."""
    syscall("pidfd_send_signal", pidfd, signal_number, None, flags)


def pidfd_getfd(pidfd: int, target_fd: int) -> int:
    """A copy of another process's descriptor (CLOEXEC); needs ptrace rights over it."""
    return syscall("pidfd_getfd", pidfd, target_fd, 0)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """Close, or with CLOSE_RANGE_CLOEXEC mark, every descriptor in the range."""
    syscall("close_range", first, last, flags)


def set_dumpable(value: int) -> None:
    """0: no core, and nobody without privilege in our user namespace may ptrace us."""
    prctl(_PR_SET_DUMPABLE, value)


def set_pdeathsig(signal_number: int) -> None:
    """The signal that this process gets when its parent's thread ends; 0 for none."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def set_no_new_privs() -> None:
    """From now on execve grants no privileges."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_keepcaps(value: int) -> None:
    """Whether permitted capabilities survive the change of user ids."""
    prctl(_PR_SET_KEEPCAPS, value)


def set_child_subreaper(value: int) -> None:
    """Whether orphaned descendants become children of this process."""
    prctl(_PR_SET_CHILD_SUBREAPER, value)


def set_name(name: str) -> None:
    """The kernel's name (comm) of this thread, cut to 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(_PR_SET_NAME, ctypes.addressof(buffer))


def set_title(text: str) -> None:
    """Overwrite this process's argument area, so that `ps` shows `text`; cut to what fits.

    PR_SET_MM needs CAP_SYS_RESOURCE.  Instead the bytes are written in place, with the last
    byte of the area not NUL: /proc/PID/cmdline then ends at the first NUL (the kernel's
    support for setproctitle).  A long-lived process pads its argv to have the room.
    """
    fields = read_file("/proc/self/stat").rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end: fields 48 and 49 of proc(5)
    room = end - start
    if start == 0 or room < 3:
        return
    title = text.encode()[: room - 2]
    ctypes.memmove(start, title + b"\0" * (room - 1 - len(title)) + b"\1", room)


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with the boot id it names one process for ever."""
    return int(read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19])


def boot_id() -> str:
    """The random identity of this boot."""
    return read_file("/proc/sys/kernel/random/boot_id").decode().strip()


_gil_libc = ctypes.PyDLL(None, use_errno=True)
_gil_libc.syscall.restype = ctypes.c_long


def clone3(flags: int, *, exit_signal: int = 17, cgroup_fd: int = 0) -> tuple[int, int]:
    """fork(2) with clone3's flags: (pid, pidfd) in the parent, (0, -1) in the child.

    Only for single-threaded processes.  Flags that share memory with the parent are refused:
    the child runs Python.  With CLONE_INTO_CGROUP the child starts in `cgroup_fd`.
    """
    if flags & 0x100:  # CLONE_VM
        raise failure("clone3", 22)
    pidfd = ctypes.c_int(-1)
    arguments = ctypes.create_string_buffer(
        struct.pack(
            "=11Q",
            flags | CLONE_PIDFD,
            ctypes.addressof(pidfd),
            *(0, 0, exit_signal, 0, 0, 0, 0, 0),
            cgroup_fd,
        )
    )
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _gil_libc.syscall(ctypes.c_long(number("clone3")), arguments, ctypes.c_long(88))
    code = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise failure("clone3", code)
    return pid, pidfd.value
