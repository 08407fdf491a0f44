"""The plan of a COPY or ADD: what is copied to where, and everything that depends on.

sources ──select──▶ matches ─┐
                             ├──▶ placements ──▶ values of the key, one for each file
destination in the base ─────┘        │
                                      └──▶ items of the layer, made only when it has to be written
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from carboy.build.copying import archives, destination
from carboy.build.copying.destination import Destination
from carboy.build.copying.hashcache import STAMP_SIZE, HashCache
from carboy.build.copying.layerwriter import Item, directory
from carboy.build.copying.places import shown
from carboy.build.copying.scan import Row, Scanner, changed
from carboy.build.copying.select import Match, Selector, is_regular
from carboy.build.graph import Files, FileSource
from carboy.build.operation import Value
from carboy.build.request import ImageContext
from carboy.build.session import Session
from carboy.build.trees import LocalTree, OpenTree
from carboy.errors import InvalidArgument, Unavailable
from carboy.formats.dockerfile.modes import Mode, read_mode

Opened = Callable[[Value], AbstractContextManager[OpenTree]]
"""Opens an input to read from."""
Warn = Callable[[str], None]
"""Told of what is left out."""

_CONTEXT_MASK = ~0o022
_MATCHES = msgspec.msgpack.Decoder(list[Match])


@dataclass(slots=True)
class Attributes:
    """Modes and owners as they will be."""

    owner: tuple[int, int] | None
    mode: Mode | None
    is_context: bool
    _known: dict[tuple[int, int, int], tuple[int, int, int, str]] = field(default_factory=dict)

    def of(self, row: Row) -> tuple[int, int, int, str]:
        """(st_mode, uid, gid, the same as text)."""
        key = (row.mode, row.uid, row.gid)
        found = self._known.get(key)
        if found is None:
            mode, (uid, gid) = self._mode(row.mode), self._owner(row)
            found = self._known[key] = (mode, uid, gid, f"{mode & 0o7777:04o} {uid}:{gid}")
        return found

    def _owner(self, row: Row) -> tuple[int, int]:
        if self.owner is not None:
            return self.owner
        return (0, 0) if self.is_context else (row.uid, row.gid)

    def _mode(self, mode: int) -> int:
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            return kind | 0o777
        if self.is_context:
            mode &= _CONTEXT_MASK
        if self.mode is not None:
            return kind | self.mode.applied(mode & 0o7777, is_directory=kind == stat.S_IFDIR)
        return mode


@dataclass(slots=True)
class Placement:
    """One match and where it goes: `path` is its own, or that of the directory that gets its contents."""

    path: bytes
    match: Match
    input: int
    attributes: Attributes

    def values(self, prefix: str) -> dict[str, str]:
        """What the step's key says of its files."""
        match, of = self.match, self.attributes.of
        top = match.shown + b"/" if match.shown else b""
        values = {}
        for row in match.rows:
            name = prefix + shown(top + row.path if row.path else match.shown)
            text = of(row)[3]
            record = row.record
            if record:
                values[name] = f"{text} sha256:{record[STAMP_SIZE:].hex()}"
                if row.xattrs or row.twin:
                    values[name] += _more(row)
            else:
                values[name] = text + _kind(row)
        return values

    def put(self, items: dict[bytes, Item], group: int, check: bool) -> None:
        """Make the items."""
        for item in self.items(self.match.rows, group):
            if check:
                _check_replacing(items, item.path, is_dir=stat.S_ISDIR(item.mode))
            items[item.path] = item

    def taken(self, group: int) -> Iterator[Item]:
        """The items by path; the rows are let go meanwhile."""
        rows = self.match.rows
        rows.sort(key=lambda row: row.path, reverse=True)
        return self.items(_popped(rows), group)

    def items(self, rows: Iterable[Row], group: int) -> Iterator[Item]:
        """One for each row."""
        match, of, is_context = self.match, self.attributes.of, self.attributes.is_context
        inside = self.path + b"/" if self.path else b""
        place = match.place + b"/" if match.place else b""
        twins = {row.twin for row in match.rows if row.twin}
        for row in rows:
            path = inside + row.path if row.path else self.path
            mode, uid, gid, _ = of(row)
            item = Item(path, mode, uid, gid, row.size, row.link, row.rdev)
            if row.record:
                item.origin, item.record = self.input, row.record
                item.place = place + row.path if row.path else match.place
            if not is_context:
                item.xattrs = row.xattrs
                first = row.twin or (row.path if row.path in twins else b"")
                if first:
                    item.group = b"%d/%s" % (group, first)
            yield item


