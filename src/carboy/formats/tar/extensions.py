"""What stands beside a tar header: numbers, PAX records, maps of sparse files.

References: POSIX.1-2017 `pax`; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from carboy.errors import Corrupt
from carboy.formats.tar.entry import BLOCK_SIZE, Segments

_SCHILY_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."


def number(field: bytes) -> int:
    """The value of a numeric field: octal digits, or GNU's base-256 when the top bit is set."""
    if field[0] & 0x80:
        # 0x80 is a positive number; 0xff a negative one in two's complement.
        value = int.from_bytes(field, "big")
        width = 8 * len(field)
        if field[0] & 0x40:
            return value - (1 << width)
        return value - (1 << (width - 1))
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise Corrupt(f"tar: a number is not octal: {digits[:24]!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise Corrupt(f"tar: a number is not octal: {digits[:24]!r}") from None


def decimal(text: bytes, what: str) -> int:
    """A non-negative decimal number of at most 20 digits."""
    if not text.isdigit() or len(text) > 20:
        raise Corrupt(f"tar: {what} is not a number: {text[:24]!r}")
    return int(text)


def timestamp(text: bytes) -> tuple[int, int]:
    """A PAX time, decimal seconds with a fraction, as (seconds, nanoseconds)."""
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    seconds = decimal(whole.lstrip(b"-") or b"0", "mtime")
    if seconds >= 1 << 62:
        raise Corrupt("tar: mtime is beyond what a file can have")
    nanoseconds = decimal(fraction[:9].ljust(9, b"0"), "mtime")
    if not negative:
        return seconds, nanoseconds
    if nanoseconds:
        return -seconds - 1, 1_000_000_000 - nanoseconds
    return -seconds, 0


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (key, value) records of a PAX extended header, in order."""
    records = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 20)
        if space < 0:
            if not data[position:].strip(b"\0"):
                break
            raise Corrupt("tar: a PAX record has no length")
        length = decimal(data[position:space], "the length of a PAX record")
        stop = position + length
        if stop > end or stop <= space + 2 or data[stop - 1] != 0x0A:
            raise Corrupt("tar: a PAX record does not end where its length says")
        key, equals, value = data[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise Corrupt("tar: a PAX record has no key")
        records.append((key, value))
        position = stop
    return records


def pax_xattrs(records: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The extended attributes among PAX records; SCHILY's form wins over libarchive's."""
    found: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(_LIBARCHIVE_XATTR):
            name = unquote_to_bytes(key[len(_LIBARCHIVE_XATTR) :])
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error:
                raise Corrupt(f"tar: extended attribute {name[:64]!r} is not base64") from None
            found.setdefault(name, decoded)
        elif key.startswith(_SCHILY_XATTR):
            found[key[len(_SCHILY_XATTR) :]] = value
    for name, value in found.items():
        if not name or b"\0" in name or len(name) > 255 or len(value) > 65536:
            raise Corrupt(f"tar: extended attribute {name[:64]!r} is one that no file can have")
    return found or None


def gnu_sparse_entries(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """Up to `count` (offset, length) pairs of the old GNU format; an empty one ends the list."""
    pairs = []
    for position in range(start, start + 24 * count, 24):
        if block[position] == 0:
            break
        pairs.append((number(block[position : position + 12]), number(block[position + 12 : position + 24])))
    return pairs


def pairs_of(numbers: list[int]) -> list[tuple[int, int]]:
    """[o, n, o, n, ...] as [(o, n), (o, n), ...]."""
    if len(numbers) % 2:
        raise Corrupt("tar: a sparse map has an odd number of values")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def checked_segments(pairs: list[tuple[int, int]], *, size: int, stored: int) -> Segments:
    """The pairs, when they are ordered, inside the file, and exactly what is stored; empty ones dropped."""
    end = total = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > size:
            raise Corrupt("tar: the map of a sparse file is not in order or leaves the file")
        end = offset + length
        total += length
    if total != stored:
        raise Corrupt(f"tar: a sparse file stores {stored} bytes, but its map says {total}")
    return tuple(pair for pair in pairs if pair[1])


def rounded(size: int) -> int:
    """`size` rounded up to whole tar blocks."""
    return (size + BLOCK_SIZE - 1) // BLOCK_SIZE * BLOCK_SIZE
