"""Cached steps that come from somewhere else: which key gives which layers.

    {"version": 1, "entries": [{"key": "sha256:…", "layers": ["sha256:…"], "above": true, …}]}

The document is hostile until read.  It says what a step gave, and nobody can check that: so its entries
are believed only in builds that name it (`Entry.origin`).  Layers are checked by their DiffIDs.

    open_inline     the document stands in an image's config (INLINE_KEY); the layers are the image's
    LayoutCache     it stands in a directory, with its layers (layout.py)
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

import msgspec

from carboy.build.caching.cache import BuildCache, Entry, Made
from carboy.build.operation import Filesystem
from carboy.digest import Digest
from carboy.errors import CarboyError, Malformed
from carboy.formats.oci import MOST_LAYERS, check_document, parse_image
from carboy.store.layers import LayerStore

INLINE_KEY = "dev.carboy.cache.v1"
LIMIT = 32 << 20
"""Bytes of a document."""
_MOST = 100_000
_TEXT = 400
_VERSION = 1


class ExchangedEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one step gave."""

    key: str
    layers: list[str] = []
    above: bool = True
    operation: str = ""
    description: str = ""
    parents: list[str] = []
    created_at: float = 0.0
    """Only beside the layers: in an image's config there is no clock."""
    record: dict[str, str] = {}


class ExchangedCache(msgspec.Struct, kw_only=True):
    """The document."""

    version: int
    entries: list[ExchangedEntry]


class _Config(msgspec.Struct):
    cache: ExchangedCache | None = msgspec.field(default=None, name=INLINE_KEY)


_decoder = msgspec.json.Decoder(ExchangedCache)
_config_decoder = msgspec.json.Decoder(_Config)


def exchanged(entry: Entry, *, clock: bool = True) -> ExchangedEntry:
    """An entry of ours for others; without `clock` only what every machine says alike."""
    found = ExchangedEntry(key=entry.key, layers=[str(layer) for layer in entry.layers], above=entry.above)
    if clock:
        found.operation = entry.operation
        found.description = entry.description
        found.parents = list(entry.parents)
        found.created_at = entry.created_at
        found.record = dict(entry.record)
    return found


def encode(entries: Iterable[ExchangedEntry]) -> bytes:
    """The document."""
    document = ExchangedCache(version=_VERSION, entries=sorted(entries, key=lambda entry: entry.key))
    return msgspec.json.encode(document, order="sorted")


def decode(unsafe_data: bytes) -> list[ExchangedEntry]:
    """Read the document; raises Malformed."""
    try:
        check_document(unsafe_data, "the cache's document", limit=LIMIT)
        return _checked(_decoder.decode(unsafe_data))
    except (msgspec.DecodeError, CarboyError, RecursionError) as error:
        raise Malformed(f"the imported cache cannot be read: {error}") from error


def inline_document(keys: Iterable[str], among: Collection[Digest], cache: BuildCache) -> dict[str, object]:
    """For an image's config under INLINE_KEY: of the keys those whose layers are `among` its own."""
    found = [entry for key in dict.fromkeys(keys) if (entry := cache.peek(key)) is not None]
    entries = [exchanged(entry, clock=False) for entry in found if all(one in among for one in entry.layers)]
    plain: object = msgspec.json.decode(encode(entries))
    return plain if isinstance(plain, dict) else {}


class OfferedCache:
    """Entries of somebody else, taken in one by one as builds ask for them; a CacheSource."""

    def __init__(
        self, entries: Iterable[ExchangedEntry], origin: str, cache: BuildCache, layers: LayerStore
    ) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self._cache = cache
        self._layers = layers
        self._lock = threading.Lock()
        self.origin = origin

    def __len__(self) -> int:
        return len(self._entries)

    def bring(self, key: str) -> bool:
        """Put what it knows of the key into the cache; False when that is nothing."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        digests = tuple(Digest.parse(layer) for layer in entry.layers)
        with self._lock:
            if not all(self._layers.exists(digest) or self.fetch(digest) for digest in digests):
                return False
            made = Made(
                key=key,
                value=Filesystem(digests),
                base=Filesystem() if entry.above else None,
                operation=entry.operation,
                description=entry.description,
                parents=tuple(entry.parents),
                record=entry.record,
                origin=self.origin,
                created_at=entry.created_at or None,
            )
            self._cache.put(made)
        self._cache.release([key])
        return True

    def fetch(self, diff_id: Digest) -> bool:  # noqa: ARG002 - others know where to look
        """Get a layer that is not in the store; False: it cannot be had."""
        return False


def open_inline(unsafe_config: bytes, cache: BuildCache, layers: LayerStore) -> OfferedCache | None:
    """What an image's config offers; None when it offers nothing.  Raises Malformed."""
    try:
        own = set(parse_image(unsafe_config).diff_ids())
        document = _config_decoder.decode(unsafe_config).cache
        entries = _checked(document) if document is not None else []
    except (msgspec.DecodeError, CarboyError, RecursionError) as error:
        raise Malformed(f"the image's inline cache cannot be read: {error}") from error
    entries = [entry for entry in entries if all(Digest.parse(layer) in own for layer in entry.layers)]
    return OfferedCache(entries, str(Digest.of(unsafe_config)), cache, layers) if entries else None


def _checked(document: ExchangedCache) -> list[ExchangedEntry]:
    if document.version != _VERSION:
        raise Malformed(f"it has version {document.version}; this Carboy knows {_VERSION}")
    if len(document.entries) > _MOST:
        raise Malformed(f"it has {len(document.entries)} entries, more than {_MOST}")
    for entry in document.entries:
        for digest in (entry.key, *entry.layers, *entry.parents):
            Digest.parse(digest)
        if len(entry.layers) > MOST_LAYERS:
            raise Malformed(f"a step has {len(entry.layers)} layers, more than {MOST_LAYERS}")
        if len(entry.parents) > MOST_LAYERS:
            raise Malformed(f"a step has {len(entry.parents)} parents, more than {MOST_LAYERS}")
        entry.operation = entry.operation[:_TEXT]
        entry.description = entry.description[:_TEXT]
    return document.entries
