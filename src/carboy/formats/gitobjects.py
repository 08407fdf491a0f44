"""Git's objects: trees, commits, tags.  Pure; what comes from a server is hostile.

Names in trees are refused when they could lead out of a directory, or into a repository's own (`.git` in any
spelling that some filesystem takes for it): the same rule as `git fsck` has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from carboy.errors import Corrupt

DIRECTORY: Final = 0o040000
LINK: Final = 0o120000
SUBMODULE: Final = 0o160000
EXECUTABLE: Final = 0o100755
FILE: Final = 0o100644
_GROUP_WRITABLE = 0o100664
_MODES = frozenset({DIRECTORY, LINK, SUBMODULE, EXECUTABLE, FILE, _GROUP_WRITABLE})

_ID = re.compile(rb"[0-9a-f]{40}")
_NAME_MAX = 255
_ID_SIZE = 20
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a directory."""

    mode: int
    name: bytes
    id: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """What is needed of a commit."""

    tree: bytes
    time: int
    parents: tuple[bytes, ...]


def parse_tree(data: bytes) -> Iterator[TreeEntry]:
    """The names in a directory; Corrupt for one that no file may have, and for names that come twice."""
    position, seen = 0, set()
    while position < len(data):
        space = data.find(b" ", position, position + 8)
        nul = data.find(b"\0", space + 1, space + 2 + 4096)
        if space < 0 or nul < 0 or nul + 1 + _ID_SIZE > len(data):
            raise Corrupt("git: a directory of the repository is damaged")
        digits = data[position:space]
        if not digits.isdigit() or any(digit in b"89" for digit in digits):
            raise Corrupt("git: a directory of the repository is damaged")
        mode = int(digits, 8)
        if mode not in _MODES:
            raise Corrupt(f"git: the repository holds something of the mode {mode:o}")
        name = checked_name(data[space + 1 : nul])
        if name in seen:
            raise Corrupt(f"git: the repository holds the name {name[:100]!r} twice in one directory")
        seen.add(name)
        position = nul + 1 + _ID_SIZE
        yield TreeEntry(FILE if mode == _GROUP_WRITABLE else mode, name, data[nul + 1 : position])


def checked_name(name: bytes) -> bytes:
    """A name that a file can have, and that leads nowhere."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > _NAME_MAX:
        raise Corrupt(f"git: the repository holds the impossible name {name[:100]!r}")
    if is_git_directory(name):
        raise Corrupt(f"git: the repository holds {name[:100]!r}: that would be a repository's own directory")
    if name.startswith(b".wh."):
        raise Corrupt(f"git: the repository holds {name[:100]!r}: such names mark removals in layers")
    return name


def is_git_directory(name: bytes) -> bool:
    """Whether a filesystem could take a name for `.git`."""
    lower = name.lower().rstrip(b". ")
    if lower in (b".git", b"git~1") or lower.startswith((b".git:", b".git\\", b"git~1:")):
        return True
    if not name.isascii():
        return _IGNORED_BY_HFS.sub("", name.decode("utf-8", "replace")).lower() == ".git"
    return False


def parse_commit(data: bytes) -> Commit:
    """The tree, the time and the parents of a commit."""
    head = data.partition(b"\n\n")[0].split(b"\n")
    fields = [line.partition(b" ") for line in head]
    trees = [value for key, _, value in fields if key == b"tree"]
    committers = [value for key, _, value in fields if key == b"committer"]
    parents = [value for key, _, value in fields if key == b"parent"]
    if len(trees) != 1 or len(committers) != 1 or not all(_ID.fullmatch(one) for one in (*trees, *parents)):
        raise Corrupt("git: the commit is damaged")
    time = committers[0].rpartition(b">")[2].split()
    if not time or not re.fullmatch(rb"\d{1,12}", time[0]):
        raise Corrupt("git: the commit does not say when it was made")
    return Commit(
        bytes.fromhex(trees[0].decode()), int(time[0]), tuple(bytes.fromhex(one.decode()) for one in parents)
    )


def parse_tag(data: bytes) -> bytes:
    """The id of what a tag is for."""
    first = data.partition(b"\n")[0]
    if not first.startswith(b"object ") or not _ID.fullmatch(first[7:]):
        raise Corrupt("git: the tag is damaged")
    return bytes.fromhex(first[7:].decode())
