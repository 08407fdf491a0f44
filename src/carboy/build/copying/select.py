"""What the sources of COPY and ADD mean in a tree.

    pattern ──▶ places that match ──▶ Match: a file, or a directory's contents, as rows
        wildcards a name at a time      links followed inside the tree's root only

`.dockerignore` counts for directories of this machine: what it keeps out does not exist here, whatever
way leads to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

import msgspec

from carboy.build.copying.globs import Glob, has_wildcards
from carboy.build.copying.places import DIRECTORY, Opener, Place, clean, is_whiteout, locate, opened
from carboy.build.copying.scan import Filter, Row, Scanner
from carboy.build.trees import OpenTree
from carboy.errors import InvalidArgument, NotFound
from carboy.formats.dockerignore import Ignore

_MAX_MATCHES = 100_000


class Match(msgspec.Struct, array_like=True):
    """One thing that a source means."""

    shown: bytes
    """Its path as the source has it, relative to the tree's root."""
    place: bytes
    """Where it is, links followed."""
    is_dir: bool
    rows: list[Row]
    """Of a directory: what is below it.  Else itself, with an empty path."""


class Selector:
    """Answers for one tree."""

    def __init__(
        self,
        tree: OpenTree,
        scanner: Scanner,
        exclude: Sequence[str] = (),
        *,
        verb: str = "COPY",
        is_context: bool = True,
    ) -> None:
        self._verb = verb
        self._is_context = is_context
        self._wanted = ""
        self._tree = tree
        self._scanner = scanner
        self._exclude = Ignore(exclude) if exclude else None

    def select(self, unsafe_pattern: str) -> list[Match]:
        """What a source means: without wildcards one thing, else any number, sorted.  Raises NotFound."""
        self._wanted = unsafe_pattern
        fixed, rest = _split(os.fsdecode(clean(unsafe_pattern)))
        place = self._locate(fixed)
        if not rest:
            self._require(place, fixed)
            match = self._match(os.fsencode(fixed), place)
            return [match] if match is not None else []
        if not place.exists:
            raise self._missing(fixed)
        found = []
        for path in sorted(self._expand(place, [Glob(part) for part in rest])):
            shown = b"/".join(part for part in (os.fsencode(fixed), path) if part)
            if self._is_excluded(path):
                continue
            there = self._locate(os.fsdecode(shown))
            self._require(there, os.fsdecode(shown))
            match = self._match(shown, there)
            if match is not None:
                found.append(match)
        return found

    def select_with_parents(self, unsafe_pattern: str) -> list[Match]:
        """The same for `--parents`: directories, with what matches of what is below them.

        The part before `/./` says what the paths are relative to.
        """
        self._wanted = unsafe_pattern
        before, pivot, after = unsafe_pattern.partition("/./")
        pattern = os.fsdecode(clean(after if pivot else unsafe_pattern))
        bases = [b""] if not pivot else [match for match, _ in self._directories(before)]
        found = []
        for base in bases:
            place = self._locate(os.fsdecode(base))
            found.append(Match(base, place.path, True, self._rows(place, self._filter(pattern))))
        whole = f"{before}/{pattern}" if pivot else pattern
        if not has_wildcards(whole) and pattern and not any(match.rows for match in found):
            raise self._missing(os.fsdecode(clean(whole)))
        return found

    def _directories(self, pattern: str) -> Iterator[tuple[bytes, Place]]:
        fixed, rest = _split(os.fsdecode(clean(pattern)))
        place = self._locate(fixed)
        self._require(place, fixed)
        if not rest:
            paths = [os.fsencode(fixed)]
        else:
            globs = [Glob(part) for part in rest]
            paths = [
                b"/".join(part for part in (os.fsencode(fixed), path) if part)
                for path in sorted(self._expand(place, globs))
            ]
        for path in paths:
            there = self._locate(os.fsdecode(path))
            if there.exists and there.is_directory:
                yield path, there

    def _filter(self, pattern: str) -> Filter:
        if not pattern:
            return Filter(self._exclude)
        prefix = []
        for part in pattern.split("/"):
            if has_wildcards(part) or "\\" in part:
                break
            prefix.append(part)
        # What has to be escaped in .dockerignore's language has no meaning at the front of Docker's.
        return Filter(
            self._exclude, Ignore([f"\\{pattern}" if pattern[0] in "!#" else pattern]), tuple(prefix)
        )

    def _locate(self, path: str) -> Place:
        try:
            return locate(self._tree.root, os.fsencode(path))
        except OSError as error:
            raise NotFound(f"{self._not_found(path)} ({error.strerror})") from error

    def _match(self, shown: bytes, place: Place) -> Match | None:
        """What is there, looked at; None when `--exclude` keeps it out."""
        if place.is_directory:
            rows = self._rows(place, Filter(self._exclude) if self._exclude is not None else None)
            if not rows and self._is_ignored(place):
                raise self._missing(os.fsdecode(shown))
            return Match(shown, place.path, True, rows)
        if self._is_excluded(shown.rpartition(b"/")[2]):
            return None
        opener = Opener(self._tree.root)
        try:
            parent = opener.directory(b"/".join(place.parts[:-1]))
            row = self._scanner.file(parent, place.parts[-1], place.path)
        except FileNotFoundError:
            raise self._missing(os.fsdecode(shown)) from None
        finally:
            opener.close()
        return Match(shown, place.path, False, [row])

    def _rows(self, place: Place, wanted: Filter | None) -> list[Row]:
        with opened(self._tree.root, place.path, DIRECTORY) as fd:
            return self._scanner.directory(fd, place.path, wanted)

    def _expand(self, place: Place, globs: Sequence[Glob]) -> list[bytes]:
        """Paths below `place` that match, a name at a time; links on the way are not followed."""
        level = [b""]
        for depth, glob in enumerate(globs):
            following: list[bytes] = []
            for path in level:
                following += self._names(place, path, glob, only_directories=depth + 1 < len(globs))
                if len(following) > _MAX_MATCHES:
                    raise InvalidArgument(f'"{glob.pattern}" matches more than {_MAX_MATCHES} names')
            level = following
        return level

    def _names(self, place: Place, path: bytes, glob: Glob, *, only_directories: bool) -> list[bytes]:
        inside = b"/".join(part for part in (place.path, path) if part)
        ignore, found = self._tree.ignore, []
        self._scanner.check()
        with opened(self._tree.root, inside, DIRECTORY) as fd, os.scandir(fd) as names:
            for item in names:
                if not glob.matches(item.name):
                    continue
                is_dir = item.is_dir(follow_symlinks=False)
                if only_directories and not is_dir:
                    continue
                name = os.fsencode(item.name)
                if not is_dir and is_whiteout(os.stat(name, dir_fd=fd, follow_symlinks=False)):
                    continue
                if ignore is not None:
                    whole = os.fsdecode(inside + b"/" + name if inside else name)
                    if ignore.excludes(whole, is_dir) and not (is_dir and ignore.may_descend(whole)):
                        continue
                found.append(path + b"/" + name if path else name)
        return found

    def _is_excluded(self, path: bytes) -> bool:
        return self._exclude is not None and self._exclude.excludes(os.fsdecode(path))

    def _is_ignored(self, place: Place) -> bool:
        ignore = self._tree.ignore
        return ignore is not None and ignore.excludes(os.fsdecode(place.path))

    def _require(self, place: Place, shown: str) -> None:
        """Raise NotFound for what is not there, or is kept out."""
        if not place.exists:
            raise self._missing(shown)
        if self._is_ignored(place) and not (
            place.is_directory
            and self._tree.ignore
            and self._tree.ignore.may_descend(os.fsdecode(place.path))
        ):
            raise self._missing(shown)

    def _missing(self, shown: str) -> NotFound:
        """The error, with what may have been meant."""
        text = self._not_found(shown)
        place = locate(self._tree.root, os.fsencode(shown))
        if place.exists:
            if self._is_ignored(place):
                return NotFound(f"{text}: .dockerignore keeps it out")
            return NotFound(text)
        near = self._near(place)
        return NotFound(f'{text}; did you mean "{near}"?' if near else text + self._remedy())

    def _remedy(self) -> str:
        """For who thinks that paths are those of the machine."""
        wanted = self._wanted
        if not self._is_context:
            return ""
        if os.path.normpath(wanted.lstrip("/")).split("/")[0] == "..":
            return "; .. leads nowhere outside the context: build with a larger one, or with --build-context"
        return "; a path begins in the context, not in this machine's root" if wanted[:1] == "/" else ""

    def _not_found(self, path: str) -> str:
        shown = path[:300].encode("utf-8", "backslashreplace").decode(errors="replace")
        where = "file not found in build context or excluded by .dockerignore: " if self._is_context else ""
        return f"{self._verb} failed: {where}stat {shown}: file does not exist"

    def _near(self, place: Place) -> str:
        import difflib  # needed for errors only

        if not place.is_directory:
            return ""
        inside = b"/".join(place.parts)
        with opened(self._tree.root, inside, DIRECTORY) as fd, os.scandir(fd) as items:
            names = [item.name for _, item in zip(range(10_000), items, strict=False)]
        wanted = os.fsdecode(place.missing[0])
        for near in difflib.get_close_matches(wanted, names, n=3, cutoff=0.6):
            path = os.fsdecode(inside) + "/" + near if inside else near
            if self._tree.ignore is None or not self._tree.ignore.excludes(path):
                return path.encode("utf-8", "backslashreplace").decode(errors="replace")
        return ""


def is_regular(match: Match) -> bool:
    """Whether it is one plain file."""
    return not match.is_dir and stat.S_ISREG(match.rows[0].mode)


def _split(path: str) -> tuple[str, list[str]]:
    """(the part before the first name with wildcards, the names from there on)."""
    parts = path.split("/") if path else []
    for position, part in enumerate(parts):
        if has_wildcards(part):
            return "/".join(parts[:position]), parts[position:]
    return path, []
