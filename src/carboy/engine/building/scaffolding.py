"""What must be there before a RUN, and must not be in its layer: mount points and their kind.

They are made in a directory of their own, a layer above the image's and below the step's changes
(`Snapshots.scaffold`).  So nothing has to be recognised and removed afterwards, and what a program
itself puts beside or below them is its own.  Where nothing is missing, nothing is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from carboy.errors import InvalidArgument
from carboy.linux.paths import create_file_in_root, make_directories_in_root, open_in_root

OWN_DIRECTORIES = ("/proc", "/sys", "/dev")
OWN_FILES = ("/etc/hosts", "/etc/resolv.conf")
"""Not /etc/hostname: what a step writes there is the image's, as with BuildKit."""


@dataclass(slots=True)
class Scaffold:
    """Paths that a container needs, as its programs name them."""

    directories: list[str] = field(default_factory=lambda: list(OWN_DIRECTORIES))
    files: list[str] = field(default_factory=lambda: list(OWN_FILES))
    contents: dict[str, bytes] = field(default_factory=dict)
    """Files that are shown with other contents than the image's."""

    def add(self, target: str, *, is_directory: bool) -> None:
        """A mount point; what lies in the kernel's own filesystems is nobody's layer."""
        if not _is_the_kernels(target):
            (self.directories if is_directory else self.files).append(target)

    def missing_in(self, root: int) -> bool:
        """Whether anything is to be made."""
        return bool(self.contents) or any(
            not _leads_somewhere(root, path) for path in (*self.directories, *self.files)
        )

    def make_in(self, root: int) -> None:
        """Make what is missing, where links of the image lead, as the runtime would."""
        for path in self.directories:
            os.close(make_directories_in_root(root, path))
        for path in self.files:
            os.close(create_file_in_root(root, path))

    def lend_in(self, root: int) -> frozenset[bytes]:
        """Write the contents; gives the paths, without links, of what was written."""
        return frozenset(_write(root, path, data) for path, data in self.contents.items())


def _is_the_kernels(path: str) -> bool:
    return any(path == own or path.startswith(own + "/") for own in OWN_DIRECTORIES)


def _leads_somewhere(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, os.O_PATH))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _write(root: int, path: str, data: bytes) -> bytes:
    fd = open_in_root(root, path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
    with os.fdopen(fd, "wb") as file:
        # Links are followed by the kernel; nobody else has this mount, so where they led to is sure.
        where = os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).lstrip(b"/")
        file.write(data)
    return where


def refuse_targets(targets: Iterable[str]) -> None:
    """Raise InvalidArgument for places where nothing can be mounted."""
    seen: set[str] = set()
    for target in targets:
        clean = os.path.normpath("/" + target.lstrip("/"))
        if "\0" in target or clean == "/":
            raise InvalidArgument(f"RUN --mount: invalid mount target {target[:200]!r}")
        if clean == "/proc" or clean.startswith("/proc/"):
            raise InvalidArgument(f"RUN --mount: {clean[:200]} cannot be mounted because it is inside /proc")
        if clean in seen:
            raise InvalidArgument(f"RUN --mount: {clean[:200]} is the target of two mounts")
        seen.add(clean)
