"""For the whole suite: what the tests leave on the machine is a failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SETTLE = 30.0
"""Seconds: the kernel takes namespaces and their links down a little later than their last process."""


def ours() -> set[str]:
    """Links, control groups, mounts and processes of this machine that look like Carboy's."""
    found = {f"link {name}" for name in os.listdir("/sys/class/net") if name.startswith(("cb", "veth"))}
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        kind = fields[fields.index("-") + 1]
        if kind.startswith("cgroup"):
            with os.scandir(fields[4]) as entries:
                found |= {f"control group {one.path}" for one in entries if one.name.startswith("carboy-")}
        elif kind in ("erofs", "overlay") and "/overlay2/" not in fields[4]:  # a Docker beside us
            found.add(f"mount {fields[4]}")
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if title.startswith("carboy "):
            found.add(f"process {process.parent.name} {title.strip()}")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Compare before and after; what others do on the machine meanwhile can only be guessed at."""
    before = ours()
    yield
    if os.geteuid() != 0 or "CARBOY_TESTS_BESIDE" in os.environ:
        return  # the second: system tests run beside these, and look when they end (scripts/test)
    deadline = time.monotonic() + SETTLE
    while (left := ours() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, f"the tests have left on the machine: {sorted(left)}"
