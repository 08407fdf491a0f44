"""Compresses one rotated log file; runs in a child of the monitor, which then ends.

path ──▶ path.gz.new ──rename──▶ path.gz, and `path` goes.  The gzip header's comment names the inode
and the last change of `path`: a reader that was in the middle of it knows its place again.

It outlives a monitor that is killed, and the next one may rotate meanwhile: what has its names by then
is left alone, and the file that it read stays uncompressed.
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
    new = f"{path}.gz.new"
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.unlink(new)  # of one that was killed, or still writes
    except FileNotFoundError:
        pass
    target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        _compress(source, target)
        if _is_at(path, source) and _is_at(new, target):
            os.rename(new, f"{path}.gz")
            os.unlink(path)
        elif _is_at(new, target):
            os.unlink(new)
    finally:
        os.close(source)
        os.close(target)


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _compress(source: int, target: int) -> None:
    found = os.fstat(source)
    _write(target, header(found.st_ino, found.st_mtime_ns))
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    check = size = 0
    while piece := os.read(source, PIECE):
        check, size = zlib.crc32(piece, check), size + len(piece)
        _write(target, compressor.compress(piece))
    end = check.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    _write(target, compressor.flush() + end)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
