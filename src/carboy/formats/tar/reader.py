"""Reading tar: `scan` yields a TarEntry per member; file contents are skipped, not read.

    scan(read_at) ──▶ TarEntry(data_offset, size, ...) ──▶ read_at(data_offset, size) if wanted

Understood: v7, ustar, PAX (global and local), GNU (long names and links, base-256 numbers,
all four sparse forms).  Where programs disagree, Go's archive/tar is followed, because
that is what everybody else reads images with: header-only members have no data whatever
their size says.  Truncated or contradictory archives raise Corrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct

from carboy.errors import Corrupt, Unsupported
from carboy.formats.tar.entry import (
    BLOCK,
    BLOCK_SIZE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Segments,
    TarEntry,
    TarLimits,
)
from carboy.formats.tar.extensions import (
    checked_segments,
    decimal,
    gnu_sparse_entries,
    number,
    pairs_of,
    pax_records,
    pax_xattrs,
    rounded,
    timestamp,
)

ReadAt = Callable[[int, int], bytes]
"""(offset, size) -> bytes at that offset; fewer only at the end of the archive."""

# name, mode+uid+gid, size, mtime, checksum, type, link, magic, (names), devices, prefix
_HEADER = Struct("100s24s12s12s8sc100s8s64x16s155s12x")
_ZEROS = bytes(BLOCK_SIZE)
_KINDS = {
    b"0": REGULAR,
    b"\0": REGULAR,
    b"7": REGULAR,
    b"S": REGULAR,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHARACTER,
    b"4": BLOCK,
    b"5": DIRECTORY,
    b"6": FIFO,
}
_USTAR = b"ustar\x0000"


class ForwardReader:
    """A `ReadAt` over a stream that cannot seek: offsets may only grow."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._position = 0

    def __call__(self, offset: int, size: int) -> bytes:
        self._skip(offset - self._position)
        pieces = []
        while size > 0:
            piece = self._read(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _skip(self, size: int) -> None:
        if size < 0:
            raise ValueError("a stream cannot be read backwards")
        while size > 0:
            piece = self._read(min(size, 1 << 20))
            if not piece:
                raise Corrupt(f"tar: truncated at byte {self._position}, inside a member's contents")
            size -= len(piece)
            self._position += len(piece)


def scan(
    read_at: ReadAt, *, limits: TarLimits | None = None, require_end: bool = False, start: int = 0
) -> Iterator[TarEntry]:
    """Every member in order.  With `require_end`, an archive without its end marker is Corrupt."""
    return _Scanner(read_at, limits or TarLimits(), require_end=require_end).entries(start)


class _Extensions:
    """What extension headers said about the member that follows them."""

    __slots__ = ("link", "local", "path", "sparse_pairs")

    def __init__(self) -> None:
        self.path: bytes | None = None
        self.link: bytes | None = None
        self.local: dict[bytes, bytes] = {}
        self.sparse_pairs: list[int] = []


class _Scanner:
    def __init__(self, read_at: ReadAt, limits: TarLimits, *, require_end: bool) -> None:
        self._read_at = read_at
        self._limits = limits
        self._require_end = require_end
        self._global: dict[bytes, bytes] = {}
        self._owners: dict[bytes, tuple[int, int, int]] = {}

    def entries(self, offset: int) -> Iterator[TarEntry]:
        """The loop: one header per turn; extension headers collect until their member comes."""
        read_at, unpack = self._read_at, _HEADER.unpack
        count = chain = 0
        pending: _Extensions | None = None
        while True:
            header = read_at(offset, BLOCK_SIZE)
            if header == _ZEROS or len(header) < BLOCK_SIZE:
                self._check_end(header, offset, pending)
                return
            fields = unpack(header)
            checksum = fields[4]
            if not checksum[:6].isdigit() or number(checksum) != sum(header) - sum(checksum) + 256:
                self._check_unusual(header, checksum, offset)
            flag = fields[5]
            if flag in _KINDS:
                entry, offset = self._member(header, fields, offset, pending)
                count += 1
                if count > self._limits.entries:
                    raise Corrupt(f"tar: more than {self._limits.entries} members")
                pending, chain = None, 0
                yield entry
            elif flag == b"V":
                offset += BLOCK_SIZE + rounded(self._size(fields[2]))
            else:
                chain += 1
                if chain > self._limits.chain:
                    raise Corrupt(f"tar: too many extension headers before the member at {offset}")
                pending = pending or _Extensions()
                offset = self._extension(flag, fields[2], offset, pending)

    def _check_end(self, header: bytes, offset: int, pending: _Extensions | None) -> None:
        if header and len(header) < BLOCK_SIZE:
            raise Corrupt(f"tar: truncated at byte {offset}, inside a header")
        if pending is not None:
            raise Corrupt(f"tar: truncated at byte {offset}, after an extension header")
        # A ForwardReader has noticed already, while skipping.
        seekable = not isinstance(self._read_at, ForwardReader)
        if not header and offset and seekable and not self._read_at(offset - 1, 1):
            raise Corrupt(f"tar: truncated before byte {offset}, inside a member's contents")
        if not header and self._require_end:
            raise Corrupt(f"tar: truncated at byte {offset}: the end marker is missing")
        if header and self._read_at(offset + BLOCK_SIZE, BLOCK_SIZE) not in (b"", _ZEROS):
            raise Corrupt(f"tar: data after a lone block of zeros at byte {offset}")

    @staticmethod
    def _check_unusual(header: bytes, checksum: bytes, offset: int) -> None:
        """Leading spaces, and signed characters, which some old programs summed."""
        digits = checksum.strip(b" \0")
        summed = header[:148] + header[156:]
        signed = sum(byte - 256 if byte > 127 else byte for byte in summed) + 256
        if not digits.isdigit() or number(digits) not in (signed, sum(summed) + 256):
            raise Corrupt(f"tar: not a tar header at byte {offset} (its checksum is wrong)")

    def _size(self, field: bytes) -> int:
        size = number(field)
        if size < 0 or size > self._limits.file_size:
            raise Corrupt(f"tar: a member's size is impossible: {size}")
        return size

    def _extension(self, flag: bytes, size_field: bytes, offset: int, pending: _Extensions) -> int:
        if flag not in (b"x", b"g", b"X", b"L", b"K"):
            raise Unsupported(f"tar: member type {flag!r} at byte {offset} is not supported")
        size = self._size(size_field)
        if size > self._limits.extension:
            raise Corrupt(f"tar: an extension header of {size} bytes is over the limit")
        data = self._read_at(offset + BLOCK_SIZE, size)
        if len(data) < size:
            raise Corrupt(f"tar: truncated at byte {offset}, inside an extension header")
        if flag == b"L":
            pending.path = data.partition(b"\0")[0]
        elif flag == b"K":
            pending.link = data.partition(b"\0")[0]
        else:
            self._pax(pax_records(data), pending, self._global if flag == b"g" else pending.local)
        return offset + BLOCK_SIZE + rounded(size)

    def _pax(
        self, records: list[tuple[bytes, bytes]], pending: _Extensions, target: dict[bytes, bytes]
    ) -> None:
        for key, value in records:
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                pending.sparse_pairs.append(decimal(value, "a sparse map"))
            elif value or key.startswith((b"SCHILY.xattr.", b"LIBARCHIVE.xattr.")):
                target[key] = value
            elif target is pending.local:
                # An empty value takes back a global one.
                target[key] = b""
            else:
                target.pop(key, None)
        if len(pending.sparse_pairs) > 2 * self._limits.segments or len(target) > 10_000:
            raise Corrupt("tar: too many PAX records")

    def _member(
        self,
        header: bytes,
        fields: tuple[bytes, ...],
        offset: int,
        pending: _Extensions | None,
    ) -> tuple[TarEntry, int]:
        name, owner, size_field, mtime_field, _, flag, link, magic, devices, prefix = fields
        kind = _KINDS[flag]
        name = name.partition(b"\0")[0]
        if magic == _USTAR and prefix[0]:
            name = prefix.partition(b"\0")[0] + b"/" + name
        numbers = self._owners.get(owner)
        if numbers is None:
            numbers = (number(owner[:8]) & 0o7777, number(owner[8:16]), number(owner[16:]))
            self._owners[owner] = numbers
            if len(self._owners) > 10_000:
                self._owners.clear()
        entry = TarEntry(
            name,
            kind,
            mode=numbers[0],
            uid=numbers[1],
            gid=numbers[2],
            mtime=number(mtime_field),
            data_offset=offset + BLOCK_SIZE,
        )
        stored = self._size(size_field) if kind == REGULAR else 0
        if kind in (HARDLINK, SYMLINK):
            entry.link = link.partition(b"\0")[0]
        elif kind in (CHARACTER, BLOCK):
            entry.rdev = (number(devices[:8]), number(devices[8:]))
        records: dict[bytes, bytes] = {}
        if pending is not None or self._global:
            records = self._records(pending)
            stored = self._apply(entry, stored, records, pending)
        if kind == REGULAR:
            entry.size = entry.stored_size = stored
            self._regular(entry, header, flag, records, pending)
        self._check(entry, offset)
        return entry, entry.data_offset + rounded(entry.stored_size)

    def _records(self, pending: _Extensions | None) -> dict[bytes, bytes]:
        """The PAX records in force: local before global, emptied ones gone."""
        local = pending.local if pending is not None else {}
        merged = {**self._global, **local}
        return {key: value for key, value in merged.items() if value or key.startswith(b"SCHILY.xattr.")}

    def _apply(
        self, entry: TarEntry, stored: int, records: dict[bytes, bytes], pending: _Extensions | None
    ) -> int:
        """Let extension headers override the member's own; returns its stored size."""
        if pending is not None:
            entry.unsafe_path = pending.path if pending.path is not None else entry.unsafe_path
            entry.link = pending.link if pending.link is not None else entry.link
        if not records:
            return stored
        entry.unsafe_path = records.get(b"path", entry.unsafe_path)
        entry.link = records.get(b"linkpath", entry.link)
        if b"uid" in records:
            entry.uid = decimal(records[b"uid"], "uid")
        if b"gid" in records:
            entry.gid = decimal(records[b"gid"], "gid")
        if b"mtime" in records:
            entry.mtime, entry.mtime_nsec = timestamp(records[b"mtime"])
        entry.xattrs = pax_xattrs(records)
        if b"size" in records and entry.kind == REGULAR:
            stored = decimal(records[b"size"], "size")
        return stored

    def _regular(
        self,
        entry: TarEntry,
        header: bytes,
        flag: bytes,
        records: dict[bytes, bytes],
        pending: _Extensions | None,
    ) -> None:
        """Old directories, and sparse files in their four forms."""
        if flag == b"\0" and entry.unsafe_path.endswith(b"/"):
            entry.kind, entry.size, entry.stored_size = DIRECTORY, 0, 0
        elif flag == b"S":
            self._old_sparse(entry, header)
        elif records.get(b"GNU.sparse.major") == b"1":
            self._sparse_1_0(entry, records)
        elif pending is not None and b"GNU.sparse.map" in records:
            numbers = [
                decimal(text, "a sparse map") for text in records[b"GNU.sparse.map"].split(b",") if text
            ]
            self._pax_sparse(entry, records, pairs_of(numbers))
        elif pending is not None and (pending.sparse_pairs or b"GNU.sparse.size" in records):
            self._pax_sparse(entry, records, pairs_of(pending.sparse_pairs))

    def _old_sparse(self, entry: TarEntry, header: bytes) -> None:
        pairs = gnu_sparse_entries(header, 386, 4)
        more = header[482] != 0
        while more:
            block = self._read_at(entry.data_offset, BLOCK_SIZE)
            if len(block) < BLOCK_SIZE:
                raise Corrupt(f"tar: truncated at byte {entry.data_offset}, inside a sparse map")
            pairs += gnu_sparse_entries(block, 0, 21)
            more = block[504] != 0
            entry.data_offset += BLOCK_SIZE
            self._check_count(len(pairs))
        entry.size = self._size(header[483:495])
        entry.segments = self._segments(entry, pairs)

    def _pax_sparse(self, entry: TarEntry, records: dict[bytes, bytes], pairs: list[tuple[int, int]]) -> None:
        self._check_count(len(pairs))
        entry.unsafe_path = records.get(b"GNU.sparse.name", entry.unsafe_path)
        size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if size is None:
            raise Corrupt(f"tar: sparse file {entry.unsafe_path[:200]!r} has no size")
        entry.size = decimal(size, "the size of a sparse file")
        entry.segments = self._segments(entry, pairs)

    def _sparse_1_0(self, entry: TarEntry, records: dict[bytes, bytes]) -> None:
        """The map stands in front of the data: a count and numbers, a line each, padded to a block."""
        start, used, lines, wanted = entry.data_offset, 0, 0, 1
        blocks: list[bytes] = []
        while lines < wanted:
            if used + BLOCK_SIZE > entry.stored_size:
                raise Corrupt(f"tar: the sparse map of {entry.unsafe_path[:200]!r} is longer than its data")
            block = self._read_at(start + used, BLOCK_SIZE)
            if len(block) < BLOCK_SIZE:
                raise Corrupt(f"tar: truncated at byte {start + used}, inside a sparse map")
            if not blocks:
                count = decimal(block.partition(b"\n")[0], "the length of a sparse map")
                self._check_count(count)
                wanted = 1 + 2 * count
            blocks.append(block)
            used += BLOCK_SIZE
            lines += block.count(b"\n")
        text = b"".join(blocks)
        numbers = [decimal(line, "a sparse map") for line in text.split(b"\n")[1:wanted]]
        entry.data_offset += used
        entry.stored_size -= used
        self._pax_sparse(entry, records, pairs_of(numbers))

    def _check_count(self, count: int) -> None:
        if count > self._limits.segments:
            raise Corrupt(f"tar: a sparse file has more than {self._limits.segments} pieces")

    @staticmethod
    def _segments(entry: TarEntry, pairs: list[tuple[int, int]]) -> Segments:
        return checked_segments(pairs, size=entry.size, stored=entry.stored_size)

    def _check(self, entry: TarEntry, offset: int) -> None:
        """Refuse what no file can have."""
        limits, path, link = self._limits, entry.unsafe_path, entry.link
        if not path or len(path) > limits.path or b"\0" in path:
            raise Corrupt(f"tar: the member at byte {offset} has an impossible name: {path[:100]!r}")
        if link and (len(link) > limits.path or b"\0" in link):
            raise Corrupt(f"tar: {path[:200]!r} has an impossible link target: {link[:100]!r}")
        if not link and entry.kind in (HARDLINK, SYMLINK):
            raise Corrupt(f"tar: {path[:200]!r} is a link to nothing")
        if entry.size > limits.file_size or entry.stored_size > limits.file_size:
            raise Corrupt(f"tar: {path[:200]!r} is larger than a file can be: {entry.size} bytes")
        if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
            raise Corrupt(f"tar: {path[:200]!r} has an impossible owner: {entry.uid}:{entry.gid}")
        if not -(1 << 62) < entry.mtime < 1 << 62:
            raise Corrupt(f"tar: {path[:200]!r} has an impossible time: {entry.mtime}")
