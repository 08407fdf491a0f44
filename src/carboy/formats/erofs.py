"""EROFS: an index of a tar that the kernel mounts as a filesystem.

    meta.erofs:  | 1024 zeros | superblock | device slots | inodes ... | data blocks |
    layer.tar:   device 1: the contents of files, where they lie in the tar
    data2:       device 2: contents of sparse files that the tar holds unaligned

Blocks are 512 bytes, as in tar, so a member's contents always begin on one.  A file is
"chunk-based": an array of (device, block) for equal chunks; the chunk is made so large that
a contiguous file has one.  The format: linux, fs/erofs/erofs_fs.h, Documentation/filesystems/erofs.rst.
Whiteouts and opaque directories come out in overlay's terms.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from carboy.errors import Corrupt
from carboy.formats.layertree import IMPLIED, Node
from carboy.formats.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, REGULAR, SYMLINK

BLOCK_BITS = 9
BLOCK_SIZE = 1 << BLOCK_BITS
TAR_DEVICE = 1
SPARSE_DEVICE = 2

_MAGIC = 0xE0F5E1E2
_SUPER_OFFSET = 1024
_COMPAT_MTIME = 2
_INCOMPAT = 4 | 8  # chunked files, device table
_SLOTS_AT = 1152  # after the superblock, a multiple of a slot's 128 bytes
_META_AT = 1536
_FLAT_PLAIN, _FLAT_INLINE, _CHUNK_BASED = 0, 2, 4
_EXTENDED = 1
_CHUNK_INDEXES = 0x20
_MAX_CHUNK_BITS = 31
_HOLE = 0xFFFFFFFF
# A directory or link that is at most this long is kept behind its inode, in one block with it.
_INLINE_MAX = 384

# Structures and their names are those of erofs_fs.h.
_SUPER = Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")
_SLOT = Struct("<64sII56x")
_COMPACT = Struct("<HHHHIIIIHHI")
_LONG = Struct("<HHHHQIIIIQII16x")
_XATTR_HEADER = bytes(12)
_CHUNK_INDEX = Struct("<HHI")
_DIRENT = Struct("<QHBx")

_FILE_TYPES = {REGULAR: 1, DIRECTORY: 2, CHARACTER: 3, BLOCK: 4, FIFO: 5, SYMLINK: 7}
_XATTR_PREFIXES = (
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
)
_OPAQUE = (b"trusted.overlay.opaque", b"y")

CopySparse = Callable[[Node, int], int]
"""(node, alignment) -> offset in the second device where the file's first byte is; multiple of 512."""


class _Placed:
    """An inode that has its place: what the second pass writes."""

    __slots__ = ("data_block", "layout", "node", "tail", "xattrs")

    def __init__(self, node: Node, layout: int, xattrs: bytes, tail: int) -> None:
        self.node = node
        self.layout = layout
        self.xattrs = xattrs
        self.tail = tail
        """Bytes behind the inode and its attributes: inline data or chunk indexes."""
        self.data_block = 0


def write_index(
    root: Node,
    *,
    tar_size: int,
    uuid: bytes = bytes(16),
    copy_sparse: CopySparse | None = None,
    sparse_size: Callable[[], int] = lambda: 0,
) -> bytes:
    """The EROFS image of `root`.

    `uuid` tells layers apart (overlay needs it for inode numbers that survive a copy-up).
    `copy_sparse` is asked to lay out, in the second device, files whose pieces are not on
    block boundaries of the tar; without it such files are Corrupt.
    """
    return _Writer(root, copy_sparse).image(tar_size, uuid, sparse_size)


