"""COPY and ADD: files of contexts, stages, images, downloads and repositories become one layer.

    sources ──select──▶ rows ──┐
                               ├──▶ items of a layer ──▶ layerwriter
    destination in the base ───┘         │
                                         └──▶ ingredients: one for each file, by its path in the source

Docker's rules (BuildKit's COPY): a directory's contents are copied, its own name is not; a directory that
is there keeps its owner and mode, those below it take the source's; missing parents are 0755.
Ours, for equal bytes everywhere: all times are the epoch; files of a context belong to 0:0 unless `--chown`
says otherwise, lose their group and other write bits, attributes and hard links; those of stages and
images keep all of that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import msgspec

from carboy.build import archives, destination
from carboy.build.destination import Destination
from carboy.build.graph import Files, FileSource, Vertex
from carboy.build.hashcache import HashCache
from carboy.build.layerwriter import Item, Origin, directory, write_layer
from carboy.build.operation import Ingredients, Result, Value
from carboy.build.operations.directory import filesystem
from carboy.build.places import shown
from carboy.build.progress import Console
from carboy.build.request import ImageContext
from carboy.build.scan import Row, Scanner
from carboy.build.select import Match, Selector, is_regular
from carboy.build.session import Session
from carboy.build.trees import LocalTree, OpenTree
from carboy.errors import Internal, InvalidArgument
from carboy.formats.dockerfile.modes import Mode, read_mode
from carboy.store.views import mounted

_CONTEXT_MASK = ~0o022
_MATCHES = msgspec.msgpack.Decoder(list[Match])


@dataclass(slots=True)
class _Plan:
    """What is to be done, and what that depends on."""

    values: dict[str, str]
    items: dict[bytes, Item] = field(default_factory=dict)
    archives: list[tuple[Item, Destination]] = field(default_factory=list)
    """Archives to unpack, and where."""
    owner: tuple[int, int] | None = None
    seen: int = 0


class FilesStep:
    """Fulfils operation.Step for graph.Files."""

    def __init__(self, vertex: Vertex, session: Session) -> None:
        if not isinstance(vertex.operation, Files):
            raise Internal(f"{vertex.name} copies no files")
        self._vertex = vertex
        self._operation = vertex.operation
        self._session = session
        self._mode = read_mode(vertex.operation.chmod) if vertex.operation.chmod else None
        self._planned: _Plan | None = None

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        """Every file that is copied, and what was looked up at the destination."""
        return Ingredients("files", self._plan(inputs).values)

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        """Write the layer."""
        base, plan = filesystem(inputs), self._plan(inputs)
        if not plan.items and not plan.archives:
            return Result(base)
        shop = self._session.workshop
        with ExitStack() as stack:
            origins = []
            for value in inputs:
                tree = stack.enter_context(self._opened(value))
                origins.append(Origin(tree.root, is_local=tree.is_local, seen=plan.seen))
            items = plan.items
            if plan.archives:
                items = self._unpacked(plan, origins, stack)
            layer = write_layer(
                shop.layers,
                items.values(),
                origins,
                epoch=self._session.epoch,
                check=console.cancellation.check,
            )
        return Result(base.above(layer.diff_id), layer.diff_id)

    def _plan(self, inputs: Sequence[Value]) -> _Plan:
        if self._planned is None:
            self._planned = _Planner(self, self._operation, self._session, self._mode, inputs).plan()
        return self._planned

    def _unpacked(self, plan: _Plan, origins: list[Origin], stack: ExitStack) -> dict[bytes, Item]:
        """The items with those of the archives."""
        items = dict(plan.items)
        base = origins[0].fd
        for archive, target in plan.archives:
            fd = archives.open_plain(
                origins[archive.origin], archive, self._session.workshop.paths.ingest, stack
            )
            origins.append(Origin(fd))
            archives.unpack(fd, len(origins) - 1, target.path, base, items, epoch=self._session.epoch)
        return items

    @contextmanager
    def _opened(self, value: Value) -> Iterator[OpenTree]:
        """A tree to read from."""
        if isinstance(value, LocalTree):
            yield OpenTree(value.root, value.ignore, value.path or "/")
            return
        shop = self._session.workshop
        with mounted(shop.layers, value.layers, shop.paths) as root:
            yield OpenTree(root)


class _Planner:
    """Makes one plan."""

    def __init__(
        self,
        step: FilesStep,
        operation: Files,
        session: Session,
        mode: Mode | None,
        inputs: Sequence[Value],
    ) -> None:
        self._step = step
        self._operation = operation
        self._session = session
        self._mode = mode
        self._inputs = inputs
        self._made: set[bytes] = set()
        self._groups = 0
        self._result = _Plan({}, seen=time.time_ns())

    def plan(self) -> _Plan:
        operation, result = self._operation, self._result
        shop = self._session.workshop
        with ExitStack() as stack:
            root = None
            if not operation.link or operation.chown:
                root = stack.enter_context(mounted(shop.layers, filesystem(self._inputs).layers, shop.paths))
            if operation.chown and root is not None:
                result.owner = destination.owner_of(root, operation.chown)
            looked_up = None if operation.link else root
            target = destination.find(looked_up, operation.destination, operation.cwd)
            with HashCache(shop.paths.cache) as hashes:
                for source in operation.sources:
                    self._source(source, target, hashes)
            if target.below and looked_up is not None:
                destination.check_conflicts(looked_up, target.path, result.items.values())
        self._common_values(target)
        return result

    def _common_values(self, target: Destination) -> None:
        operation, values = self._operation, self._result.values
        owner = self._result.owner
        values["sources"] = msgspec.json.encode(
            [[source.input, list(source.patterns), source.unpack] for source in operation.sources]
        ).decode()
        values["destination"] = _text(target.path) + ("/" if target.is_dir else "")
        values["directories to make"] = " ".join(sorted(map(_text, self._made))) or "none"
        values["source date epoch"] = str(self._session.epoch)
        if owner is not None:
            values["owner"] = f"{owner[0]}:{owner[1]}"
        for name in ("link", "parents"):
            if getattr(operation, name):
                values[name] = "yes"
        if self._result.archives and target.below:
            # Links below the destination lead members of archives elsewhere: whatever is there counts.
            values["base"] = filesystem(self._inputs).identity

    def _prepare(self, target: Destination) -> None:
        """Something is going to be written: a destination with a slash at its end is a directory."""
        if destination.is_directory_path(self._operation.destination):
            self._make_directory(target)

    def _source(self, source: FileSource, target: Destination, hashes: HashCache) -> None:
        if source.input < 0:
            self._inline(source, target)
            return
        value = self._inputs[source.input]
        is_context = self._is_context(value)
        prefix = "file " if len(self._inputs) < 3 else f"file (input {source.input}) "
        for pattern in source.patterns:
            for match in self._select(value, pattern, hashes):
                self._prepare(target)
                if source.unpack and is_regular(match) and self._is_archive(value, match):
                    self._archive(source, match, target)
                elif match.is_dir:
                    self._directory(source, match, target, prefix, is_context=is_context)
                else:
                    path = self._file_path(match.shown, target)
                    self._put(path, match, match.rows[0], source, prefix, is_context=is_context)

    def _select(self, value: Value, pattern: str, hashes: HashCache) -> list[Match]:
        if isinstance(value, LocalTree):
            return self._look(value, pattern, hashes)
        operation = self._operation
        key = hashlib.sha256(
            msgspec.json.encode(["1", value.identity, pattern, operation.parents, list(operation.exclude)])
        ).digest()
        known = hashes.selection(key)
        if known is not None:
            return _MATCHES.decode(known)
        found = self._look(value, pattern, hashes)
        hashes.keep_selection(key, msgspec.msgpack.encode(found))
        return found

    def _look(self, value: Value, pattern: str, hashes: HashCache) -> list[Match]:
        session = self._session
        with self._step._opened(value) as tree:
            scanner = Scanner(
                tree,
                hashes,
                session.cancellation.check,
                lambda text: session.reporter.warning(self._step._vertex, text),
            )
            selector = Selector(tree, scanner, self._operation.exclude)
            if self._operation.parents:
                return selector.select_with_parents(pattern)
            return selector.select(pattern)

    def _directory(
        self, source: FileSource, match: Match, target: Destination, prefix: str, *, is_context: bool
    ) -> None:
        if target.is_dir is None:
            self._make_directory(target)
        elif not target.is_dir:
            raise InvalidArgument(f"cannot copy to non-directory: {_text(target.path)}")
        inside = target.path + b"/" if target.path else b""
        for row in match.rows:
            self._put(inside + row.path, match, row, source, prefix, is_context=is_context)
        self._group(match, inside)

    def _group(self, match: Match, inside: bytes) -> None:
        """Names of one file get the same group."""
        twins = {row.twin for row in match.rows if row.twin}
        if not twins:
            return
        self._groups += 1
        for row in match.rows:
            first = row.twin or (row.path if row.path in twins else b"")
            if first:
                self._result.items[inside + row.path].group = b"%d/%s" % (self._groups, first)

    def _put(
        self, path: bytes, match: Match, row: Row, source: FileSource, prefix: str, *, is_context: bool
    ) -> None:
        items = self._result.items
        is_dir = stat.S_ISDIR(row.mode)
        if self._groups or len(self._operation.sources) > 1 or len(source.patterns) > 1:
            self._check_replacing(path, is_dir=is_dir)
        mode, uid, gid = self._attributes(row, is_context=is_context)
        item = items[path] = Item(path, mode, uid, gid, row.size, row.link, row.rdev)
        text = f"{mode & 0o7777:04o} {uid}:{gid}"
        if row.record:
            item.origin, item.record = source.input, row.record
            item.place = b"/".join(part for part in (match.place, row.path) if part)
            text = f"{text} sha256:{row.digest}"
        elif row.link:
            text = f"{text} link to {shown(row.link)}"
        elif is_dir:
            text += " directory"
        else:
            text += f" device {mode:o} {row.rdev}"
        if not is_context and (row.xattrs or row.twin):
            item.xattrs = row.xattrs
            text += _more(row)
        name = match.shown + b"/" + row.path if row.path and match.shown else match.shown or row.path
        self._result.values[prefix + shown(name)] = text

    def _check_replacing(self, path: bytes, *, is_dir: bool) -> None:
        """What an earlier source has put there: files may be replaced by files, directories be the same."""
        old = self._result.items.get(path)
        if old is None:
            return
        if stat.S_ISDIR(old.mode) and not is_dir:
            raise InvalidArgument(f"cannot replace the directory {_text(path)!r} with a file")
        if is_dir and not stat.S_ISDIR(old.mode):
            raise InvalidArgument(f"cannot copy to non-directory: {_text(path)}")

    def _attributes(self, row: Row, *, is_context: bool) -> tuple[int, int, int]:
        """(st_mode, uid, gid) as it will be."""
        mode, owner = row.mode, self._result.owner
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            mode = kind | 0o777
        else:
            if is_context:
                mode &= _CONTEXT_MASK
            if self._mode is not None:
                mode = kind | self._mode.applied(mode & 0o7777, is_directory=kind == stat.S_IFDIR)
        if owner is None:
            owner = (0, 0) if is_context else (row.uid, row.gid)
        return mode, *owner

    def _inline(self, source: FileSource, target: Destination) -> None:
        name = os.fsencode(source.name)
        self._prepare(target)
        path = self._file_path(name, target)
        data = source.data.encode("utf-8", "surrogateescape")
        self._check_replacing(path, is_dir=False)
        row = Row(b"", stat.S_IFREG | 0o644, len(data))
        mode, uid, gid = self._attributes(row, is_context=True)
        self._result.items[path] = Item(path, mode, uid, gid, len(data), data=data)
        digest = hashlib.sha256(data).hexdigest()
        self._result.values[f"file <<{source.name}"] = f"{mode & 0o7777:04o} {uid}:{gid} sha256:{digest}"

    def _file_path(self, shown: bytes, target: Destination) -> bytes:
        """Where a file goes: into a directory that is there, else it gets the destination's name."""
        if target.is_dir:
            name = shown.rpartition(b"/")[2]
            return target.path + b"/" + name if target.path else name
        if target.path in self._result.items:
            raise InvalidArgument(
                "When using COPY with more than one source file, the destination must be a directory"
                " and end with a /"
            )
        if target.is_dir is None:
            self._make(target.missing(last=False))
            target.is_dir = False
        return target.path

    def _make_directory(self, target: Destination) -> None:
        if target.is_dir is False:
            raise InvalidArgument(f'cannot make the directory "{_text(target.path)}": a file is there')
        if target.is_dir is None:
            self._make(target.missing(last=True))
            target.is_dir = True

    def _make(self, paths: list[bytes]) -> None:
        """Directories on the way; above another filesystem (`--link`) only what `--chown` is for."""
        owner = self._result.owner
        if self._operation.link:
            paths = paths[-1:] if owner not in (None, (0, 0)) else []
        for path in paths:
            self._made.add(path)
            self._result.items[path] = directory(path, *(owner or (0, 0)))

    def _is_context(self, value: Value) -> bool:
        """Whether a value's owners and modes are those of somebody's working directory."""
        if isinstance(value, LocalTree):
            return True
        request = self._session.request
        for name, context in self._session.contexts.items():
            given = request.contexts.get(name) if name else request.context
            if context == value and not isinstance(given, ImageContext):
                return True
        return False

    def _is_archive(self, value: Value, match: Match) -> bool:
        with self._step._opened(value) as tree:
            return archives.is_archive(tree.root, match.place)

    def _archive(self, source: FileSource, match: Match, target: Destination) -> None:
        self._make_directory(target)
        row = match.rows[0]
        item = Item(b"", row.mode, size=row.size, origin=source.input, place=match.place, record=row.record)
        self._result.archives.append((item, target))
        self._result.values[f"archive {shown(match.shown)}"] = f"sha256:{row.digest}"


def _more(row: Row) -> str:
    text = f" same file as {shown(row.twin)}" if row.twin else ""
    if row.xattrs:
        digest = hashlib.sha256(msgspec.msgpack.encode(row.xattrs)).hexdigest()[:16]
        text += f" attributes {' '.join(shown(name) for name, _ in row.xattrs)} {digest}"
    return text


def _text(path: bytes) -> str:
    return "/" + shown(path)
