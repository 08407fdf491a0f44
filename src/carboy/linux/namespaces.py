"""Namespaces: making, joining and asking about them; host and domain name of the UTS one."""

from __future__ import annotations

import fcntl

from carboy.linux.libc import LIBC, call, syscall

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_NS_GET_USERNS = 0xB701
_NS_GET_NSTYPE = 0xB703


def unshare(flags: int) -> None:
    """Put this process into new namespaces (for PID and time: its next children)."""
    syscall("unshare", flags)


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespace `fd`, or with a pidfd the namespaces of that process named by `flags`."""
    syscall("setns", fd, flags)


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* constant of an open namespace file."""
    return fcntl.ioctl(fd, _NS_GET_NSTYPE)


def owning_user_namespace(fd: int) -> int:
    """A descriptor of the user namespace that owns the namespace `fd`."""
    return fcntl.ioctl(fd, _NS_GET_USERNS)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    encoded = name.encode()
    call("sethostname", LIBC.sethostname, encoded, len(encoded), path=name)


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    encoded = name.encode()
    call("setdomainname", LIBC.setdomainname, encoded, len(encoded), path=name)
