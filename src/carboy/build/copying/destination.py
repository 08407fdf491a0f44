"""Where COPY, ADD and WORKDIR write: what the filesystem below says of the destination, and nothing else.

Its links, which of its directories are missing, what the owner's name means there: that, and not
what the filesystem is, enters the step's key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from carboy.build.copying.layerwriter import Item
from carboy.build.copying.places import Opener, Place, clean, is_whiteout, locate, split
from carboy.errors import InvalidArgument
from carboy.formats import accounts
from carboy.store.accountfiles import read_account_files


@dataclass(slots=True)
class Destination:
    """A destination that is being filled."""

    path: bytes
    """Links followed, relative to the root."""
    is_dir: bool | None
    """What is there; None: nothing (yet)."""
    existing: bytes
    """The part of the path that was there before."""
    below: bool
    """Whether a directory was there before that may have something in it."""
    is_filled: bool = False
    """Whether a file has got its name already."""

    def missing(self, *, last: bool) -> list[bytes]:
        """Paths of the directories that have to be made above it, and with `last` itself, outermost first."""
        parts = self.path.split(b"/") if self.path else []
        known = len(self.existing.split(b"/")) if self.existing else 0
        end = len(parts) if last else len(parts) - 1
        return [b"/".join(parts[:count]) for count in range(known + 1, end + 1)]


def is_directory_path(text: str) -> bool:
    """Whether a destination as written can only mean a directory."""
    return text in ("", ".") or text.endswith(("/", "/."))


def find(root: int | None, text: str, cwd: str) -> Destination:
    """Look a destination up below `root`; with None nothing is looked up, as if all were missing."""
    path = clean(text, below=cwd)
    if root is None:
        check_names(*split(path))
        return Destination(path, None if path else True, b"", below=False)
    place = _place_of(root, path)
    check_names(*place.missing)
    return Destination(
        place.path,
        None if place.missing else place.is_directory,
        b"/".join(place.parts),
        below=place.exists and place.is_directory,
    )


def check_names(*names: bytes) -> None:
    """Raise InvalidArgument for a name that nothing that is written can have."""
    for name in names:
        if name in (b"", b".", b".."):
            raise InvalidArgument(f'"{_text(name)}" is no name that a file can have')
        if name.startswith(b".wh."):
            raise InvalidArgument(
                f'cannot write "{_text(name)}": names that begin with ".wh." mean removal in a layer'
            )


def _place_of(root: int, path: bytes) -> Place:
    """Follow a destination in the filesystem below; its parents are directories or missing."""
    try:
        place = locate(root, path)
    except OSError as error:
        raise InvalidArgument(f'cannot write to "/{_text(path)}": {error.strerror}') from error
    if place.missing and not place.is_directory:
        above = b"/".join(place.parts)
        raise InvalidArgument(f'cannot make "/{_text(path)}": "/{_text(above)}" is not a directory')
    return place


def owner_of(root: int, text: str) -> tuple[int, int]:
    """(uid, gid) of `--chown` or USER; names are looked up in the filesystem below."""
    if not text:
        return 0, 0
    passwd, group = read_account_files(root) if accounts.needs_files(text) else (b"", b"")
    return accounts.resolve_owner(text, passwd=passwd, group=group)


def check_conflicts(root: int, destination: bytes, items: Iterable[Item]) -> None:
    """Refuse what would put a directory in the place of something else, or the reverse, as Docker does.

    Only directories that were there before are looked into, one listing each.
    """
    children: dict[bytes, dict[bytes, bool]] = {}
    for item in items:
        head, _, name = item.path.rpartition(b"/")
        children.setdefault(head, {})[name] = stat.S_ISDIR(item.mode)
    opener = Opener(root)
    try:
        todo = [destination]
        while todo:
            path = todo.pop()
            wanted = children.get(path)
            if wanted:
                todo += _conflicts_in(opener.directory(path), path, wanted)
    finally:
        opener.close()


def _conflicts_in(fd: int, path: bytes, wanted: dict[bytes, bool]) -> list[bytes]:
    """Directories that both have."""
    both = []
    inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        with os.scandir(inner) as found:
            for item in found:
                name = os.fsencode(item.name)
                becomes_directory = wanted.get(name)
                if becomes_directory is None:
                    continue
                whole = path + b"/" + name if path else name
                is_dir = item.is_dir(follow_symlinks=False)
                if is_dir and becomes_directory:
                    both.append(whole)
                elif is_dir:
                    raise InvalidArgument(f'cannot replace the directory "/{_text(whole)}" with a file')
                elif becomes_directory and not is_whiteout(
                    os.stat(name, dir_fd=inner, follow_symlinks=False)
                ):
                    raise InvalidArgument(f"cannot copy to non-directory: /{_text(whole)}")
    finally:
        os.close(inner)
    return both


def _text(path: bytes) -> str:
    return path[:300].decode("utf-8", "backslashreplace")