@dataclass(slots=True)
class Plan:
    """What is to be done, and what that depends on."""

    values: dict[str, str] = field(default_factory=dict)
    steps: list[Placement | Item] = field(default_factory=list)
    """In order: later ones replace earlier ones."""
    archives: list[tuple[Item, bytes]] = field(default_factory=list)
    """Archives to unpack, and below what."""
    seen: int = field(default_factory=time.time_ns)
    """When the sources were looked at (ns)."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be added."""
        return not self.steps and not self.archives

    def items(self) -> dict[bytes, Item]:
        """Members of the layer, by path.  Raises InvalidArgument for sources that collide."""
        items: dict[bytes, Item] = {}
        for number, step in enumerate(self.steps):
            if isinstance(step, Item):
                _check_replacing(items, step.path, is_dir=stat.S_ISDIR(step.mode))
                items[step.path] = step
            else:
                step.put(items, number, len(self.steps) > 1)
        return items

    def take(self) -> Iterable[Item]:
        """The members by path, to be written: once, and nothing can be asked of the plan afterwards.

        Those of a single source, of which there may be very many, are made one at a time.
        """
        self.values = {}
        *above, last = self.steps
        if isinstance(last, Placement) and all(_is_above(step, last.path) for step in above):
            return chain((step for step in above if isinstance(step, Item)), last.taken(len(above)))
        return by_path(self.items())


