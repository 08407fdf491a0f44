"""Whether a build context is a clean git work tree, and of which commit: the time of that is the build's.

Clean is what `git describe --dirty` calls so: every file that git knows is as in HEAD; files that it does not
know do not count.  What git remembers of the files (sizes, times, inodes) answers at the cost of a stat each;
where that says nothing (a copied tree) contents are hashed, so that copies give the bytes of their originals.

Only `.git` as a directory of the context is looked at, through its descriptor, with links that lead nowhere
else; no configuration, hook or filter of the repository is obeyed.  What is not understood means: not clean.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import overload

from carboy.errors import Corrupt, InvalidArgument
from carboy.formats import gitpack
from carboy.formats.gitindex import SUBMODULE, KnownFile, find_in_pack, parse_index, tree_of
from carboy.formats.gitobjects import parse_commit
from carboy.linux.paths import open_beneath, open_in_root
from carboy.store.metadata import Database

_INDEX_LIMIT = 256 << 20
_REF_LIMIT = 16 << 20
_OBJECT_LIMIT = 16 << 20
_HASHED_LIMIT = 8 << 30
"""Bytes of files that are hashed when git's memory does not help; once, then they are remembered."""
_MOST_PLACES = 1000
_SETTLED = 3.0
"""Seconds that all files must have rested before their looks are believed."""
_MOST_PACKS = 1000
_MOST_LINKS = 5
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A commit that a directory is, and when it was made."""

    id: str
    time: int


class WorkTreeMemory:
    """Remembers trees that had to be compared by content, so that it is done once."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock

    def knows(self, root: int, stamp: str) -> bool:
        """Whether the files of this directory were right when they looked like that."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT stamp FROM build_worktrees WHERE id=?", (_place(root),)
            ).fetchone()
        return row is not None and row[0] == stamp

    def learn(self, root: int, stamp: str) -> None:
        """Remember it; only some thousand places are."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO build_worktrees VALUES (?, ?, ?)", (_place(root), stamp, self.clock())
            )
            connection.execute(
                "DELETE FROM build_worktrees WHERE id IN"
                " (SELECT id FROM build_worktrees ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
                (_MOST_PLACES,),
            )


def clean_commit(root: int, memory: WorkTreeMemory | None = None) -> WorkTree | None:
    """The commit that the files below `root` are, exactly; None when they are not, or there is none."""
    try:
        return _clean_commit(root, memory)
    except (OSError, Corrupt, InvalidArgument, ValueError, zlib.error):
        return None


def _clean_commit(root: int, memory: WorkTreeMemory | None) -> WorkTree | None:
    if not stat.S_ISDIR(os.stat(".git", dir_fd=root, follow_symlinks=False).st_mode):
        return None
    head = _head(root)
    if head is None:
        return None
    with _opened(root, ".git/index") as index:
        written = os.fstat(index).st_mtime_ns
        files = parse_index(_read(index, _INDEX_LIMIT))
    if not files or any(file.mode == SUBMODULE for file in files):
        return None
    commit = parse_commit(_object(root, head, gitpack.COMMIT))
    if tree_of(files) != commit.tree or not _unchanged(root, files, written, memory):
        return None
    return WorkTree(head.hex(), commit.time)


def _head(root: int) -> bytes | None:
    """The commit that HEAD means."""
    name = ".git/HEAD"
    for _ in range(_MOST_LINKS):
        try:
            with _opened(root, name) as file:
                text = _read(file, 4096).decode("utf-8").strip()
        except FileNotFoundError:
            return _packed_ref(root, name.removeprefix(".git/"))
        if not text.startswith("ref:"):
            return bytes.fromhex(text) if len(text) == 40 else None
        ref = text[4:].strip()
        if not ref.startswith("refs/") or ".." in ref:
            return None
        name = f".git/{ref}"
    return None


def _packed_ref(root: int, ref: str) -> bytes | None:
    with _opened(root, ".git/packed-refs") as file:
        for line in _read(file, _REF_LIMIT).decode("utf-8", "surrogateescape").splitlines():
            name, _, rest = line.partition(" ")
            if rest == ref and len(name) == 40:
                return bytes.fromhex(name)
    return None


