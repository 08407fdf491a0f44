"""Git repositories: a ref becomes a commit, a commit's tree a layer.

    resolve   asks the server what a ref means (a whole commit id needs no asking)
    fetch     one commit without its history, straight into a layer: nothing is checked out, so that no name,
              link, hook or filter of a hostile repository does anything

Nothing is kept between builds but the layer: a commit that is in the build cache is not fetched again.
"""

from __future__ import annotations

import base64
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from carboy.build.frontend.addresses import Repository
from carboy.build.session import Workshop
from carboy.build.sources import gitlayer
from carboy.build.sources.addresses import checked_ref, checked_subdir, is_commit, may_abbreviate, shown
from carboy.build.sources.gitlayer import Bounds, LayerLimits, Part
from carboy.build.sources.http import Fetcher
from carboy.build.sources.remotes import Remote
from carboy.digest import Digest
from carboy.errors import Corrupt, InvalidArgument, NotFound, Unavailable
from carboy.formats.gitobjects import parse_commit, parse_tag
from carboy.formats.gitpack import COMMIT, TAG, Pack
from carboy.store.content import storage_error

_TOKEN = "GIT_AUTH_TOKEN"  # noqa: S105 - the name of a secret, BuildKit's
_HEADER = "GIT_AUTH_HEADER"
_NOT_OURS = (
    "response status",
    "closed the connection",
    "not our ref",
    "unadvertised object",
    "not valid",
    "no such",
    "does not exist",
    "upload-pack",
)

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a repository."""

    url: str = field(repr=False)
    """May hold credentials."""
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True

    @classmethod
    def of(cls, repository: Repository) -> Wanted:
        """As an address says it."""
        return cls(
            url=repository.url,
            ref=repository.ref,
            subdir=repository.subdir,
            checksum=repository.checksum,
            keep_git_dir=bool(repository.keep_git_dir),
            submodules=repository.submodules,
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref means now."""

    commit: str
    ref: str
    """Its whole name on the server; empty when a commit was asked for."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came."""

    layer: Digest
    commit: str
    commit_time: int
    record: Mapping[str, str]