class Planner:
    """Makes one plan."""

    def __init__(
        self, operation: Files, session: Session, inputs: Sequence[Value], opened: Opened, warn: Warn
    ) -> None:
        self._operation = operation
        self._warn = warn
        self._session = session
        self._inputs = inputs
        self._opened = opened
        self._mode = read_mode(operation.chmod) if operation.chmod else None
        self._owner: tuple[int, int] | None = None
        self._made: list[bytes] = []
        self._plan = Plan()

    def plan(self) -> Plan:
        """Look at everything."""
        operation, plan = self._operation, self._plan
        with ExitStack() as stack:
            root = None
            if not operation.link or operation.chown:
                root = stack.enter_context(self._opened(self._inputs[0])).root
            if operation.chown and root is not None:
                self._owner = destination.owner_of(root, operation.chown)
            looked_up = None if operation.link else root
            target = destination.find(looked_up, operation.destination, operation.cwd)
            with HashCache(self._session.workshop.paths.cache) as hashes:
                for source in operation.sources:
                    self._source(source, target, hashes)
            if target.below and looked_up is not None:
                destination.check_conflicts(looked_up, target.path, plan.items().values())
            elif len(operation.sources) > 1 or len(plan.steps) > 1 + len(self._made):
                plan.items()  # for its errors
        self._common_values(target)
        return plan

    def _common_values(self, target: Destination) -> None:
        operation, values = self._operation, self._plan.values
        values["sources"] = msgspec.json.encode(list(map(_source, operation.sources))).decode()
        values["destination"] = _text(target.path) + ("/" if target.is_dir else "")
        values["directories to make"] = " ".join(map(_text, self._made)) or "none"
        values["source date epoch"] = str(self._session.epoch)
        if self._owner is not None:
            values["owner"] = f"{self._owner[0]}:{self._owner[1]}"
        for name in ("link", "parents"):
            if getattr(operation, name):
                values[name] = "yes"
        if self._plan.archives and target.below:
            # Links below the destination lead members of archives elsewhere: whatever is there counts.
            base = self._inputs[0]
            values["base"] = base.identity if not isinstance(base, LocalTree) else ""

    def _source(self, source: FileSource, target: Destination, hashes: HashCache) -> None:
        if source.input < 0:
            self._inline(source, target)
            return
        value = self._inputs[source.input]
        attributes = Attributes(self._owner, self._mode, self._is_context(value))
        prefix = f"file {self._of(source)}"
        for pattern in source.patterns:
            for match in self._select(value, pattern, hashes):
                self._prepare(target)
                if source.unpack and is_regular(match) and self._is_archive(value, match):
                    self._archive(source, match, target)
                    continue
                if match.is_dir:
                    self._enter(target)
                path = target.path if match.is_dir else self._file_path(match.shown, target)
                placement = Placement(path, match, source.input, attributes)
                self._plan.values.update(placement.values(prefix))
                self._plan.steps.append(placement)

    def _select(self, value: Value, pattern: str, hashes: HashCache) -> list[Match]:
        if isinstance(value, LocalTree):
            return self._look(value, pattern, hashes)
        operation = self._operation
        key = hashlib.sha256(
            msgspec.json.encode(
                [_SELECTIONS, value.identity, pattern, operation.parents, list(operation.exclude)]
            )
        ).digest()
        known = hashes.selection(key)
        if known is not None:
            return _MATCHES.decode(known)
        found = self._look(value, pattern, hashes)
        hashes.keep_selection(key, msgspec.msgpack.encode(found))
        return found

    def _look(self, value: Value, pattern: str, hashes: HashCache) -> list[Match]:
        with self._opened(value) as tree:
            scanner = Scanner(tree, hashes, self._session.cancellation.check, self._warn)
            verb = "ADD" if self._operation.is_add else "COPY"
            selector = Selector(
                tree, scanner, self._operation.exclude, verb=verb, is_context=self._is_context(value)
            )
            try:
                if self._operation.parents:
                    return selector.select_with_parents(pattern)
                return selector.select(pattern)
            except OSError as error:  # somebody exchanges what is on the way, or a disk fails
                raise Unavailable(f'cannot read "{pattern[:300]}": {error.strerror}') from error

    def _inline(self, source: FileSource, target: Destination) -> None:
        self._prepare(target)
        path = self._file_path(os.fsencode(source.name), target)
        data = source.data.encode("utf-8", "surrogateescape")
        attributes = Attributes(self._owner, self._mode, is_context=True)
        mode, uid, gid, text = attributes.of(Row(b"", stat.S_IFREG | 0o644))
        self._plan.steps.append(Item(path, mode, uid, gid, len(data), data=data))
        # No file's name begins so; a later one of the same name stands beside it.
        name = f"heredoc {_heredoc_name(source)}"
        said = f"{text} sha256:{hashlib.sha256(data).hexdigest()}"
        before = self._plan.values.get(name)
        self._plan.values[name] = f"{before}, {said}" if before else said

    def _prepare(self, target: Destination) -> None:
        """Something is going to be written: a destination with a slash at its end is a directory."""
        if destination.is_directory_path(self._operation.destination):
            self._make_directory(target)

    def _enter(self, target: Destination) -> None:
        """A directory's contents go into the destination."""
        if target.is_dir is False:
            raise InvalidArgument(f"cannot copy to non-directory: {_text(target.path)}")
        self._make_directory(target)

    def _file_path(self, name: bytes, target: Destination) -> bytes:
        """Where a file goes: into a directory that is there, else it gets the destination's name."""
        if target.is_dir:
            name = name.rpartition(b"/")[2]
            destination.check_names(name)
            return target.path + b"/" + name if target.path else name
        if target.is_filled:
            raise InvalidArgument(
                "When using COPY with more than one source file, the destination must be a directory"
                " and end with a /"
            )
        if target.is_dir is None:
            self._make(target.missing(last=False))
            target.is_dir = False
        target.is_filled = True
        return target.path

    def _make_directory(self, target: Destination) -> None:
        if target.is_dir is False:
            raise InvalidArgument(f'cannot make the directory "{_text(target.path)}": a file is there')
        if target.is_dir is None:
            self._make(target.missing(last=True))
            target.is_dir = True

    def _make(self, paths: list[bytes]) -> None:
        """Directories on the way; above another filesystem (`--link`) only what `--chown` is for."""
        owner = self._owner or (0, 0)
        if self._operation.link:
            paths = paths[-1:] if owner != (0, 0) else []
        self._made += paths
        self._plan.steps += [directory(path, *owner) for path in paths]

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
        with self._opened(value) as tree:
            try:
                return archives.is_archive(tree.root, match.place)
            except OSError as error:
                raise changed(match.place) from error

    def _archive(self, source: FileSource, match: Match, target: Destination) -> None:
        self._make_directory(target)
        row = match.rows[0]
        item = Item(b"", row.mode, size=row.size, origin=source.input, place=match.place, record=row.record)
        self._plan.archives.append((item, target.path))
        self._plan.values[f"archive {self._of(source)}{shown(match.shown)}"] = f"sha256:{row.digest}"

    def _of(self, source: FileSource) -> str:
        """Which input a path is of, where there are several that it may be of."""
        return f"(input {source.input}) " if len(self._inputs) > 2 else ""


