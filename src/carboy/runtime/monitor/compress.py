"""Compresses one rotated log file; runs in a child of the monitor, which then ends.

path ──▶ path.gz.new ──rename──▶ path.gz, and `path` goes.  The gzip header's comment names the inode
and the last change of `path`: a reader that was in the middle of it knows its place again.
"""

from __future__ import annotations

import os
import zlib

PIECE = 1 << 20
LEVEL = 4


def header(inode: int, changed: int) -> bytes:
    """gzip's head (RFC 1952) with inode and change (nanoseconds) as its comment."""
    return b"\x1f\x8b\x08\x10" + bytes(4) + b"\0\xff" + f"inode {inode} {changed}\0".encode()


def compress(path: str) -> None:
    """Replace `path` by `path`.gz."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    target = os.open(f"{path}.gz.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    found = os.fstat(source)
    _write(target, header(found.st_ino, found.st_mtime_ns))
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    check = size = 0
    while piece := os.read(source, PIECE):
        check, size = zlib.crc32(piece, check), size + len(piece)
        _write(target, compressor.compress(piece))
    end = check.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    _write(target, compressor.flush() + end)
    os.close(target)
    os.rename(f"{path}.gz.new", f"{path}.gz")
    os.unlink(path)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
