"""`.git` for ADD --keep-git-dir: a shallow clone of one commit that is the same wherever it is made.

    HEAD config shallow index            refs/heads/NAME or refs/tags/NAME
    objects/pack/pack-….pack, .idx       the commit, its trees and files; nothing is compressed

git's own would hold times, inode numbers, the server's choice of deltas and a compressor's version.  What
falls short: an annotated tag is there as a plain one, submodules have no `.git`, and the first `git status`
reads all files, because the index knows nothing of their times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from carboy.formats.gitobjects import DIRECTORY, SUBMODULE, TreeEntry
from carboy.formats.gitpack import BLOB, COMMIT, TREE, Pack
from carboy.formats.gitwriting import IndexEntry, PackWriter, Plan, encode_index
from carboy.formats.tar import DIRECTORY as TAR_DIRECTORY
from carboy.formats.tar import REGULAR, TarEntry

_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[remote "origin"]
\turl = {url}
\tfetch = +refs/heads/*:refs/remotes/origin/*
"""


@dataclass(frozen=True, slots=True)
class GitDirectory:
    """What is to be known of the repository."""

    commit: str
    ref: str
    """Whole; empty or HEAD when it is detached."""
    url: str
    """Without credentials."""
    is_shallow: bool = True


def members(
    directory: GitDirectory, pack: Pack, root: bytes, entries: Iterable[tuple[bytes, TreeEntry]]
) -> Iterator[tuple[TarEntry, Iterable[bytes]]]:
    """Everything in `.git`, in order, with its bytes."""
    commit = bytes.fromhex(directory.commit)
    kinds = {commit: COMMIT, root: TREE}
    files = []
    for path, entry in entries:
        if entry.mode == DIRECTORY:
            kinds[entry.id] = TREE
            continue
        size = 0
        if entry.mode != SUBMODULE:
            kinds[entry.id] = BLOB
            size = pack.find(entry.id).size
        files.append(IndexEntry(path, entry.mode, entry.id, size))
    writer = PackWriter((Plan(name, kind, pack.find(name).size) for name, kind in kinds.items()), pack.pieces)
    on_branch = directory.ref.startswith("refs/heads/")
    head = f"ref: {directory.ref}\n" if on_branch else f"{directory.commit}\n"
    yield _directory(".git")
    yield _file(".git/HEAD", head.encode())
    yield _file(".git/config", _CONFIG.format(url=_quoted(directory.url)).encode())
    yield _file(".git/index", encode_index(files))
    yield _directory(".git/objects")
    yield _directory(".git/objects/pack")
    stem = f".git/objects/pack/pack-{writer.name}"
    yield TarEntry(f"{stem}.pack".encode(), REGULAR, mode=0o444, size=writer.size), writer.pack()
    yield TarEntry(f"{stem}.idx".encode(), REGULAR, mode=0o444, size=writer.index_size), writer.index()
    yield _directory(".git/refs")
    yield from _ref(directory)
    if directory.is_shallow:
        yield _file(".git/shallow", f"{directory.commit}\n".encode())


def _ref(directory: GitDirectory) -> Iterator[tuple[TarEntry, Iterable[bytes]]]:
    parts = directory.ref.split("/")
    if parts[:2] not in (["refs", "heads"], ["refs", "tags"]) or not all(parts) or len(parts) < 3:
        return
    for count in range(2, len(parts)):
        yield _directory(".git/" + "/".join(parts[:count]))
    yield _file(".git/" + directory.ref, f"{directory.commit}\n".encode())


def _quoted(url: str) -> str:
    """A value of git's configuration."""
    escaped = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(one in url for one in '#;\\" ') else url


def _directory(path: str) -> tuple[TarEntry, Iterable[bytes]]:
    return TarEntry(path.encode(), TAR_DIRECTORY, mode=0o755), ()


def _file(path: str, data: bytes) -> tuple[TarEntry, Iterable[bytes]]:
    return TarEntry(path.encode(), REGULAR, mode=0o644, size=len(data)), (data,)
