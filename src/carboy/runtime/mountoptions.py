"""Mount options: words to attributes, propagation and data (config.md, "Linux mount options")."""

from __future__ import annotations

from carboy.errors import InvalidArgument
from carboy.linux import mount as m

SET_CLEAR: dict[str, tuple[int, int]] = {
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "noatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR_ATIME),
    "atime": (0, m.MOUNT_ATTR_ATIME),
    "relatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR_ATIME),
    "norelatime": (0, m.MOUNT_ATTR_ATIME),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR_ATIME),
    "nostrictatime": (0, m.MOUNT_ATTR_ATIME),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}

PROPAGATION: dict[str, tuple[int, bool]] = {
    "private": (m.MS_PRIVATE, False),
    "rprivate": (m.MS_PRIVATE, True),
    "shared": (m.MS_SHARED, False),
    "rshared": (m.MS_SHARED, True),
    "slave": (m.MS_SLAVE, False),
    "rslave": (m.MS_SLAVE, True),
    "unbindable": (m.MS_UNBINDABLE, False),
    "runbindable": (m.MS_UNBINDABLE, True),
}

SUPERBLOCK_FLAGS = frozenset(("sync", "dirsync", "mand", "lazytime"))
IGNORED = frozenset(
    ("defaults", "async", "nomand", "nolazytime", "auto", "noauto", "user", "nouser", "remount")
)


PRIVATE = "carboy."
"""Words between our engine and our runtime, for bind mounts:

    carboy.subpath=PATH     only what lies there below the source, resolved inside it
    carboy.descriptor=N     the source is the Nth mount that came with the request
    carboy.process=PID      the source is a path in the root of that process
"""


class Options:
    """What the words of one mount mean.

    attr_set, attr_clr: for the mount; recursive_set, recursive_clr: for all mounts below it.
    data: [(key, value or None)] for the filesystem.
    subpath, descriptor, process: see `PRIVATE`.
    """

    __slots__ = (
        *("attr_clr", "attr_set", "bind", "copy_up", "data", "descriptor", "idmap", "process"),
        *("propagation", "recursive", "recursive_clr", "recursive_set", "subpath"),
    )

    def __init__(self) -> None:
        self.attr_set = self.attr_clr = self.recursive_set = self.recursive_clr = 0
        self.propagation: list[tuple[int, bool]] = []
        self.data: list[tuple[str, str | None]] = []
        self.bind = self.recursive = self.copy_up = False
        self.idmap = self.subpath = ""
        self.descriptor, self.process = -1, 0


def parse(words: list[str]) -> Options:
    """Read the words of one mount, the later ones winning."""
    options = Options()
    for word in words:
        _read(options, word)
    return options


def _read(options: Options, word: str) -> None:
    if word in ("bind", "rbind"):
        options.bind, options.recursive = True, options.recursive or word == "rbind"
    elif word in SET_CLEAR:
        options.attr_set, options.attr_clr = _merge(options.attr_set, options.attr_clr, SET_CLEAR[word])
    elif word[:1] == "r" and word[1:] in SET_CLEAR:
        pair = _merge(options.recursive_set, options.recursive_clr, SET_CLEAR[word[1:]])
        options.recursive_set, options.recursive_clr = pair
    elif word in PROPAGATION:
        options.propagation.append(PROPAGATION[word])
    elif word == "tmpcopyup":
        options.copy_up = True
    elif word in ("idmap", "ridmap"):
        options.idmap = word
    elif word in SUPERBLOCK_FLAGS:
        options.data.append((word, None))
    elif word.startswith(PRIVATE):
        _read_private(options, word)
    elif word not in IGNORED and word:
        key, equals, value = word.partition("=")
        options.data.append((key, value if equals else None))


def _read_private(options: Options, word: str) -> None:
    key, _, value = word[len(PRIVATE) :].partition("=")
    if key == "subpath" and value:
        options.subpath = value
    elif key in ("descriptor", "process") and value.isascii() and value.isdigit():
        setattr(options, key, int(value))
    else:
        raise InvalidArgument(f"config: mount option {word[:80]!r} is not known")


def _merge(attr_set: int, attr_clr: int, pair: tuple[int, int]) -> tuple[int, int]:
    """Later words undo earlier ones; the time attributes are one field of several bits."""
    setting, clearing = pair
    if clearing & m.MOUNT_ATTR_ATIME:
        attr_set &= ~m.MOUNT_ATTR_ATIME
    return (attr_set & ~clearing) | setting, (attr_clr & ~setting) | clearing


def root_propagation(word: str) -> tuple[int, bool]:
    """Of `linux.rootfsPropagation`; "" is rslave, the safe default that still sees the host's mounts."""
    if not word:
        return m.MS_SLAVE, True
    if word not in PROPAGATION:
        raise InvalidArgument(f"config: linux.rootfsPropagation {word!r} is not a propagation")
    return PROPAGATION[word]
