r"""Whether mounts of the host can travel: what `shared` and `slave` of a bind mount need.

36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw    a line of mountinfo
                 ^ mount point    ^ shared:N and master:N say who hears of whom
"""

from __future__ import annotations

import os

from carboy.errors import InvalidArgument

MOUNTINFO = "/proc/self/mountinfo"


def check_propagation(source: str, propagation: str, *, mountinfo: str = MOUNTINFO) -> None:
    """Raise InvalidArgument when the mount that holds `source` cannot do what is asked for."""
    kind = propagation.removeprefix("r")
    if kind not in ("shared", "slave"):
        return
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        place, tags = find_mount(os.path.realpath(source), file.read())
    if "shared" in tags or (kind == "slave" and "master" in tags):
        return
    wanted = "shared mount" if kind == "shared" else "shared or slave mount"
    raise InvalidArgument(f"path {source[:200]} is mounted on {place} but it is not a {wanted}")


def find_mount(path: str, mountinfo: str) -> tuple[str, frozenset[str]]:
    """The mount point that holds an absolute path, and the kinds of its peers: shared, master."""
    best, tags = "", frozenset[str]()
    for line in mountinfo.splitlines():
        words = line.split(" ")
        place = _unescape(words[4])
        holds = path == place or path.startswith(place.rstrip("/") + "/")
        if holds and len(place) >= len(best):  # of several at one place, the last is on top
            best = place
            tags = frozenset(word.partition(":")[0] for word in words[6 : words.index("-")])
    return best or "/", tags


def _unescape(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
