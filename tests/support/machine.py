"""What looks like Carboy's on this machine: before and after the tests it is the same.

python -m support.machine before FILE     # scripts/test: several pytest processes, one look at the end
python -m support.machine after FILE
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from carboy.store.paths import Paths

SETTLE = 30.0
"""Seconds: the kernel takes namespaces and their links down a little later than their last process."""

VARIABLE = "CARBOY_TESTS"
"""In the environment of every daemon that these tests start, and so of its spawner and monitors.

Set from outside it is common to several pytest processes, whose caller looks for what they leave.
"""


def ours() -> set[str]:
    """What of this machine looks like Carboy's, without what belongs to daemons that others run meanwhile."""
    others = suffixes_of_others()
    return {one for one in present() if not any(suffix in one for suffix in others)}


def present() -> set[str]:
    """Links, control groups, mounts and processes of this machine that look like Carboy's."""
    found = {f"link {name}" for name in os.listdir("/sys/class/net") if name.startswith(("cb", "veth"))}
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        kind = fields[fields.index("-") + 1]
        if kind.startswith("cgroup"):
            with os.scandir(fields[4]) as entries:
                found |= {f"control group {one.path}" for one in entries if is_our_group(one.name)}
        elif kind in ("erofs", "overlay") and "/overlay2/" not in fields[4]:  # a Docker beside us
            found.add(f"mount {fields[4]}")
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if title.startswith("carboy ") and not is_of_others(process.parent):
            found.add(f"process {process.parent.name} {title.strip()}")
    return found


def is_our_group(name: str) -> bool:
    """Whether a control group below a hierarchy's root is called like one of Carboy's."""
    return name == "carboy" or name.startswith("carboy-")


def is_of_others(process: Path) -> bool:
    """Whether a process of Carboy was started by somebody else than these tests."""
    try:
        mark = f"{VARIABLE}={os.environ[VARIABLE]}"
        return mark.encode() not in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def suffixes_of_others() -> set[str]:
    """What the names of links and groups of their daemons have in them; a daemon's lock tells its root."""
    found = set()
    for lock in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(lock)
        except OSError:
            continue
        if target.endswith("/daemon.lock") and is_of_others(lock.parents[1]):
            root = target.removesuffix("/daemon.lock")
            found |= {Paths(root, "").suffix, f"{root}/"} - {""}
    return found


def left_since(before: set[str]) -> list[str]:
    """What has come and does not go; what others do on the machine meanwhile can only be guessed at."""
    deadline = time.monotonic() + SETTLE
    while (left := ours() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    return sorted(left)


def main(moment: str, path: str) -> int:
    """Note what there is, or compare with what was noted."""
    if moment == "before":
        Path(path).write_text(json.dumps(sorted(ours())))
        return 0
    left = left_since(set(json.loads(Path(path).read_text())))
    if left:
        print(f"the tests have left on the machine: {left}", file=sys.stderr)
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
