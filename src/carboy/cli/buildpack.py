"""A build context as a tar, for daemons on other machines: sorted, less what .dockerignore keeps out.

Owners are 0:0 and no extended attribute goes along, as with Docker's client: who checked out a project
does not enter an image.  Directories that are kept out are sent when something in them is taken back in.
"""

from __future__ import annotations

import os
from binascii import a2b_base64

from carboy.archive.packing import pack_entries
from carboy.archive.walking import LOOK, Scope, Walk
from carboy.cli.session import for_people, write_all
from carboy.errors import InvalidArgument
from carboy.formats.dockerignore import NAME, Ignore, clean, files_for
from carboy.formats.tar.entry import DIRECTORY, FIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.formats.tar.entry import TarEntry


class IgnoreScope(Scope):
    """What .dockerignore lets in, and the files that the build itself is made of."""

    def __init__(self, ignore: Ignore | None, always: frozenset[str]) -> None:
        self._ignore = ignore
        self._always = always

    def names(self, directory: int, path: bytes) -> list[bytes]:
        """What may be inside, or lead there."""
        found = super().names(directory, path)
        if self._ignore is None:
            return found
        prefix = os.fsdecode(path) + "/" if path else ""
        return [name for name in found if self._wanted(prefix + os.fsdecode(name))]

    def outside(self, path: str) -> bool:
        """Whether a directory is only on the way to something."""
        return self._ignore is not None and self._ignore.excludes(path, is_dir=True)

    def _wanted(self, path: str) -> bool:
        if self._ignore is None or not self._ignore.excludes(path):
            return True
        if path in self._always or any(one.startswith(path + "/") for one in self._always):
            return True
        return self._ignore.has_exceptions and self._ignore.may_descend(path)

    def keeps(self, path: str) -> bool:
        """Whether a file is inside."""
        return self._ignore is None or path in self._always or not self._ignore.excludes(path)


class _Copies(Walk):
    """Names of one file are files of their own: one of them may be outside."""

    def _linked(self, entry: TarEntry, status: os.stat_result) -> TarEntry:
        del status
        return entry


def pack_context(path: str, directory: int, dockerfile: str, ignore: str) -> Iterator[bytes]:
    """The tar of a context; `ignore`: patterns (base64) instead of the context's own."""
    try:
        yield from _pack(directory, _scope(path, dockerfile, ignore))
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
        raise InvalidArgument(
            f"error checking context: cannot read {name} in {path}: {(error.strerror or '').lower()}: "
            f"mend its permissions, or keep it out with {NAME}"
        ) from error


def _scope(path: str, dockerfile: str, ignore: str) -> IgnoreScope:
    main = clean(dockerfile or "Dockerfile")
    always = frozenset((main, main.lower() if not dockerfile else main, *files_for(main)))
    if ignore:
        return IgnoreScope(Ignore.parse(a2b_base64(ignore).decode("utf-8", "surrogateescape")), always)
    for name in files_for(main):
        try:
            with open(os.path.join(path, name), encoding="utf-8", errors="surrogateescape") as file:
                return IgnoreScope(Ignore.parse(file.read()), always)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return IgnoreScope(None, always)


def _pack(directory: int, scope: IgnoreScope) -> Iterator[bytes]:
    start = os.open(".", LOOK | os.O_DIRECTORY, dir_fd=directory)
    try:
        yield from pack_entries(_bare(_inside(start, scope)))
    finally:
        os.close(start)


def _bare(entries: Iterator[tuple[TarEntry, int]]) -> Iterator[tuple[TarEntry, int]]:
    for entry, descriptor in entries:
        entry.uid = entry.gid = 0
        entry.xattrs = None
        yield entry, descriptor


def _inside(start: int, scope: IgnoreScope) -> Iterator[tuple[TarEntry, int]]:
    """The entries that are inside; directories on the way to them only when there are some."""
    waiting: list[tuple[str, TarEntry]] = []
    for entry, descriptor in _Copies(scope).one(start, b"", b"", 0):
        path = os.fsdecode(entry.unsafe_path)
        while waiting and not path.startswith(waiting[-1][0] + "/"):
            waiting.pop()
        if entry.kind == DIRECTORY:
            if scope.outside(path):
                waiting.append((path, entry))
                continue
        elif not scope.keeps(path):
            continue
        elif entry.kind == FIFO:
            _left_out(path)
            continue
        for _, parent in waiting:
            yield parent, -1
        waiting.clear()
        yield entry, descriptor


def _left_out(path: str) -> None:
    text = for_people(2, f'WARNING: "/{path}" is a named pipe: it is left out\n')
    write_all(2, text.encode("utf-8", "surrogateescape"))
