"""What entered and left each build: what locks, provenance and verification will read.

A record names each step's key; `BuildCache.history.recall(key)` gives the ingredients behind it (files by
digest, commands, variables), which are kept for as long as a record names them.  Secrets are in
neither: of them there are only ids.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from carboy.build.caching.history import printable
from carboy.build.frontend.addresses import redacted
from carboy.build.graph import Graph, Image
from carboy.build.operation import FORMAT_VERSION
from carboy.build.request import (
    AnyContext,
    BuildRequest,
    ImageContext,
    LocalContext,
    RemoteContext,
    TarContext,
)
from carboy.build.solver import Solved
from carboy.errors import NotFound
from carboy.store.metadata import Database

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

_KEPT = 1_000
_HIDDEN = "(hidden)"
_SECRET = re.compile(r"(?i)pass(?:word|wd|phrase)?|secret|token|credential|api_?key|_key\Z")
_PROXY = re.compile(r"(?i)(?:https?|ftp|no|all)_proxy\Z")


class BaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a build began from, or took files out of."""

    reference: str
    image_id: str
    platform: str
    layers: tuple[str, ...]


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One step: where it stands, what it depended on, what it gave."""

    vertex: int
    name: str
    instruction: str
    line: int
    stage: str
    operation: str
    inputs: tuple[int, ...]
    key: str
    layer: str
    """The DiffID that it added; empty: none."""
    cached: bool
    seconds: float
    record: dict[str, str]
    """Final addresses, commits, etags, residues that were removed."""


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One image that the build made."""

    id: str
    target: str
    platform: str
    vertex: int
    names: tuple[str, ...] = ()


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One build."""

    version: int = 1
    id: str
    started_at: float
    """Seconds since 1970, of this machine's clock: nothing in an image depends on it."""
    ended_at: float
    status: str
    error: str = ""
    format_version: str = FORMAT_VERSION
    epoch: int = 0
    dockerfile: str = ""
    """Its text."""
    request: dict[str, msgspec.Raw] = {}
    contexts: dict[str, dict[str, str]] = {}
    """What each context was, by name ("" the main one): address, commit, etag, layer."""
    bases: tuple[BaseRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    encoders: tuple[str, ...] = ()
    """Library, version and level of what compressed the layers of archives."""


def bases_of(graph: Graph) -> tuple[BaseRecord, ...]:
    """The images that a graph begins from."""
    found = [vertex.operation for vertex in graph.vertices if isinstance(vertex.operation, Image)]
    return tuple(
        BaseRecord(reference=one.reference, image_id=one.image_id, platform=one.platform, layers=one.layers)
        for one in found
    )


def steps_of(graph: Graph, solved: Solved) -> tuple[StepRecord, ...]:
    """The steps of a graph and what they became."""
    return tuple(
        StepRecord(
            vertex=index,
            name=printable(vertex.name),
            instruction=printable(vertex.instruction),
            line=vertex.line,
            stage=printable(vertex.stage),
            operation=type(vertex.operation).__name__,
            inputs=vertex.inputs,
            key=outcome.key,
            layer=str(outcome.layer or ""),
            cached=outcome.cached,
            seconds=round(outcome.seconds, 3),
            record={printable(name): printable(text) for name, text in outcome.record.items()},
        )
        for index, outcome in sorted(solved.outcomes.items())
        for vertex in [graph.vertices[index]]
    )


def summary_of(request: BuildRequest) -> dict[str, msgspec.Raw]:
    """What was asked for: no secret, no credentials in addresses, no proxies."""
    summary: dict[str, object] = {
        "context": _context(request.context),
        "dockerfile_name": request.dockerfile_name,
        "contexts": {name: _context(context) for name, context in sorted(request.contexts.items())},
        "arguments": _without_secrets(request.arguments),
        "labels": dict(sorted(request.labels.items())),
        "tags": request.tags,
        "targets": request.targets,
        "platforms": request.platforms,
        "network": request.network,
        "extra_hosts": request.extra_hosts,
        "secrets": sorted(request.secrets),
        "agents": sorted(request.agents),
        "allow": request.allow,
        "outputs": [output.type for output in request.outputs],
        "no_cache": request.no_cache,
        "no_cache_filter": request.no_cache_filter,
        "pull": request.pull,
        "reproducible": request.reproducible,
        "host_ca": request.host_ca,
        "epoch": request.epoch,
    }
    return {name: msgspec.Raw(msgspec.json.encode(_plain(value))) for name, value in summary.items() if value}


class BuildRecords:
    """The records of one root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, record: BuildRecord) -> None:
        """Keep it, or replace the one with its id."""
        keys = {step.key for step in record.steps if step.key}
        with self._database.write(durable=False) as connection:
            connection.execute(
                "INSERT INTO build_records VALUES (?, ?, ?) ON CONFLICT (id)"
                " DO UPDATE SET started_at=excluded.started_at, document=excluded.document",
                (record.id, record.started_at, msgspec.json.encode(record)),
            )
            connection.execute("DELETE FROM build_record_keys WHERE id=?", (record.id,))
            connection.executemany(
                "INSERT INTO build_record_keys VALUES (?, ?)", [(record.id, key) for key in sorted(keys)]
            )

    def get(self, build_id: str) -> BuildRecord:
        """The record of one build; NotFound."""
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM build_records WHERE id=?", (build_id,)).fetchone()
        if row is None:
            raise NotFound(f"No such build: {build_id[:80]}")
        return _decoder.decode(row[0])

    def list(self, *, limit: int = 100) -> list[BuildRecord]:
        """The newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM build_records ORDER BY started_at DESC, id LIMIT ?", (limit,)
            ).fetchall()
        return [_decoder.decode(row[0]) for row in rows]

    def of_image(self, image_id: str) -> BuildRecord | None:
        """The newest build that made an image."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM build_records WHERE instr(document, ?) ORDER BY started_at DESC",
                (image_id.encode(),),
            )
            for (document,) in rows:
                record = _decoder.decode(document)
                if any(image.id == image_id for image in record.images):
                    return record
        return None

    def trim(self, *, keep: int = _KEPT, images: Collection[str] = ()) -> None:
        """Forget all but the newest `keep`, and those that made one of `images`."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, document FROM build_records ORDER BY started_at DESC LIMIT -1 OFFSET ?", (keep,)
            ).fetchall()
        old = [
            build_id
            for build_id, document in rows
            if not any(image.id in images for image in _decoder.decode(document).images)
        ]
        if old:
            with self._database.write(durable=False) as connection:
                connection.executemany("DELETE FROM build_records WHERE id=?", [(one,) for one in old])


_decoder = msgspec.json.Decoder(BuildRecord)


def _context(context: AnyContext | None) -> str:
    match context:
        case LocalContext(path=path):
            return path
        case RemoteContext(url=url):
            return redacted(url)
        case ImageContext(reference=reference):
            return f"docker-image://{reference}"
        case TarContext():
            return "archive"
        case None:
            return ""


def _without_secrets(arguments: Mapping[str, str]) -> dict[str, str]:
    return {
        name: _HIDDEN if _SECRET.search(name) else value
        for name, value in sorted(arguments.items())
        if not _PROXY.match(name)
    }


def _plain(value: object) -> object:
    """With texts that JSON takes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    return value
