"""inotify: being told of changes to files and cgroup files."""

from __future__ import annotations

import os
import struct

from carboy.linux.libc import LIBC, c_path, call

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_DONT_FOLLOW = 0x2000000


def inotify_init1(flags: int = os.O_CLOEXEC | os.O_NONBLOCK) -> int:
    """A new inotify descriptor."""
    return call("inotify_init1", LIBC.inotify_init1, flags)


def inotify_add_watch(fd: int, path: str | bytes, mask: int) -> int:
    """Watch `path`; returns the watch's number."""
    return call("inotify_add_watch", LIBC.inotify_add_watch, fd, c_path(path), mask, path=path)


def inotify_rm_watch(fd: int, watch: int) -> None:
    """Stop watching."""
    call("inotify_rm_watch", LIBC.inotify_rm_watch, fd, watch)


def events(packet: bytes) -> list[tuple[int, int, bytes]]:
    """(watch, mask, name) for each event in what was read from the descriptor."""
    found = []
    position = 0
    while position + 16 <= len(packet):
        watch, mask, _, length = struct.unpack_from("=iIII", packet, position)
        name = packet[position + 16 : position + 16 + length].rstrip(b"\0")
        found.append((watch, mask, name))
        position += 16 + length
    return found
