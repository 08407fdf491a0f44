"""The few network sysctls that Carboy sets, in the calling thread's network namespace.

`/proc/sys/net` shows the namespace of the thread that looks, so the same functions serve the
daemon's own namespace and, inside the namespace thread, a container's.
"""

from __future__ import annotations

import os

from carboy.errors import Unavailable


def set_sysctl(name: str, value: str, *, optional: bool = False) -> bool:
    """Set `name` ("net/ipv4/ip_forward") unless it has the value; whether it was changed.

    An optional one may be missing (a kernel without IPv6).
    """
    path = "/proc/sys/" + name
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        if optional:
            return False
        raise
    except OSError as error:
        return _tolerate(name, value, error)
    try:
        if os.read(fd, 64).decode().strip() == value:
            return False
        os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)
    return True


def get_sysctl(name: str) -> str:
    """The value, stripped; empty when there is no such sysctl."""
    try:
        fd = os.open("/proc/sys/" + name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def disable_ipv6(interface: str) -> None:
    """No IPv6 on one interface: no link-local address, no router advertisements, no neighbours."""
    set_sysctl(f"net/ipv6/conf/{interface}/disable_ipv6", "1", optional=True)


def _tolerate(name: str, value: str, error: OSError) -> bool:
    # A read-only /proc/sys is common where Carboy itself runs in a container: fine if the value is right.
    if get_sysctl(name) == value:
        return False
    raise Unavailable(
        f"cannot set sysctl {name.replace('/', '.')} to {value}: {error.strerror}; "
        "set it before Carboy starts"
    ) from error
