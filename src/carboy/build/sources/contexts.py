"""A build context, whatever it is, as a Value.

    a directory          LocalTree, with the patterns of its .dockerignore
    an archive           Filesystem of one layer, less what .dockerignore keeps out
    a git address        Filesystem of a commit's tree, the same; the commit's time
    an http address      an archive, or a Dockerfile with an empty context
    an image             Filesystem of its layers

The Dockerfile is read from `origin`: one that its own .dockerignore keeps out is still found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from carboy.build.frontend.addresses import is_http, read_repository
from carboy.build.frontend.inputs import Bases
from carboy.build.operation import Filesystem, Value
from carboy.build.progress import Cancellation
from carboy.build.request import AnyContext, ImageContext, LocalContext, RemoteContext, TarContext
from carboy.build.session import Workshop
from carboy.build.sources import reading
from carboy.build.sources.addresses import shown
from carboy.build.sources.archives import take_archive, without_ignored
from carboy.build.sources.http import Fetcher, check_status, where
from carboy.build.trees import LocalTree
from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats.dockerignore import Ignore
from carboy.store.content import write_all

_PIECE = 1 << 20
_GITHUB = "github.com/"

Told = Callable[[str, int, int], None]
"""(what, bytes so far, bytes to come or 0)."""


def _untold(_what: str, _current: int, _total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class OpenedContext:
    """A context that steps can take files from."""

    value: Value
    origin: Value
    """With what .dockerignore keeps out."""
    dockerfile: bytes | None = None
    """The context is nothing but this Dockerfile."""
    commit_time: int | None = None
    """Of the commit that it is, exactly: the build's epoch, when nothing else is asked for."""
    record: Mapping[str, str] = field(default_factory=dict)
    """What it is, for the build's record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOpener:
    """Opens the contexts of one build."""

    workshop: Workshop
    bases: Bases
    cancellation: Cancellation
    proxies: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    """ssh: id to the socket of an agent; `default` is used."""
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    """GIT_AUTH_TOKEN and the like, for repositories."""
    told: Told = _untold
    fetcher: Fetcher | None = None

    def open(
        self, context: AnyContext | None, *, dockerfile_name: str = "", ignore: bytes | None = None
    ) -> OpenedContext:
        """The context; `ignore` are patterns that stand beside a Dockerfile outside it, and win."""
        if context is None:
            return _nothing({"context": "empty"})
        if isinstance(context, LocalContext):
            return self._local(context, dockerfile_name, ignore)
        if isinstance(context, TarContext):
            return self._archive(context.descriptor, dockerfile_name, ignore, {"context": "archive"})
        if isinstance(context, RemoteContext):
            return self._remote(context.url, dockerfile_name, ignore)
        if isinstance(context, ImageContext):
            return self._image(context.reference)
        assert_never(context)

    def _local(self, context: LocalContext, name: str, ignore: bytes | None) -> OpenedContext:
        # Not every build has a directory.
        from carboy.build.sources.worktree import WorkTreeMemory, clean_commit

        origin = LocalTree(context.root, context.path)
        patterns = self._patterns(origin, name, ignore)
        commit = clean_commit(context.root, WorkTreeMemory(self.workshop.database))
        record = {"context": "directory"}
        if commit is not None:
            record["commit"] = commit.id
        return OpenedContext(
            LocalTree(context.root, context.path, patterns),
            origin,
            commit_time=commit.time if commit else None,
            record=record,
        )

    def _archive(
        self, descriptor: int, name: str, ignore: bytes | None, record: Mapping[str, str]
    ) -> OpenedContext:
        archive = take_archive(descriptor, self.workshop.layers, cancellation=self.cancellation)
        if archive.dockerfile is not None:
            return _nothing(record, dockerfile=archive.dockerfile)
        if archive.layer is None:
            return _nothing(record)
        return self._layer(archive.layer, name, ignore, record, whiteout=archive.whiteout)

    def _layer(
        self,
        layer: Digest,
        name: str,
        ignore: bytes | None,
        record: Mapping[str, str],
        commit_time: int | None = None,
        whiteout: bytes = b"",
    ) -> OpenedContext:
        origin = Filesystem((layer,))
        patterns = self._patterns(origin, name, ignore)
        kept = without_ignored(
            layer, self.workshop.layers, patterns, check=self.cancellation.check, whiteout=whiteout
        )
        return OpenedContext(
            Filesystem((kept,)), origin, commit_time=commit_time, record={**record, "layer": str(kept)}
        )

    def _patterns(self, origin: Value, name: str, ignore: bytes | None) -> Ignore | None:
        if ignore is not None:
            return reading.parse_ignore(ignore)
        return reading.read_ignore(origin, self.workshop.layers, name)

    def _remote(self, unsafe_url: str, name: str, ignore: bytes | None) -> OpenedContext:
        url = _spelled_out(unsafe_url)
        repository = read_repository(url)
        if repository is not None:
            from carboy.build.sources.repositories import Repositories, Wanted  # brings dulwich

            repositories = Repositories(
                self.workshop, self._fetcher(), agents=self.agents, secrets=self.secrets
            )
            fetched = repositories.fetch(Wanted.of(repository), told=self.told)
            return self._layer(fetched.layer, name, ignore, fetched.record, fetched.commit_time)
        if not is_http(url):
            raise InvalidArgument(
                f"the build context {shown(url)[:200]!r} is no address:"
                " http, https and git ones can be fetched"
            )
        descriptor = os.open(self.workshop.paths.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            record = self._download(url, descriptor)
            return self._archive(descriptor, name, ignore, record)
        finally:
            os.close(descriptor)

    def _download(self, url: str, descriptor: int) -> dict[str, str]:
        with self._fetcher().open(url) as response:
            check_status(response)
            what = f"downloading {where(response.url)}"
            while data := response.read(_PIECE):
                write_all(descriptor, data, "receive the build context")
                self.told(what, response.received, response.size)
            return {
                "context": where(url),
                "address": where(response.url),
                "etag": response.header("ETag")[:1024],
            }

    def _image(self, reference: str) -> OpenedContext:
        base = self.bases.resolve(reference, "")
        value = Filesystem(tuple(Digest.parse(layer) for layer in base.layers))
        return OpenedContext(value, value, record={"context": reference, "image": base.image_id})

    def _fetcher(self) -> Fetcher:
        return self.fetcher or Fetcher(proxies=self.proxies, cancellation=self.cancellation)


def _nothing(record: Mapping[str, str], *, dockerfile: bytes | None = None) -> OpenedContext:
    return OpenedContext(Filesystem(), Filesystem(), dockerfile=dockerfile, record=record)


def _spelled_out(unsafe_url: str) -> str:
    """`github.com/owner/name` is short for its repository, as with Docker."""
    if not unsafe_url.startswith(_GITHUB):
        return unsafe_url
    end = min((at for at in (unsafe_url.find("#"), unsafe_url.find("?")) if at >= 0), default=len(unsafe_url))
    name = unsafe_url[:end].rstrip("/")
    return f"https://{name.removesuffix('.git')}.git{unsafe_url[end:]}"