class _Looking:
    """Looks at files below a directory, through no link; the files of one directory mostly come together."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._parent: bytes | None = None
        self._descriptor = -1

    def stat(self, path: bytes) -> os.stat_result:
        """What a file looks like."""
        parent, _, name = path.rpartition(b"/")
        if parent != self._parent:
            self.close()
            self._descriptor = open_beneath(self._root, parent or b".", os.O_PATH | os.O_DIRECTORY)
            self._parent = parent
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def close(self) -> None:
        """Let go of the last directory."""
        if self._parent is not None:
            self._parent = None
            os.close(self._descriptor)


def _unchanged(root: int, files: list[KnownFile], index_written: int, memory: WorkTreeMemory | None) -> bool:
    with closing(_Looking(root)) as looking:
        return _same(root, looking, files, index_written, memory)


def _same(
    root: int, looking: _Looking, files: list[KnownFile], index_written: int, memory: WorkTreeMemory | None
) -> bool:
    doubtful: list[KnownFile] = []
    looks = hashlib.sha256()
    size, newest = 0, 0
    for file in files:
        seen = looking.stat(file.path)
        if seen.st_size & 0xFFFFFFFF != file.size and file.size:
            return False
        kind = _kind(seen.st_mode)
        if not kind or kind != file.mode:
            return False
        if _remembered(seen, file) and seen.st_mtime_ns < index_written:
            continue
        doubtful.append(file)
        size += seen.st_size
        newest = max(newest, seen.st_mtime_ns, seen.st_ctime_ns)
        what = (
            file.path,
            file.id,
            seen.st_size,
            seen.st_mtime_ns,
            seen.st_ctime_ns,
            seen.st_ino,
            seen.st_dev,
        )
        looks.update(repr(what).encode())
    if not doubtful:
        return True
    stamp = looks.hexdigest()
    if memory is not None and memory.knows(root, stamp):
        return True
    if size > _HASHED_LIMIT or not all(_hash(root, file) == file.id for file in doubtful):
        return False
    # A change right after this would not be seen in what the files look like.
    if memory is not None and newest < (memory.clock() - _SETTLED) * 1e9:
        memory.learn(root, stamp)
    return True


def _place(root: int) -> str:
    status = os.fstat(root)
    return f"{status.st_dev}:{status.st_ino}"


def _remembered(seen: os.stat_result, file: KnownFile) -> bool:
    return (
        seen.st_size == file.size
        and int(seen.st_mtime_ns // 1_000_000_000) & 0xFFFFFFFF == file.mtime
        and seen.st_mtime_ns % 1_000_000_000 == file.mtime_nsec
        and int(seen.st_ctime_ns // 1_000_000_000) & 0xFFFFFFFF == file.ctime
        and seen.st_ctime_ns % 1_000_000_000 == file.ctime_nsec
        and seen.st_ino & 0xFFFFFFFF == file.inode
    )


def _kind(mode: int) -> int:
    """A file's mode as git keeps it; 0 for what git does not keep."""
    if stat.S_ISLNK(mode):
        return 0o120000
    if stat.S_ISREG(mode):
        return 0o100755 if mode & 0o100 else 0o100644
    return 0


def _hash(root: int, file: KnownFile) -> bytes:
    if file.mode == 0o120000:
        parent, _, name = file.path.rpartition(b"/")
        directory = open_beneath(root, parent or b".", os.O_PATH | os.O_DIRECTORY)
        try:
            target = os.readlink(name, dir_fd=directory)
        finally:
            os.close(directory)
        return hashlib.sha1(b"blob %d\0" % len(target) + target, usedforsecurity=False).digest()
    descriptor = open_beneath(root, file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        while data := os.read(descriptor, _PIECE):
            digest.update(data)
        return digest.digest()
    finally:
        os.close(descriptor)


def _object(root: int, name: bytes, kind: int) -> bytes:
    """An object of the repository, loose or in a pack."""
    text = name.hex()
    try:
        with _opened(root, f".git/objects/{text[:2]}/{text[2:]}") as file:
            data = zlib.decompressobj().decompress(_read(file, _OBJECT_LIMIT), _OBJECT_LIMIT)
    except FileNotFoundError:
        return _packed(root, name, kind)
    head, _, content = data.partition(b"\0")
    if head != b"%s %d" % (gitpack.NAMES[kind], len(content)):
        raise Corrupt(f"git: the object {text} is damaged")
    return content


def _packed(root: int, name: bytes, kind: int) -> bytes:
    directory = open_in_root(root, ".git/objects/pack", os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(one for one in os.listdir(directory) if one.endswith(".idx"))[:_MOST_PACKS]
        for one in names:
            content = _in_pack(directory, one.removesuffix(".idx"), name, kind)
            if content is not None:
                return content
    finally:
        os.close(directory)
    raise Corrupt(f"git: the object {name.hex()} is not in the repository")


def _in_pack(directory: int, pack_name: str, name: bytes, kind: int) -> bytes | None:
    """The object in one pack; None when it is in another one."""
    with _opened(directory, f"{pack_name}.idx") as index:
        size = os.fstat(index).st_size

        def find(wanted: bytes) -> int | None:
            return find_in_pack(lambda place, count: os.pread(index, count, place), size, wanted)

        offset = find(name)
        if offset is None:
            return None
        with _opened(directory, f"{pack_name}.pack") as pack:
            found, content = gitpack.read_one(_PackBytes(pack), offset, find, limit=_OBJECT_LIMIT)
    return content if found == kind else None


class _PackBytes:
    """The bytes of a pack, read when they are asked for.

    Never mapped: the pack is the client's, and to look at what it cuts off meanwhile would end the daemon.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, slice):
            start, stop, _ = place.indices(self._size)
            return os.pread(self._descriptor, max(0, stop - start), start)
        data = os.pread(self._descriptor, 1, place)
        if not data:
            raise Corrupt("git: a pack ends too early")
        return data[0]


@contextmanager
def _opened(root: int, path: str) -> Iterator[int]:
    """A regular file below `root`; whatever else it is, nothing waits for it."""
    descriptor = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{path} is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, limit: int) -> bytes:
    if os.fstat(descriptor).st_size > limit:
        raise InvalidArgument("a file of the repository is larger than is read")
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(limit)
