"""carboy system check.

Looks at the kernel and the user's rights; nothing is changed.
"""

from __future__ import annotations

import os

from carboy.client.address import Home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = ""
FLAGS = ()
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy system check
"""


def main(session: Session, parsed: Parsed) -> int:  # noqa: ARG001 - the face of all commands
    """Print one line per fact; 1 when something needed is missing."""
    missing = 0
    for name, good, advice in facts(session.home):
        session.out(f"{'ok  ' if good else 'FAIL'} {name}" + ("" if good else f": {advice}"))
        missing += not good
    return 1 if missing else 0


def facts(home: Home) -> list[tuple[str, bool, str]]:
    """(what, whether it is so, what to do if not)."""
    release = os.uname().release
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    systems = _words("/proc/filesystems")
    controllers = [path for path in ("memory", "pids", "cpu") if os.path.isdir(f"/sys/fs/cgroup/{path}")]
    unified = _words("/sys/fs/cgroup/cgroup.controllers")
    return [
        (f"kernel {release} is 5.14 or newer", version >= (5, 14), "boot a newer kernel"),
        ("running as root", os.getuid() == 0, "use sudo: ordinary users come in a later version"),
        ("overlay file systems", "overlay" in systems, "load the kernel module: modprobe overlay"),
        ("layers as one file (EROFS from 6.12 on)", "erofs" in systems and version >= (6, 12),
         "layers are extracted to directories instead: slower, otherwise the same (modprobe erofs)"),
        ("memory and process limits (cgroups)", bool({"memory", "pids"} <= {*controllers, *unified}),
         "mount cgroup v2, or the v1 controllers memory and pids"),
        ("seccomp", os.path.exists("/proc/sys/kernel/seccomp/actions_avail"), "needs CONFIG_SECCOMP_FILTER"),
        ("user namespaces", os.path.exists("/proc/self/ns/user"), "needs CONFIG_USER_NS"),
        (f"{_parent(home.root)} is writable", os.access(_parent(home.root), os.W_OK), "set CARBOY_ROOT"),
        (f"{_parent(home.run)} is writable", os.access(_parent(home.run), os.W_OK), "set CARBOY_RUN"),
    ]  # fmt: skip


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def _parent(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
