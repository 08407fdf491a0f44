"""Wire types of what is copied out of containers, and of what they have changed."""

from __future__ import annotations

import base64
import stat

import msgspec

from carboy.formats.dockerapi.times import rfc3339
from carboy.formats.dockerapi.wire import encode

# Bits of Go's os.FileMode above the nine of permissions.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFREG: 0,
}
_GO_FLAGS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
_LATEST = 253_402_300_799 * 10**9  # the last second of the year 9999


class PathStat(msgspec.Struct, kw_only=True, rename={"link_target": "linkTarget"}):
    """What is at a path of a container; `mode` is Go's os.FileMode."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = ""


class FilesystemChange(msgspec.Struct, kw_only=True, rename="pascal"):
    """One changed path; kinds: 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


def path_stat(name: str, *, mode: int, size: int, mtime_ns: int, link_target: str = "") -> PathStat:
    """The wire form of a file's status; `mode` is the kernel's."""
    moment = min(max(mtime_ns, 0), _LATEST)  # a hostile one need not be a date at all
    return PathStat(name=name, size=size, mode=go_mode(mode), mtime=rfc3339(moment), link_target=link_target)


def go_mode(mode: int) -> int:
    """The kernel's mode as Go's os.FileMode."""
    found = (mode & 0o777) | _GO_KINDS.get(stat.S_IFMT(mode), 1 << 19)
    for bit, flag in _GO_FLAGS:
        if mode & bit:
            found |= flag
    return found


def stat_header(found: PathStat) -> str:
    """The value of `X-Docker-Container-Path-Stat`."""
    return base64.b64encode(encode(found)).decode("ascii")
