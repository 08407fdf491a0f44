"""A commit's tree as a layer, without a checkout: objects become members of one canonical tar.

Regular files are 0644 or 0755, links are links, everything is root's and has one time.  Names are refused
where they are parsed (`formats/gitobjects.py`).  Submodules come below their path, as trees of their own.

A tree may name another one any number of times, and that one a third: a few objects make any number of files.
`Bounds` counts what comes of them, whoever walks over them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from carboy.build.frontend.addresses import read_repository
from carboy.build.sources import gitdirectory
from carboy.build.sources.addresses import shown
from carboy.build.sources.gitdirectory import GitDirectory
from carboy.build.sources.layerwriting import Batch, make_layer
from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound
from carboy.formats.compression import DecompressionLimits
from carboy.formats.gitobjects import DIRECTORY, EXECUTABLE, LINK, SUBMODULE, Commit, TreeEntry, parse_tree
from carboy.formats.gitpack import BLOB, TREE, Pack
from carboy.formats.tar import DIRECTORY as TAR_DIRECTORY
from carboy.formats.tar import END, REGULAR, SYMLINK, TarEntry, encode, padding
from carboy.store.layers import LayerStore

MOST_DEPTH = 10
MOST_SUBMODULES = 200
_MAX_LEVELS = 200
_MODULES_LIMIT = 1 << 20
_LINK_MAX = 4095
_MODULES = b".gitmodules"
_SECTION = re.compile(r'\[submodule "(.*)"\]\s*(?:[#;].*)?')
_VALUE = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)")

__all__ = [
    "Bounds",
    "GitDirectory",
    "LayerLimits",
    "Part",
    "Submodule",
    "below",
    "joined",
    "submodules",
    "write_layer",
]


@dataclass(frozen=True, slots=True)
class LayerLimits:
    """How much may come of a repository, with its submodules."""

    entries: int = 2_000_000
    names: int = 256 << 20
    """Bytes of all paths."""
    ratio: int = DecompressionLimits().ratio
    """Bytes of the layer to those that the servers sent."""
    slack: int = 1 << 30
    """Bytes of a layer that are allowed whatever the ratio."""


class Bounds:
    """Counts against the limits, and asks whether to stop."""

    def __init__(self, check: Callable[[], None], limits: LayerLimits, *, received: int = 0) -> None:
        self.check = check
        self._limits = limits
        self._received = received
        self._entries = 0
        self._names = 0
        self._written = 0

    def entries(self, entries: Iterable[TreeEntry]) -> Iterator[TreeEntry]:
        """The same, until they are too many."""
        for entry in entries:
            if not self._entries % 64:
                self.check()
            self._entries += 1
            if self._entries > self._limits.entries:
                raise Corrupt(f"git: the repository comes to more than {self._limits.entries} files")
            yield entry

    def name(self, path: bytes) -> None:
        """One more path."""
        self._names += len(path)
        if self._names > self._limits.names:
            raise Corrupt(f"git: the paths of the repository come to more than {self._limits.names} bytes")

    def write(self, size: int) -> None:
        """So many bytes more are about to be written."""
        self.check()
        self._written += size
        if self._written > max(self._limits.slack, self._limits.ratio * self._received):
            raise Corrupt(
                f"git: a repository of {self._received} bytes becomes {self._written}: that is refused"
            )


@dataclass(frozen=True, slots=True)
class Part:
    """The tree of a commit (or what is below one of its directories), and where it goes."""

    pack: Pack
    id: str
    """The commit's."""
    commit: Commit
    received: int
    """Bytes that the server sent for it."""
    tree: bytes = b""
    """Empty: the commit's own."""
    path: bytes = b""

    @property
    def root(self) -> bytes:
        """The id of the tree that goes to `path`."""
        return self.tree or self.commit.tree


@dataclass(frozen=True, slots=True)
class Submodule:
    """A repository inside another one."""

    path: bytes
    url: str
    commit: str


def below(part: Part, subdir: str) -> Part:
    """Only what is below a directory; links on the way are not followed, and refused."""
    tree = part.root
    done = ""
    for name in filter(None, subdir.split("/")):
        done = f"{done}/{name}" if done else name
        entry = _entry(part.pack, tree, name.encode("utf-8", "surrogateescape"))
        if entry is None:
            raise NotFound(f"subdir not found in the repository: {done}")
        if entry.mode == LINK:
            raise InvalidArgument(
                f"the subdirectory {done} of the repository is a symbolic link: that is refused"
            )
        if entry.mode != DIRECTORY:
            raise InvalidArgument(f"the subdirectory {done} of the repository is no directory")
        tree = entry.id
    return replace(part, tree=tree)


def submodules(part: Part, subdir: bytes, bounds: Bounds) -> Iterator[Submodule]:
    """The submodules below a directory (empty: all), with their addresses out of .gitmodules."""
    inside = subdir + b"/" if subdir else b""
    links = []
    for path, entry in _walk(part.pack, part.root, bounds):
        if entry.mode == SUBMODULE and path.startswith(inside):
            links.append((path, entry))
            if len(links) > MOST_SUBMODULES:
                raise InvalidArgument(f"git: the repository has more than {MOST_SUBMODULES} submodules")
    if not links:
        return
    known = _modules(part)
    for path, entry in links:
        url = known.get(path)
        if url is None:
            raise NotFound(
                f"no url found for submodule path {path.decode('utf-8', 'replace')!r} in .gitmodules"
            )
        yield Submodule(path, url, entry.id.hex())


