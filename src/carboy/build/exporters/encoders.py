"""Compressors of layers: one library for each form, and a name that is remembered with what it wrote.

Compressed bytes depend on the library's version and, with gzip, on what the processor can do; DiffIDs do not.
So nothing is compressed that need not be, and what is, is recorded: encoder, version, level.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats import oci
from carboy.store.content import storage_error, write_all

_CHUNK = 1 << 20
_TYPES = {
    "uncompressed": oci.LAYER_TYPE,
    "gzip": oci.LAYER_TYPE + "+gzip",
    "zstd": oci.LAYER_TYPE + "+zstd",
}
_DOCKER_TYPES = {
    "uncompressed": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
_LEVELS = {"uncompressed": (0, 0, 0), "gzip": (0, 2, 9), "zstd": (1, 3, 22)}
"""Lowest, default, highest."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Encoder:
    """A form and how hard to try."""

    form: str = "uncompressed"
    level: int = 0

    @property
    def name(self) -> str:
        """What is recorded: library, version and level."""
        if self.form == "gzip":
            import isal  # only who compresses pays for it

            return f"isal {isal.__version__} level {min(self.level, 3)}"
        if self.form == "zstd":
            import zstandard  # likewise

            version = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
            return f"zstd {version} level {self.level}"
        return "uncompressed"

    def media_type(self, *, docker: bool) -> str:
        """Of a layer in this form."""
        return (_DOCKER_TYPES if docker else _TYPES)[self.form]

    def compressor(self) -> _Compressor:
        """A new one."""
        if self.form == "gzip":
            from isal import isal_zlib  # only who compresses pays for it

            made: _Compressor = isal_zlib.compressobj(min(self.level, 3), isal_zlib.DEFLATED, 31)
            return made
        import zstandard  # likewise

        frame: _Compressor = zstandard.ZstdCompressor(
            level=self.level, write_content_size=False
        ).compressobj()
        return frame


def parse_encoder(attributes: dict[str, str]) -> Encoder:
    """`compression=gzip|zstd|uncompressed` and `compression-level=`; raises InvalidArgument."""
    form = attributes.get("compression", "uncompressed") or "uncompressed"
    if form not in _LEVELS:
        raise InvalidArgument(
            f"unsupported layer compression type {form[:40]!r}: use uncompressed, gzip or zstd"
        )
    lowest, usual, highest = _LEVELS[form]
    text = attributes.get("compression-level", "")
    if not text:
        return Encoder(form, usual)
    if not (text.isascii() and text.isdecimal() and len(text) <= 2 and lowest <= int(text) <= highest):
        raise InvalidArgument(
            f"invalid compression-level {text[:20]!r} of {form}: use a number from {lowest} to {highest}"
        )
    return Encoder(form, int(text))


def encode_file(
    source: int, target: int, encoder: Encoder, *, check: Callable[[], None]
) -> tuple[Digest, int]:
    """Compress all of `source` into `target`; the digest and the bytes of what it became."""
    compressor, digest, size, offset = encoder.compressor(), hashlib.sha256(), 0, 0
    try:
        while True:
            check()
            data = os.pread(source, _CHUNK, offset)
            offset += len(data)
            piece = compressor.compress(data) if data else compressor.flush()
            digest.update(piece)
            size += len(piece)
            write_all(target, piece, "compress a layer")
            if not data:
                break
    except OSError as error:
        raise storage_error(error, "compress a layer") from error
    return Digest(digest.hexdigest()), size
