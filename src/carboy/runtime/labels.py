"""LSM labels of the program: AppArmor profiles and SELinux contexts.

They are written through a procfs of our own, checked to be one: the container's /proc may be
anything (CVE-2019-16884, CVE-2025-52881).
"""

from __future__ import annotations

import os

from carboy.errors import Unsupported
from carboy.linux import mount as m
from carboy.linux import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.spec import Process


def require(one: Process) -> None:
    """In the parent: raise Unsupported for a label whose module this kernel does not run."""
    if wanted_profile(one) and _read("/sys/module/apparmor/parameters/enabled") != "Y":
        raise Unsupported(f"AppArmor profile {one.apparmor_profile!r}: this kernel runs without AppArmor")
    require_selinux(one.selinux_label, "SELinux label")


def require_selinux(label: str, what: str) -> None:
    """Raise Unsupported for a label that no SELinux would read."""
    if label and not os.path.exists("/sys/fs/selinux/enforce"):
        raise Unsupported(f"{what} {label!r}: this kernel runs without SELinux")


def wanted_profile(one: Process) -> str:
    """The profile to switch to, "" for none."""
    return "" if one.apparmor_profile == "unconfined" else one.apparmor_profile


def set_on_exec(one: Process) -> None:
    """In the child: the labels that the coming execve takes."""
    profile = wanted_profile(one)
    if not profile and not one.selinux_label:
        return
    proc = _open_proc()
    try:
        if profile:
            _write(proc, ("attr/apparmor/exec", "attr/exec"), f"exec {profile}")
        if one.selinux_label:
            _write(proc, ("attr/exec",), one.selinux_label)
    finally:
        os.close(proc)


def detached_proc() -> int:
    """A procfs that is mounted nowhere, of this process's PID namespace."""
    context = m.fsopen("proc")
    try:
        m.fsconfig_create(context)
        proc = m.fsmount(context)
    finally:
        os.close(context)
    paths.require_filesystem(proc, paths.PROC_SUPER_MAGIC, "/proc")
    return proc


def _open_proc() -> int:
    """A procfs of our own; in a user namespace the container's, if it is one.

    There the kernel mounts none that would show what masks cover in those that it has.
    """
    try:
        return detached_proc()
    except PermissionError:
        proc = paths.openat2(
            m.AT_FDCWD, "/proc", os.O_PATH | os.O_DIRECTORY, resolve=paths.RESOLVE_NO_SYMLINKS
        )
        paths.require_filesystem(proc, paths.PROC_SUPER_MAGIC, "/proc")
        return proc


def _write(proc: int, names: tuple[str, ...], value: str) -> None:
    for name in names:
        try:
            # Where it is the container's, not to what is mounted over its files.
            fd = paths.openat2(proc, f"{os.getpid()}/{name}", os.O_WRONLY, resolve=paths.RESOLVE_IN_TREE)
        except FileNotFoundError:
            if name == names[-1]:
                raise
            continue
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
        return


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