def joined(parent: str, url: str) -> str:
    """The address of a submodule: relative ones are relative to the parent's."""
    if url.startswith(("./", "../")):
        if "://" not in parent:
            head, colon, path = parent.partition(":")
            return f"{head}{colon}{posixpath.normpath(posixpath.join(path, url))}"
        parts = urlsplit(parent)  # urljoin knows only some schemes
        path = posixpath.normpath(posixpath.join("/", parts.path, url))
        return parts._replace(path=path, query="", fragment="").geturl()
    is_http = urlsplit(url).scheme in ("http", "https") if "://" in url else False
    if not is_http and read_repository(url) is None:
        raise InvalidArgument(f"a submodule has the address {shown(url)[:200]!r}: that is refused")
    return url


def write_layer(
    parts: list[Part],
    layers: LayerStore,
    *,
    mtime: int,
    directory: GitDirectory | None,
    check: Callable[[], None],
    limits: LayerLimits,
) -> Digest:
    """Write all parts, the first one at the root."""
    received = sum(part.received for part in parts)

    def write(batch: Batch) -> None:
        if directory is not None:
            main, bounds = parts[0], Bounds(check, limits, received=received)
            entries = _walk(main.pack, main.root, bounds)
            for member, pieces in gitdirectory.members(directory, main.pack, main.root, entries):
                _member(batch, member, pieces, mtime, bounds)
        bounds = Bounds(check, limits, received=received)
        for part in parts:
            _write_part(batch, part, mtime, bounds)
        batch.write(END)

    return make_layer(layers, write).diff_id


def _write_part(batch: Batch, part: Part, mtime: int, bounds: Bounds) -> None:
    pack = part.pack
    prefix = part.path + b"/" if part.path else b""
    for path, entry in _walk(pack, part.root, bounds):
        name = prefix + path
        if entry.mode in (DIRECTORY, SUBMODULE):
            _member(batch, TarEntry(name, TAR_DIRECTORY, mode=0o755), (), mtime, bounds)
        elif entry.mode == LINK:
            target = pack.read(entry.id, BLOB)
            if not target or b"\0" in target or len(target) > _LINK_MAX:
                raise Corrupt(f"git: the link {name[:200]!r} of the repository leads to no possible path")
            _member(batch, TarEntry(name, SYMLINK, mode=0o777, link=target), (), mtime, bounds)
        else:
            found = pack.find(entry.id)
            if found.kind != BLOB:
                raise Corrupt(f"git: {name[:200]!r} of the repository is no file's contents")
            mode = 0o755 if entry.mode == EXECUTABLE else 0o644
            file = TarEntry(name, REGULAR, mode=mode, size=found.size)
            _member(batch, file, pack.pieces(entry.id), mtime, bounds)


def _member(batch: Batch, member: TarEntry, pieces: Iterable[bytes], mtime: int, bounds: Bounds) -> None:
    member.mtime = mtime
    header = encode(member)
    bounds.write(len(header) + member.size)
    batch.write(header)
    if member.kind == REGULAR:
        for piece in pieces:
            bounds.check()
            batch.write(piece)
        batch.write(padding(member.size))


def _walk(pack: Pack, root: bytes, bounds: Bounds) -> Iterator[tuple[bytes, TreeEntry]]:
    """Everything in a tree, sorted by path; a directory before what is in it."""
    waiting = [(b"", _sorted(pack, root, bounds))]
    while waiting:
        prefix, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        path = prefix + entry.name
        bounds.name(path)
        yield path, entry
        if entry.mode == DIRECTORY:
            if len(waiting) > _MAX_LEVELS or len(path) > _LINK_MAX:
                raise Corrupt(f"git: the repository is too deep: {path[:200]!r}")
            waiting.append((path + b"/", _sorted(pack, entry.id, bounds)))


def _sorted(pack: Pack, tree: bytes, bounds: Bounds) -> Iterator[TreeEntry]:
    entries = bounds.entries(parse_tree(pack.read(tree, TREE)))
    return iter(sorted(entries, key=lambda entry: entry.name))


def _entry(pack: Pack, tree: bytes, name: bytes) -> TreeEntry | None:
    return next((entry for entry in parse_tree(pack.read(tree, TREE)) if entry.name == name), None)


def _modules(part: Part) -> dict[bytes, str]:
    """Addresses of submodules by path, out of .gitmodules: what it has of git's configuration language."""
    entry = _entry(part.pack, part.root, _MODULES)
    if (
        entry is None
        or entry.mode in (LINK, DIRECTORY, SUBMODULE)
        or part.pack.find(entry.id).size > _MODULES_LIMIT
    ):
        return {}
    found: dict[bytes, str] = {}
    values: dict[str, str] = {}
    inside = False
    for line in [*part.pack.read(entry.id, BLOB).decode("utf-8", "surrogateescape").splitlines(), "[end]"]:
        text = line.strip()
        if text.startswith("["):
            if "path" in values and "url" in values:
                found[values["path"].strip("/").encode("utf-8", "surrogateescape")] = values["url"]
            values = {}
            inside = _SECTION.fullmatch(text) is not None
        elif inside and (match := _VALUE.fullmatch(text)):
            values[match[1].lower()] = _unquoted(match[2])
    return found


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text
