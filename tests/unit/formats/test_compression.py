"""Decompression: every kind, several members, damage, bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
import zstandard

from carboy.errors import Corrupt
from carboy.formats.compression import Compression, DecompressionLimits, Decompressor, detect

DATA = bytes(range(256)) * 2000 + b"end"
CODECS: list[tuple[Compression, Callable[[bytes], bytes]]] = [
    (Compression.GZIP, gzip.compress),
    (Compression.ZSTD, zstandard.compress),
    (Compression.BZIP2, bz2.compress),
    (Compression.XZ, lzma.compress),
]


def decompress(data: bytes, limits: DecompressionLimits | None = None) -> bytes:
    return Decompressor(io.BytesIO(data).read, limits=limits).read()


@pytest.mark.parametrize(("kind", "compress"), CODECS)
class TestEachCodec:
    def test_is_detected_and_read(self, kind: Compression, compress: Callable[[bytes], bytes]) -> None:
        compressed = compress(DATA)
        assert detect(compressed[:6]) is kind
        assert decompress(compressed) == DATA

    def test_in_small_pieces(self, kind: Compression, compress: Callable[[bytes], bytes]) -> None:
        stream = io.BytesIO(compress(DATA))
        reader = Decompressor(lambda size: stream.read(min(size, 7)))
        assert b"".join(iter(lambda: reader.read(1000), b"")) == DATA
        assert reader.consumed == len(stream.getvalue())

    def test_members_follow_each_other_and_zeros_end(
        self, kind: Compression, compress: Callable[[bytes], bytes]
    ) -> None:
        assert decompress(compress(DATA) + compress(b"more") + bytes(5000)) == DATA + b"more"

    def test_damage_is_corrupt(self, kind: Compression, compress: Callable[[bytes], bytes]) -> None:
        compressed = compress(DATA)
        for broken in (compressed[:-3], compressed[: len(compressed) // 2], compressed + b"something else"):
            with pytest.raises(Corrupt):
                decompress(broken)

    def test_bombs_are_stopped(self, kind: Compression, compress: Callable[[bytes], bytes]) -> None:
        bomb = compress(bytes(40 << 20))
        with pytest.raises(Corrupt, match="more than"):
            decompress(bomb, DecompressionLimits(size=1 << 20))
        with pytest.raises(Corrupt, match="bomb"):
            decompress(bomb, DecompressionLimits(ratio=100))


def test_plain_streams_go_through_with_their_limit() -> None:
    assert decompress(b"plain") == b"plain"
    assert decompress(b"") == b""
    assert decompress(b"a" * 100_000) == b"a" * 100_000
    with pytest.raises(Corrupt):
        decompress(b"a" * 100_000, DecompressionLimits(size=10))
