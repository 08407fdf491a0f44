"""What the solver knows of an operation: what its result depends on, and how to get it.

    step = make_step(vertex, session)
    ingredients = step.ingredients(inputs)      # cheap where possible: digests come from caches
    key = ingredients.key()                     # the cache is asked for it
    result = step.run(inputs, console)          # only when it is not there

The key is the digest of the ingredients and of nothing else, so that the explanation of a miss, which
compares ingredients with those of last time, is complete by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from carboy.build.progress import Console
from carboy.build.trees import LocalTree
from carboy.digest import Digest


@dataclass(frozen=True, slots=True)
class Filesystem:
    """Layers, bottom first; no layer is an empty root."""

    layers: tuple[Digest, ...] = ()

    def above(self, layer: Digest | None) -> Filesystem:
        """With one more layer, or as it is."""
        return self if layer is None else Filesystem((*self.layers, layer))

    @property
    def identity(self) -> str:
        """A name for its content."""
        return "+".join(str(layer) for layer in self.layers) or "scratch"


Value: TypeAlias = Filesystem | LocalTree
"""What a vertex gives: layers in the store, or a directory on this machine (a build context)."""


_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Everything that a step's result depends on, by names that people understand.

    Names have a kind and a subject, as `file src/a.py`, `variable PATH`, `base`, `command`, `owner`,
    `source date epoch`; values are digests with what else counts (`0644 0:0 sha256:…`) or short texts.
    """

    operation: str
    values: Mapping[str, str]
    cacheable: bool = True

    def key(self) -> str:
        """sha256:… of them, canonically encoded."""
        digest = hashlib.sha256()
        for piece in self.encoded(FORMAT_VERSION):
            digest.update(piece)
        return "sha256:" + digest.hexdigest()

    def encoded(self, *before: str) -> Iterator[bytes]:
        """[*before, operation, values] as canonical JSON, in pieces: there may be a million values."""
        yield msgspec.json.encode([*before, self.operation])[:-1] + b",{"
        names = sorted(self.values)
        for first in range(0, len(names), _AT_ONCE):
            some = {name: self.values[name] for name in names[first : first + _AT_ONCE]}
            yield (b"," if first else b"") + msgspec.json.encode(some)[1:-1]
        yield b"}]"


FORMAT_VERSION = "carboy-build-1"
"""Changes when the same ingredients would give other bytes (canonical form, compressor, clamping)."""


@dataclass(frozen=True, slots=True)
class Result:
    """What running a step gave."""

    value: Value
    layer: Digest | None = None
    """The layer it added; None: it changed nothing, or adds none."""
    record: Mapping[str, str] = field(default_factory=dict)
    """What entered that ingredients could not know: final URLs, git commits, etags, removed residues."""


class Step(Protocol):
    """One operation of one build."""

    def ingredients(self, inputs: Sequence[Value]) -> Ingredients:
        """What the result depends on; inputs are those of the vertex, in order."""
        ...

    def run(self, inputs: Sequence[Value], console: Console) -> Result:
        """Do it.  Raises carboy.errors; leaves nothing behind when it does, or is cancelled."""
        ...