class _Writer:
    def __init__(self, root: Node, copy_sparse: CopySparse | None) -> None:
        self._root = root
        self._copy_sparse = copy_sparse
        self._epoch = _common_time(root)
        self._placed: list[_Placed] = []
        self._chunks: dict[int, tuple[int, bytes]] = {}
        self._end = _META_AT
        self._data = bytearray()
        self._uses_sparse = False

    def image(self, tar_size: int, uuid: bytes, sparse_size: Callable[[], int]) -> bytes:
        """Place every inode, then write each where it was placed."""
        if tar_size >> BLOCK_BITS >= _HOLE:
            raise Corrupt(f"erofs: a layer of {tar_size} bytes is too large to be indexed (2 TiB)")
        self._place_all()
        data_at = (self._end + BLOCK_SIZE - 1) // BLOCK_SIZE
        meta = bytearray(data_at * BLOCK_SIZE)
        for number, placed in enumerate(self._placed, 1):
            self._write(meta, placed, number, data_at)
        devices = [tar_size, sparse_size()] if self._uses_sparse else [tar_size]
        for index, size in enumerate(devices):
            _SLOT.pack_into(meta, _SLOTS_AT + 128 * index, b"", (size + BLOCK_SIZE - 1) >> BLOCK_BITS, 0)
        blocks = data_at + (len(self._data) >> BLOCK_BITS)
        self._write_super(meta, blocks, len(devices), uuid)
        meta += self._data
        return bytes(meta)

    def _write_super(self, meta: bytearray, blocks: int, devices: int, uuid: bytes) -> None:
        _SUPER.pack_into(
            meta,
            _SUPER_OFFSET,
            _MAGIC,
            0,
            _COMPAT_MTIME,
            BLOCK_BITS,
            0,
            self._root.position >> 5,
            len(self._placed),
            self._epoch,
            0,
            blocks,
            0,
            0,
            uuid,
            b"",
            _INCOMPAT,
            0,
            devices,
            _SLOTS_AT // 128,
            0,
            0,
            0,
            0,
        )

    def _place_all(self) -> None:
        """The root first: its number has 16 bits only.  A file's inodes follow its directory's."""
        stack = [self._root]
        self._place(self._root)
        self._root.parent_position = self._root.position
        while stack:
            parent = stack.pop()
            children = parent.children
            subdirectories = []
            for name in sorted(children):
                child = children[name]
                if not child.position:
                    self._place(child)
                    if child.kind == DIRECTORY:
                        child.parent_position = parent.position
                        subdirectories.append(child)
            subdirectories.reverse()
            stack += subdirectories

    def _place(self, node: Node) -> None:
        kind = node.kind
        xattrs = _xattr_area(node) if node.xattrs or node.opaque or node.implied else b""
        layout, tail = _FLAT_PLAIN, 0
        if kind == REGULAR:
            if node.size:
                layout, tail = _CHUNK_BASED, self._plan_chunks(node)
        elif kind in (DIRECTORY, SYMLINK):
            if kind == DIRECTORY:
                node.size = _directory_size(node)
            if node.size <= _INLINE_MAX:
                layout, tail = _FLAT_INLINE, node.size
        size = 32 if self._is_compact(node) else 64
        position = (self._end + 31) & ~31
        size += len(xattrs)
        if layout == _FLAT_INLINE:
            # The kernel wants inline data within one block.
            start = (position + size) & (BLOCK_SIZE - 1)
            if start + tail > BLOCK_SIZE:
                position = (position + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1)
                while ((position + size) & (BLOCK_SIZE - 1)) + tail > BLOCK_SIZE:
                    position += 32
        node.position = position
        self._end = ((position + size + 7) & ~7) + tail if layout == _CHUNK_BASED else position + size + tail
        self._placed.append(_Placed(node, layout, xattrs, tail))

    def _is_compact(self, node: Node) -> bool:
        return (
            node.mtime == self._epoch
            and not node.mtime_nsec
            and node.uid < 65536
            and node.gid < 65536
            and node.nlink < 65536
            and node.size < 1 << 32
        )

    def _plan_chunks(self, node: Node) -> int:
        """Decide on the chunks of a file; returns the bytes that its indexes take."""
        if node.segments is None:
            return 8
        bits, indexes = self._sparse_chunks(node, node.segments)
        self._chunks[id(node)] = (bits, indexes)
        return len(indexes)

    def _sparse_chunks(self, node: Node, segments: tuple[tuple[int, int], ...]) -> tuple[int, bytes]:
        """(chunk bits, indexes): pieces in place where all are aligned, else from the second device."""
        least = max(0, (node.size - 1).bit_length() - BLOCK_BITS - 16)
        least = min(least, _MAX_CHUNK_BITS)
        chunk = BLOCK_SIZE << least
        if _aligned(segments, chunk, node.size):
            starts = []
            where = node.data_offset
            for offset, length in segments:
                starts.append((offset, length, where))
                where += length
            return least, _indexes(node.size, chunk, starts, TAR_DEVICE)
        if self._copy_sparse is None:
            raise Corrupt("erofs: a sparse file is not aligned to blocks, and there is no second data file")
        chunk = max(chunk, 4096)
        base = self._copy_sparse(node, chunk)
        self._uses_sparse = True
        rounded = []
        for offset, length in segments:
            first = offset // chunk * chunk
            rounded.append((first, offset + length - first, base + first))
        return chunk.bit_length() - 1 - BLOCK_BITS, _indexes(node.size, chunk, rounded, SPARSE_DEVICE)

    def _write(self, meta: bytearray, placed: _Placed, number: int, data_at: int) -> None:
        node, layout = placed.node, placed.layout
        kind = node.kind
        union = 0
        end = node.position + len(placed.xattrs)
        compact = self._is_compact(node)
        end += 32 if compact else 64
        if layout == _CHUNK_BASED:
            at = (end + 7) & ~7
            plan = self._chunks.get(id(node))
            if plan is None:
                bits = max(0, (node.size - 1).bit_length() - BLOCK_BITS)
                if bits > _MAX_CHUNK_BITS:
                    raise Corrupt(f"erofs: a file of {node.size} bytes is too large to be indexed")
                _CHUNK_INDEX.pack_into(meta, at, 0, TAR_DEVICE, node.data_offset >> BLOCK_BITS)
            else:
                bits, indexes = plan
                meta[at : at + len(indexes)] = indexes
            union = bits | _CHUNK_INDEXES
        elif kind in (DIRECTORY, SYMLINK):
            data = self._directory(node) if kind == DIRECTORY else node.link
            if layout == _FLAT_INLINE:
                meta[end : end + len(data)] = data
            else:
                union = data_at + (len(self._data) >> BLOCK_BITS)
                self._data += data
                self._data += bytes(-len(data) % BLOCK_SIZE)
        elif kind in (CHARACTER, BLOCK):
            major, minor = node.rdev
            union = (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
        xattrs = placed.xattrs
        count = (len(xattrs) - 12) // 4 + 1 if xattrs else 0
        mode = kind | node.mode
        if compact:
            _COMPACT.pack_into(
                meta,
                node.position,
                layout << 1,
                count,
                mode,
                node.nlink,
                node.size,
                0,
                union,
                number,
                node.uid,
                node.gid,
                0,
            )
        else:
            _LONG.pack_into(
                meta,
                node.position,
                layout << 1 | _EXTENDED,
                count,
                mode,
                0,
                node.size,
                union,
                number,
                node.uid,
                node.gid,
                node.mtime & 0xFFFFFFFFFFFFFFFF,
                node.mtime_nsec,
                node.nlink,
            )
        if xattrs:
            meta[end - len(xattrs) : end] = xattrs

    def _directory(self, node: Node) -> bytes:
        """Blocks of entries, sorted over all blocks; names stand behind the entries of their block."""
        names = sorted([*node.children, b".", b".."])
        parent = node.parent_position >> 5
        blocks = []
        for first, last in _directory_blocks(names):
            entries, text = [], []
            offset = 12 * (last - first)
            for name in names[first:last]:
                if name == b".":
                    entries.append(_DIRENT.pack(node.position >> 5, offset, 2))
                elif name == b"..":
                    entries.append(_DIRENT.pack(parent, offset, 2))
                else:
                    child = node.children[name]
                    entries.append(_DIRENT.pack(child.position >> 5, offset, _FILE_TYPES[child.kind]))
                text.append(name)
                offset += len(name)
            blocks.append(b"".join(entries) + b"".join(text))
        padded = [block.ljust(BLOCK_SIZE, b"\0") for block in blocks[:-1]]
        return b"".join([*padded, blocks[-1]])


def _directory_blocks(names: list[bytes]) -> list[tuple[int, int]]:
    """Which names go to which block: (first, past the last)."""
    blocks = []
    first = used = 0
    for index, name in enumerate(names):
        need = 12 + len(name)
        if used + need > BLOCK_SIZE:
            blocks.append((first, index))
            first, used = index, 0
        used += need
    blocks.append((first, len(names)))
    return blocks


def _directory_size(node: Node) -> int:
    names = sorted([*node.children, b".", b".."])
    blocks = _directory_blocks(names)
    first, last = blocks[-1]
    return (len(blocks) - 1) * BLOCK_SIZE + sum(12 + len(name) for name in names[first:last])


def _common_time(root: Node) -> int:
    """The most frequent modification time: inodes that have it are half as large."""
    counts: dict[int, int] = {}
    stack = [root]
    while stack:
        for child in stack.pop().children.values():
            counts[child.mtime] = counts.get(child.mtime, 0) + 1
            if child.kind == DIRECTORY:
                stack.append(child)
    best = max(counts, key=lambda time: (counts[time], time), default=0)
    return max(best, 0)


def _xattr_area(node: Node) -> bytes:
    """The header and entries behind an inode; attributes are never shared between inodes."""
    items = sorted((node.xattrs or {}).items())
    if node.opaque:
        items.append(_OPAQUE)
    if node.implied:
        items.append((IMPLIED, b""))
    area = [_XATTR_HEADER]
    for name, value in items:
        for prefix, index in _XATTR_PREFIXES:
            if name.startswith(prefix):
                rest = name[len(prefix) :]
                entry = bytes((len(rest), index)) + len(value).to_bytes(2, "little") + rest + value
                area.append(entry + bytes(-len(entry) % 4))
                break
    joined = b"".join(area)
    if len(joined) > 12 + 4 * 65534:
        raise Corrupt("erofs: a file has more extended attributes than an inode can hold")
    return joined


def _aligned(segments: tuple[tuple[int, int], ...], chunk: int, size: int) -> bool:
    """True when every piece begins on a chunk, and ends on one or with the file."""
    return all(
        offset % chunk == 0 and (length % chunk == 0 or offset + length == size)
        for offset, length in segments
    )


def _indexes(size: int, chunk: int, pieces: list[tuple[int, int, int]], device: int) -> bytes:
    """Chunk indexes of a sparse file from (offset, length, where on the device)."""
    count = (size + chunk - 1) // chunk
    table = bytearray(_CHUNK_INDEX.pack(0, 0, _HOLE) * count)
    for offset, length, where in pieces:
        for at in range(0, length, chunk):
            _CHUNK_INDEX.pack_into(table, (offset + at) // chunk * 8, 0, device, (where + at) >> BLOCK_BITS)
    return bytes(table)