_SELECTIONS = "1"
"""Version of what is remembered of a selection."""


def _source(source: FileSource) -> tuple[int, list[str], bool]:
    """As the key has it: names of heredocs are there for their order, one may replace another."""
    patterns = list(source.patterns) if source.input >= 0 else [_heredoc_name(source)]
    return source.input, patterns, source.unpack


def _heredoc_name(source: FileSource) -> str:
    return shown(os.fsencode(source.name))


def by_path(items: Mapping[bytes, Item]) -> list[Item]:
    """In the order of the layer."""
    return [items[path] for path in sorted(items)]


def _popped(rows: list[Row]) -> Iterator[Row]:
    """The last first; those that were given are not kept."""
    while rows:
        yield rows.pop()


def _is_above(step: Placement | Item, path: bytes) -> bool:
    """Whether it is nothing but a directory on the way there, or the one that is filled."""
    return isinstance(step, Item) and stat.S_ISDIR(step.mode) and (path + b"/").startswith(step.path + b"/")


def _check_replacing(items: dict[bytes, Item], path: bytes, *, is_dir: bool) -> None:
    """What an earlier source has put there: files may be replaced by files, directories be the same."""
    old = items.get(path)
    if old is None:
        return
    if stat.S_ISDIR(old.mode) and not is_dir:
        raise InvalidArgument(f'cannot replace the directory "{_text(path)}" with a file')
    if is_dir and not stat.S_ISDIR(old.mode):
        raise InvalidArgument(f"cannot copy to non-directory: {_text(path)}")


def _kind(row: Row) -> str:
    kind = stat.S_IFMT(row.mode)
    if kind == stat.S_IFLNK:
        return f" link to {shown(row.link)}"
    if kind == stat.S_IFDIR:
        return " directory" + _more(row)
    return f" device {kind:o} {row.rdev}"


def _more(row: Row) -> str:
    text = f" same file as {shown(row.twin)}" if row.twin else ""
    if row.xattrs:
        digest = hashlib.sha256(msgspec.msgpack.encode(row.xattrs)).hexdigest()[:16]
        text += f" attributes {' '.join(shown(name) for name, _ in row.xattrs)} {digest}"
    return text


def _text(path: bytes) -> str:
    return "/" + shown(path)
