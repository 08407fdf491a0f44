"""Running from an interpreter that no container can overwrite (CVE-2019-5736).

Until it executes the user's program, a container's init is this Python.  A hostile program
may reopen its /proc/PID/exe for writing.  So the processes that become inits run from a
detached, read-only copy of the mount of the interpreter's file: an open for writing fails
with EROFS for ever, and no mount namespace holds that copy.
"""

from __future__ import annotations

import os
import sys

from carboy.linux import mount

MARK = "CARBOY_SEALED"
"""Set in the environment of the re-executed process; read and removed by it."""


def ensure() -> None:
    """Return in a sealed process, re-executing this one with the same arguments if needed.

    Without the privilege to make mounts (rootless), the process goes on as it is: it then
    cannot write the interpreter's file either.
    """
    if os.environ.pop(MARK, None) is not None or os.geteuid() != 0:
        return
    try:
        fd = clone_read_only("/proc/self/exe")
    except OSError:
        return
    environment = dict(os.environ)
    environment[MARK] = "1"
    os.execve(fd, [sys.executable, *sys.orig_argv[1:]], environment)


def clone_read_only(path: str) -> int:
    """A descriptor of the file at `path` on a detached, read-only copy of its mount."""
    exe = os.path.realpath(path)
    fd = mount.open_tree(mount.AT_FDCWD, exe, mount.OPEN_TREE_CLONE)
    mount.mount_setattr(fd, b"", mount.AT_EMPTY_PATH, attr_set=mount.MOUNT_ATTR_RDONLY)
    return fd
