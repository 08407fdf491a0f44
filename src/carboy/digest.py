"""Digest and Descriptor: the names of content (OCI image specification, descriptor.md).

A Digest is validated before it can exist, so that one can be joined to a path: `sha256:`
and 64 lower-case hexadecimal digits, nothing else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from carboy.errors import InvalidArgument

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 of some bytes; `str(digest)` is `sha256:<64 hex>`."""

    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != 64 or not _HEX.issuperset(self.hex):
            raise InvalidArgument(f"invalid digest {self.hex[:80]!r}: not 64 lower-case hexadecimal digits")

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def parse(cls, unsafe_text: str) -> Digest:
        """Read `sha256:<hex>`; raises InvalidArgument for anything else."""
        algorithm, colon, digits = unsafe_text.partition(":")
        if algorithm != "sha256" or not colon:
            raise InvalidArgument(
                f"invalid digest {unsafe_text[:80]!r}: only sha256:<64 hex digits> is supported"
            )
        return cls(digits)

    @classmethod
    def of(cls, data: bytes | memoryview) -> Digest:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What an OCI document says of another piece of content: type, digest, size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InvalidArgument(f"invalid descriptor of {self.digest}: size {self.size} is negative")
