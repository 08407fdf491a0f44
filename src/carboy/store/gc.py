"""Garbage collection: decided by a pure function, done by a small executor.

    roots ──references──▶ reached        present - reached = what is deleted

`plan` knows nothing of disks.  `Collector` asks for the roots, plans and deletes under the
leases' guard, so that nothing can become referenced in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from carboy.digest import Digest

if TYPE_CHECKING:
    from carboy.store.content import ContentStore
    from carboy.store.layers import LayerStore
    from carboy.store.leases import Leases

LAYER: Final = "layer"
BLOB: Final = "blob"
IMAGE: Final = "image"
ANY: Final = "*"

Key = tuple[str, str]
"""(kind, name): ("layer", "sha256:..."); the name ANY stands for all of a kind."""


def plan(present: Iterable[Key], roots: Iterable[Key], references: Mapping[Key, Iterable[Key]]) -> list[Key]:
    """What of `present` no root reaches over `references`; sorted."""
    reached: set[Key] = set()
    waiting = list(roots)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting.extend(references.get(key, ()))
    kept_kinds = {kind for kind, name in reached if name == ANY}
    return sorted(key for key in present if key not in reached and key[0] not in kept_kinds)


class Collector:
    """Deletes layers and blobs that neither `roots` (images, containers) nor a lease needs."""

    def __init__(
        self,
        layers: LayerStore,
        content: ContentStore,
        leases: Leases,
        roots: Callable[[], tuple[list[Key], Mapping[Key, list[Key]]]],
    ) -> None:
        self._layers = layers
        self._content = content
        self._leases = leases
        self._roots = roots
        # What only a lease on ANY has kept: looked at again by the next collection.
        self._deferred: set[Key] = set()

    def collect(self, candidates: Iterable[Key] | None = None) -> list[Key]:
        """Delete what is unreachable among `candidates`, or in the whole store; returns what it was."""
        with self._leases.guard:
            present = self._everything() if candidates is None else {*candidates, *self._deferred}
            if not present:
                return []
            roots, references = self._roots()
            leased = self._leases.items()
            garbage = plan(present, [*roots, *leased], references)
            named = [key for key in leased if key[1] != ANY]
            self._deferred = {*plan(present, [*roots, *named], references)}.difference(garbage)
            for kind, name in garbage:
                self._delete(kind, Digest.parse(name))
        return garbage

    def _everything(self) -> set[Key]:
        layers = {(LAYER, str(layer.diff_id)) for layer in self._layers.list()}
        return layers | {(BLOB, str(blob.digest)) for blob in self._content.walk()}

    def _delete(self, kind: str, digest: Digest) -> None:
        if kind == BLOB:
            self._content.delete(digest)
        elif self._layers.exists(digest):
            self._layers.remove(digest)
