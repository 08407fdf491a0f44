"""Volumes of the local driver with options: what is mounted for them, and for how long.

    o=bind, device=/path     the path itself is the volume; nothing is mounted on the host
    any other type           mounted at the volume's _data, as with Docker, while a container
                             that uses it runs: several containers share one tmpfs, one NFS mount

Who holds a mount is known from the containers that run, so a new daemon finds it out again.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable

from carboy.errors import InvalidArgument
from carboy.linux import mount as m

_OPTIONS = ("type", "o", "device", "size")
_NEEDS = (("device", "type"), ("type", "device"), ("o", "device"), ("o", "type"))

_FLAGS = {
    "ro": m.MS_RDONLY,
    "nosuid": m.MS_NOSUID,
    "nodev": m.MS_NODEV,
    "noexec": m.MS_NOEXEC,
    "sync": m.MS_SYNCHRONOUS,
    "mand": m.MS_MANDLOCK,
    "dirsync": m.MS_DIRSYNC,
    "noatime": m.MS_NOATIME,
    "nodiratime": m.MS_NODIRATIME,
    "relatime": m.MS_RELATIME,
    "strictatime": m.MS_STRICTATIME,
    "bind": m.MS_BIND,
    "rbind": m.MS_BIND | m.MS_REC,
}
_NOTHING = frozenset(("defaults", "rw", "suid", "dev", "exec", "async", "atime", "private", "rprivate"))
_REFUSED = frozenset(("remount", "move", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"))


def check_options(options: dict[str, str]) -> None:
    """Raise InvalidArgument, in Docker's words, for options of the local driver that make no sense."""
    for name in options:
        if name not in _OPTIONS:
            raise InvalidArgument(f'invalid option: "{name[:40]}"')
    for name, needed in _NEEDS:
        if name in options and needed not in options:
            raise InvalidArgument(f'missing required option: "{needed}"')
    if "size" in options:
        raise InvalidArgument("quota size requested but no quota support")
    if "\0" in "".join(options.values()):
        raise InvalidArgument("invalid option: it holds a NUL byte")
    for word in options.get("o", "").split(","):
        if word in _REFUSED:
            raise InvalidArgument(f'invalid option "{word}" of a volume: it would change mounts of the host')


def bound_path(options: dict[str, str]) -> str:
    """The directory that a volume with `o=bind` is; empty for any other."""
    words = options.get("o", "").split(",")
    return options["device"] if "bind" in words or "rbind" in words else ""


def is_read_only(options: dict[str, str]) -> bool:
    """Whether `o` says so."""
    return "ro" in options.get("o", "").split(",")


class VolumeMounts:
    """Which volumes are mounted, and for which containers."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._users: dict[str, set[str]] = {}

    def acquire(self, name: str, container_id: str, options: dict[str, str]) -> None:
        """Mount the volume unless it is; it stays until the last container releases it."""
        with self._lock:
            users = self._users.setdefault(name, set())
            if not users and not os.path.ismount(self._place(name)):
                _mount(options, self._place(name))
            users.add(container_id)

    def release(self, container_id: str) -> None:
        """The container has ended: unmount what nobody else uses."""
        with self._lock:
            for name, users in list(self._users.items()):
                users.discard(container_id)
                if not users:
                    del self._users[name]
                    self._unmount(name)

    def adopt(self, uses: Iterable[tuple[str, str]], names: Iterable[str]) -> None:
        """At the daemon's start: `uses` (volume, container) go on; other mounts of `names` are left-overs."""
        with self._lock:
            for name, container_id in uses:
                self._users.setdefault(name, set()).add(container_id)
            for name in names:
                if name not in self._users:
                    self._unmount(name)

    def _place(self, name: str) -> str:
        return f"{self._directory}/{name}/_data"

    def _unmount(self, name: str) -> None:
        if os.path.ismount(self._place(name)):
            m.umount2(self._place(name), m.MNT_DETACH | m.UMOUNT_NOFOLLOW)


def _mount(options: dict[str, str], place: str) -> None:
    flags, data = 0, []
    for word in filter(None, options.get("o", "").split(",")):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word not in _NOTHING:
            data.append(_resolved(word) if options["type"] in ("nfs", "nfs4", "cifs") else word)
    device, kind = options["device"], options["type"]
    try:
        m.mount(device, place, kind, flags, ",".join(data) or None)
    except OSError as error:
        raise InvalidArgument(
            f"error while mounting volume '{place}': failed to mount local volume:"
            f" mount {device}:{place}, data: {','.join(data)}: {error.strerror}"
        ) from error


def _resolved(word: str) -> str:
    """`addr=NAME` with an address instead: the kernel resolves no names."""
    key, _, host = word.partition("=")
    if key != "addr":
        return word
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(f"error resolving passed in network volume address: {error}") from error
    return f"addr={found[0][4][0]}"