class Repositories:
    """Fetches for one build."""

    def __init__(
        self,
        workshop: Workshop,
        fetcher: Fetcher,
        *,
        agents: Mapping[str, str],
        secrets: Mapping[str, bytes] | None = None,
        limits: LayerLimits | None = None,
    ) -> None:
        self._limits = limits or LayerLimits()
        self._workshop = workshop
        self._fetcher = fetcher
        self._agents = agents
        self._secrets = secrets or {}

    def resolve(self, wanted: Wanted) -> Resolved:
        """The commit that is meant; asks the server unless the address says it."""
        ref = checked_ref(wanted.ref)
        if is_commit(ref):
            found = Resolved(ref, "")
        else:
            found = self._asked(self._remote(wanted.url, main=True), ref)
        if wanted.checksum and not found.commit.startswith(wanted.checksum):
            raise InvalidArgument(
                f"{shown(wanted.url)}: expected checksum to match {wanted.checksum}, got {found.commit}"
            )
        return found

    def fetch(
        self, wanted: Wanted, *, told: Told, resolved: Resolved | None = None, mtime: int | None = None
    ) -> Fetched:
        """The tree of a commit as a layer; all times in it are `mtime`, else the commit's."""
        subdir = checked_subdir(wanted.subdir)
        resolved = resolved or self.resolve(wanted)
        with self._workplace() as place:
            whole = self._part(place, wanted.url, resolved.commit, told, main=True)
            chosen = gitlayer.below(whole, subdir)
            parts = [chosen]
            if wanted.submodules:
                bounds = Bounds(self._check, self._limits)
                parts += self._submodules(place, wanted.url, whole, subdir, bounds, told)
            time = whole.commit.time if mtime is None else mtime
            directory = None
            if wanted.keep_git_dir and not subdir:
                directory = gitlayer.GitDirectory(resolved.commit, resolved.ref, shown(wanted.url))
            try:
                layer = gitlayer.write_layer(
                    parts,
                    self._workshop.layers,
                    mtime=time,
                    directory=directory,
                    check=self._check,
                    limits=self._limits,
                )
            except OSError as error:
                raise storage_error(error, "store a repository") from error
            record = {
                "repository": shown(wanted.url),
                "ref": resolved.ref or wanted.ref,
                "commit": resolved.commit,
                "commit time": str(whole.commit.time),
            }
            record.update(
                {f"submodule {part.path.decode('utf-8', 'replace')}": part.id for part in parts[1:]}
            )
            return Fetched(layer, resolved.commit, whole.commit.time, record)

    def _check(self) -> None:
        self._fetcher.cancellation.check()

    def _asked(self, remote: Remote, ref: str) -> Resolved:
        """As `git checkout` chooses: a branch before a tag, a tag by what it is for."""
        if not ref:
            head = remote.refs([b"HEAD"]).get(b"HEAD")
            if head is None:
                raise NotFound(
                    f"{remote.shown}: the repository has no HEAD: name a branch, a tag or a commit"
                )
            return Resolved(head, "HEAD")
        names = (
            [ref]
            if ref.startswith("refs/")
            else [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", ref]
        )
        found = remote.refs([name.encode() for name in names])
        for name in names:
            for spelling in (name + "^{}", name):
                if commit := found.get(spelling.encode()):
                    return Resolved(commit, name)
        if may_abbreviate(ref):
            return Resolved(self._abbreviated(remote, ref), "")
        raise NotFound(f"{remote.shown}: repository does not contain ref {ref}")

    def _abbreviated(self, remote: Remote, prefix: str) -> str:
        """A commit by its beginning: only all of the history tells."""
        with self._workplace() as place, place.pack(remote, [], None, _untold) as pack:
            found = sorted(
                name.hex()
                for name in pack
                if name.hex().startswith(prefix) and pack.find(name).kind == COMMIT
            )
        if len(found) > 1:
            raise InvalidArgument(f"{remote.shown}: {prefix} is ambiguous: {len(found)} commits begin so")
        if not found:
            raise NotFound(f"{remote.shown}: repository does not contain ref {prefix}")
        return found[0]

    def _part(self, place: _Workplace, url: str, commit: str, told: Told, *, main: bool) -> Part:
        """A commit and its objects, in the workplace until that ends."""
        remote = self._remote(url, main=main)
        try:
            opened = place.keep(place.pack(remote, [commit], 1, told))
        except (Corrupt, Unavailable) as error:
            # Servers may refuse commits that no ref names: all history holds it, if they have it.
            if not any(words in str(error) for words in _NOT_OURS):
                raise
            opened = place.keep(place.pack(remote, [], None, told))
            if bytes.fromhex(commit) not in opened.pack:
                raise NotFound(f"{remote.shown}: no commit {commit} there") from None
        pack, name = opened.pack, bytes.fromhex(commit)
        for _ in range(10):
            if pack.find(name).kind != TAG:
                break
            name = parse_tag(pack.read(name, TAG))
        return Part(pack, name.hex(), parse_commit(pack.read(name, COMMIT)), opened.size)

    def _submodules(
        self,
        place: _Workplace,
        url: str,
        part: Part,
        subdir: str,
        bounds: Bounds,
        told: Told,
        depth: int = 0,
    ) -> list[Part]:
        found = []
        inside = subdir.encode()
        for module in gitlayer.submodules(part, inside, bounds):
            path = module.path
            if depth >= gitlayer.MOST_DEPTH or len(place) >= gitlayer.MOST_SUBMODULES:
                raise InvalidArgument(f"{shown(url)}: too many submodules, or too deep inside each other")
            address = gitlayer.joined(url, module.url)
            child = self._part(place, address, module.commit, told, main=False)
            inner = [
                replace(one, path=path + b"/" + one.path)
                for one in self._submodules(place, address, child, "", bounds, told, depth + 1)
            ]
            found += [replace(child, path=path), *inner]
        if inside:
            return [replace(one, path=one.path[len(inside) + 1 :]) for one in found]
        return found

    def _remote(self, url: str, *, main: bool) -> Remote:
        return Remote(
            url, self._fetcher, agents=self._agents, authorization=self._authorization(url, main=main)
        )

    def _authorization(self, url: str, *, main: bool) -> str:
        """Secrets that BuildKit knows: for one host, or without one for the repository itself."""
        host = urlsplit(url).hostname or "" if "://" in url else ""
        for suffix in (f".{host}", "") if main else (f".{host}",):
            if header := self._secrets.get(_HEADER + suffix):
                return header.decode("latin-1").strip()
            if token := self._secrets.get(_TOKEN + suffix):
                return "Basic " + base64.b64encode(b"x-access-token:" + token.strip()).decode()
        return ""

    @contextmanager
    def _workplace(self) -> Iterator[_Workplace]:
        place = _Workplace(self._workshop.paths.ingest, self._check)
        try:
            yield place
        finally:
            place.close()


class _Workplace:
    """Packs while a repository is taken in: nameless files, gone when they are closed."""

    def __init__(self, scratch: str, check: Callable[[], None]) -> None:
        self._scratch = scratch
        self._check = check
        self._kept: list[_OpenPack] = []

    def __len__(self) -> int:
        return len(self._kept)

    def pack(self, remote: Remote, wants: list[str], depth: int | None, told: Told) -> _OpenPack:
        """Fetch one."""
        what = f"fetching {remote.shown}"
        descriptor = os.open(self._scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            size = remote.fetch(
                wants,
                depth=depth,
                pack=descriptor,
                progress=lambda now, all_of_it: told(what, now, all_of_it),
            )
            if not size:
                raise NotFound(
                    f"{remote.shown}: the server sent nothing for {', '.join(wants) or 'its refs'}"
                )
            return _OpenPack(descriptor, self._check)
        finally:
            os.close(descriptor)

    def keep(self, opened: _OpenPack) -> _OpenPack:
        """Close it with the workplace."""
        self._kept.append(opened)
        return opened

    def close(self) -> None:
        """Close all."""
        for opened in self._kept:
            opened.close()


class _OpenPack:
    """A pack in a file, mapped."""

    def __init__(self, descriptor: int, check: Callable[[], None]) -> None:
        self._mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        self._view = memoryview(self._mapping)
        self.size = len(self._view)
        try:
            self.pack = Pack(self._view, check=check)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pack:
        return self.pack

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        try:
            self._view.release()
            self._mapping.close()
        except BufferError:
            pass  # an error on its way up holds a piece of it: it is freed with that


def _untold(_what: str, _current: int, _total: int) -> None:
    pass
