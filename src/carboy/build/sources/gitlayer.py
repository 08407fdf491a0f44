"""A commit's tree as a layer, without a checkout: objects become members of one canonical tar.

Regular files are 0644 or 0755, links are links, everything is root's and has one time.  Names are refused
where they are parsed (`formats/gitobjects.py`).  Submodules come below their path, as trees of their own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from carboy.build.frontend.addresses import read_repository
from carboy.build.sources import gitdirectory
from carboy.build.sources.addresses import shown
from carboy.build.sources.gitdirectory import GitDirectory
from carboy.build.sources.layerwriting import Batch, make_layer
from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound
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

__all__ = ["GitDirectory", "Part", "Submodule", "below", "joined", "submodules", "write_layer"]


@dataclass(frozen=True, slots=True)
class Part:
    """The tree of a commit (or what is below one of its directories), and where it goes."""

    pack: Pack
    id: str
    """The commit's."""
    commit: Commit
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
    return Part(part.pack, part.id, part.commit, tree)


def submodules(part: Part) -> Iterator[Submodule]:
    """The submodules of a whole tree, with their addresses out of .gitmodules."""
    links = [(path, entry) for path, entry in _walk(part.pack, part.root) if entry.mode == SUBMODULE]
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
) -> Digest:
    """Write all parts, the first one at the root."""

    def write(batch: Batch) -> None:
        if directory is not None:
            main = parts[0]
            for member, pieces in gitdirectory.members(
                directory, main.pack, main.root, _walk(main.pack, main.root)
            ):
                _member(batch, member, pieces, mtime)
        for part in parts:
            _write_part(batch, part, mtime, check)
        batch.write(END)

    return make_layer(layers, write).diff_id


def _write_part(batch: Batch, part: Part, mtime: int, check: Callable[[], None]) -> None:
    pack = part.pack
    prefix = part.path + b"/" if part.path else b""
    for number, (path, entry) in enumerate(_walk(pack, part.root)):
        if not number % 64:
            check()
        name = prefix + path
        if entry.mode in (DIRECTORY, SUBMODULE):
            batch.write(encode(TarEntry(name, TAR_DIRECTORY, mode=0o755, mtime=mtime)))
        elif entry.mode == LINK:
            target = pack.read(entry.id, BLOB)
            if not target or b"\0" in target or len(target) > _LINK_MAX:
                raise Corrupt(f"git: the link {name[:200]!r} of the repository leads to no possible path")
            batch.write(encode(TarEntry(name, SYMLINK, mode=0o777, mtime=mtime, link=target)))
        else:
            found = pack.find(entry.id)
            if found.kind != BLOB:
                raise Corrupt(f"git: {name[:200]!r} of the repository is no file's contents")
            mode = 0o755 if entry.mode == EXECUTABLE else 0o644
            _member(batch, TarEntry(name, REGULAR, mode=mode, size=found.size), pack.pieces(entry.id), mtime)


def _member(batch: Batch, member: TarEntry, pieces: Iterable[bytes], mtime: int) -> None:
    member.mtime = mtime
    batch.write(encode(member))
    if member.kind == REGULAR:
        for piece in pieces:
            batch.write(piece)
        batch.write(padding(member.size))


def _walk(pack: Pack, root: bytes) -> Iterator[tuple[bytes, TreeEntry]]:
    """Everything in a tree, sorted by path; a directory before what is in it."""
    waiting = [(b"", _sorted(pack, root))]
    while waiting:
        prefix, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        path = prefix + entry.name
        yield path, entry
        if entry.mode == DIRECTORY:
            if len(waiting) > _MAX_LEVELS or len(path) > _LINK_MAX:
                raise Corrupt(f"git: the repository is too deep: {path[:200]!r}")
            waiting.append((path + b"/", _sorted(pack, entry.id)))


def _sorted(pack: Pack, tree: bytes) -> Iterator[TreeEntry]:
    return iter(sorted(parse_tree(pack.read(tree, TREE)), key=lambda entry: entry.name))


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
