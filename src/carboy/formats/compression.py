"""Decompression of untrusted streams: what it is by its first bytes, and bounds on what it may become.

No program is ever run: isal inflates gzip, zstandard zstd, the standard library bzip2 and xz.
Codecs are imported when first needed: a plain tar pays for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from carboy.errors import Corrupt, InvalidArgument

Read = Callable[[int], bytes]
"""Returns up to so many bytes; nothing at the end."""

_CHUNK = 1 << 17
_MAX_OUTPUT = 1 << 20
# One window of zstd at `--long=27`, the largest that its command line reads without being told.
_ZSTD_WINDOW = 1 << 27
_ZSTD_PIECE = 4096
_XZ_MEMORY = 1 << 28


class Compression(Enum):
    """How a stream is compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


@dataclass(frozen=True, slots=True)
class DecompressionLimits:
    """Where a stream is called a bomb."""

    size: int = 1 << 40
    """Bytes that may come out."""
    ratio: int = 1100
    """Output to input; gzip's own limit is 1032."""
    slack: int = 1 << 24
    """Output that is allowed whatever the ratio: small and very regular layers are honest."""


class _Decoder(Protocol):
    """What one compressed stream (gzip member, zstd frame) is decoded with."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def detect(head: bytes) -> Compression:
    """The compression of a stream, by its first six bytes."""
    if head.startswith(b"\x1f\x8b"):
        return Compression.GZIP
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return Compression.ZSTD
    if head.startswith(b"BZh"):
        return Compression.BZIP2
    if head.startswith(b"\xfd7zXZ\0"):
        return Compression.XZ
    return Compression.NONE


class Decompressor:
    """A reader of what a compressed stream holds; plain streams go through.

    `read(n)` returns up to n bytes, b"" at the end.  Truncated or damaged input, bytes
    after the end that are not another member, and bombs raise Corrupt.
    """

    def __init__(self, source: Read, *, limits: DecompressionLimits | None = None) -> None:
        self._source = source
        self._limits = limits or DecompressionLimits()
        self._input = b""
        self._output = memoryview(b"")
        self._consumed = 0
        self._produced = 0
        self._fill(6)
        self.compression = detect(self._input)
        self._decoder: _Decoder | None = None
        self._ended = False

    @property
    def consumed(self) -> int:
        """Compressed bytes taken from the source so far."""
        return self._consumed

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; all that is left when negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_MAX_OUTPUT), b""))
        if self.compression is Compression.NONE:
            return self._plain(size)
        while not self._output and not self._ended:
            self._output = memoryview(self._step())
        piece = bytes(self._output[:size])
        self._output = self._output[size:]
        return piece

    def _plain(self, size: int) -> bytes:
        if self._input:
            piece, self._input = self._input[:size], self._input[size:]
        else:
            piece = self._source(size)
            self._consumed += len(piece)
        self._count(len(piece))
        return piece

    def _fill(self, size: int) -> None:
        while len(self._input) < size:
            piece = self._source(_CHUNK)
            if not piece:
                return
            self._consumed += len(piece)
            self._input += piece

    def _count(self, size: int) -> None:
        self._produced += size
        limits = self._limits
        if self._produced > limits.size:
            raise Corrupt(
                f"decompression stopped: more than {limits.size} bytes come out of {self._consumed}"
            )
        if self._produced > limits.slack and self._produced > limits.ratio * max(1, self._consumed):
            raise Corrupt(
                f"decompression stopped: {self._consumed} bytes became {self._produced}: a decompression bomb"
            )

    def _step(self) -> bytes:
        """Decode one piece of input; finds the ends of members and of the stream."""
        if self._decoder is None:
            self._fill(6)
            if not self._input.strip(b"\0"):
                # Padding with zeros after the last member, as tape and some registries leave it.
                self._ended = not self._input or not self._more_zeros()
                return b""
            if detect(self._input) is not self.compression:
                raise Corrupt(f"{self.compression.value}: the stream is followed by something else")
            self._decoder = _decoder(self.compression)
        elif not self._input and self._decoder.needs_input:
            self._fill(1)
            if not self._input:
                raise Corrupt(
                    f"{self.compression.value}: the stream is truncated after {self._consumed} bytes"
                )
        data, self._input = self._input, b""
        output = self._decode(self._decoder, data)
        self._count(len(output))
        if self._decoder.eof:
            self._input = self._decoder.unused_data
            self._decoder = None
        return output

    def _more_zeros(self) -> bool:
        self._input = b""
        self._fill(6)
        return bool(self._input)

    def _decode(self, decoder: _Decoder, data: bytes) -> bytes:
        try:
            return decoder.decompress(data, _MAX_OUTPUT)
        except Exception as error:  # each codec has an error class of its own
            if isinstance(error, (Corrupt, MemoryError)):
                raise
            raise Corrupt(f"{self.compression.value}: the stream is damaged: {error}") from error


class _Zstd:
    """zstandard's decoder, with the face of the standard library's.

    It cannot bound its output, so it is fed little: 4 KiB become 128 MiB at the very worst.
    """

    def __init__(self) -> None:
        import zstandard

        self._decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data) + self._waiting

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._waiting += data
        view = memoryview(self._waiting)
        pieces, produced, taken = [], 0, 0
        while taken < len(view) and produced < max_length and not self._decoder.eof:
            piece = self._decoder.decompress(view[taken : taken + _ZSTD_PIECE])
            pieces.append(piece)
            produced += len(piece)
            taken += _ZSTD_PIECE
        self._waiting = bytes(view[taken:])
        return b"".join(pieces)


def _decoder(compression: Compression) -> _Decoder:
    # Imports here keep the daemon's start and the command line free of codecs they do not use.
    if compression is Compression.GZIP:
        from isal import igzip_lib

        decoder: _Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return decoder
    if compression is Compression.ZSTD:
        return _Zstd()
    if compression is Compression.BZIP2:
        import bz2

        return bz2.BZ2Decompressor()
    if compression is Compression.XZ:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    raise InvalidArgument("a plain stream needs no decoder")
