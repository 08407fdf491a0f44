"""Packs: what dulwich writes is read, what is hostile is refused; what we write is read by dulwich."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from io import BytesIO

import pytest
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import Blob, ShaFile
from dulwich.pack import PackData, create_delta, load_pack_index_file, write_pack_objects

from carboy.errors import Corrupt
from carboy.formats.gitindex import find_in_pack
from carboy.formats.gitpack import BLOB, TREE, Pack, PackLimits, apply_delta, read_one
from carboy.formats.gitwriting import PackWriter, Plan


def packed(*objects: tuple[int, bytes, bytes]) -> bytes:
    """A pack of (kind, base, data), base as it stands in the pack."""
    body = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, base, data in objects:
        body += header(kind, len(data)) + base + zlib.compress(data)
    return body + hashlib.sha1(body).digest()


def header(kind: int, size: int) -> bytes:
    first, size = (kind << 4) | (size & 15), size >> 4
    encoded = []
    while size:
        encoded.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes([*encoded, first])


def name_of(data: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).digest()


def pack_of(data: bytes, **limits: int) -> Pack:
    return Pack(memoryview(data), limits=PackLimits(**limits))


def delta(base: bytes, target: bytes) -> bytes:
    return b"".join(create_delta(base, target))


def test_what_dulwich_writes_is_read() -> None:
    random.seed(1)
    blobs = [Blob.from_string(random.randbytes(size)) for size in (0, 1, 15, 16, 4095, 70_000, 3_000_000)]
    buffer = BytesIO()
    write_pack_objects(buffer, [(blob, None) for blob in blobs], object_format=DEFAULT_OBJECT_FORMAT)
    pack = pack_of(buffer.getvalue())
    for blob in blobs:
        name = bytes.fromhex(blob.id.decode())
        assert pack.find(name).size == len(blob.data)
        assert b"".join(pack.pieces(name)) == blob.data
        assert pack.read(name, BLOB) == blob.data
    assert len(list(pack)) == len(blobs)


def test_deltas_are_put_together_whatever_their_order() -> None:
    texts = [b"".join(b"line %d\n" % n for n in range(500)) + b"version %d\n" % v for v in range(4)]
    deltas = [delta(texts[v], texts[v + 1]) for v in range(3)]
    # By name, the last one first: every base comes later in the pack.
    pack = pack_of(
        packed(
            (7, name_of(texts[2]), deltas[2]),
            (7, name_of(texts[1]), deltas[1]),
            (7, name_of(texts[0]), deltas[0]),
            (BLOB, b"", texts[0]),
        )
    )
    for text in texts:
        assert pack.read(name_of(text), BLOB) == text


def test_a_delta_by_offset() -> None:
    base, target = b"base " * 100, b"base " * 100 + b"more"
    first = header(BLOB, len(base)) + zlib.compress(base)
    distance = len(first)
    encoded = bytes([distance]) if distance < 128 else bytes([((distance >> 7) - 1) | 0x80, distance & 0x7F])
    pack = pack_of(packed((BLOB, b"", base), (6, encoded, delta(base, target))))
    assert pack.read(name_of(target), BLOB) == target
    assert pack.find(name_of(target)).is_delta


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no pack"),
        (b"PACK" + bytes(40), "version 0"),
        (packed((5, b"", b"x")), "unknown kind"),
        (packed((7, bytes(20), b"\x01\x01\x01x")), "bases are missing"),
        (packed((6, b"\x7f", b"\x01\x01\x01x")), "outside the pack"),
        (packed((BLOB, b"", b"x"))[:-1] + b"\0", "its sum"),
    ],
)
def test_damaged_packs_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(Corrupt, match=words):
        pack_of(data)


def test_a_pack_that_lies_about_counts_and_sizes_is_refused() -> None:
    def summed(body: bytes) -> bytes:
        return body + hashlib.sha1(body).digest()

    one = header(BLOB, 5) + zlib.compress(b"12345")
    for body, words in (
        (b"PACK" + struct.pack(">II", 2, 2) + one, "ends inside|header"),
        (b"PACK" + struct.pack(">II", 2, 0) + one, "goes on after"),
        (
            b"PACK" + struct.pack(">II", 2, 1) + header(BLOB, 4) + zlib.compress(b"12345"),
            "larger than it says",
        ),
        (
            b"PACK" + struct.pack(">II", 2, 1) + header(BLOB, 6) + zlib.compress(b"12345"),
            "smaller than it says",
        ),
        (b"PACK" + struct.pack(">II", 2, 1) + header(BLOB, 5) + b"rubbish", "is damaged"),
        (b"PACK" + struct.pack(">II", 2, 1) + b"\xff" * 20, "header of an object|damaged"),
    ):
        with pytest.raises(Corrupt, match=words):
            pack_of(summed(body))


def test_bombs_are_refused() -> None:
    zeros = bytes(1 << 20)
    with pytest.raises(Corrupt, match="more than"):
        pack_of(packed(*[(BLOB, b"", zeros + bytes([n])) for n in range(4)]), inflated=3 << 20)
    with pytest.raises(Corrupt, match="more than"):
        pack_of(packed((TREE, b"", zeros)), in_memory=1000)
    with pytest.raises(Corrupt, match="objects"):
        pack_of(packed(*[(BLOB, b"", b"%d" % n) for n in range(20)]), objects=10)
    # A delta of ten bytes that makes gigabytes.
    copy = b"\x80" * 100_000
    bomb = b"\x80\x80\x04" + b"\x80\x80\x80\x80\x10" + copy
    base = bytes(65536)
    with pytest.raises(Corrupt, match="refused for one that is a delta"):
        pack_of(packed((BLOB, b"", base), (7, name_of(base), bomb)), in_memory=10 << 20)


def test_large_files_come_in_pieces_of_bounded_size() -> None:
    data = bytes(40 << 20)
    pack = pack_of(packed((BLOB, b"", data)), in_memory=1 << 20)
    sizes = [len(piece) for piece in pack.pieces(name_of(data))]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 1 << 20
    with pytest.raises(Corrupt, match="more than is read at once"):
        pack.read(name_of(data), BLOB)


@pytest.mark.parametrize(
    "commands",
    [
        b"\x05\x03\x03ab",
        b"\x05\x03\x00",
        b"\x05\x03\x91",
        b"\x05\x03\x91\x03\x05",
        b"\x05\x02\x03abc",
        b"\x05\x04\x03abc",
        b"\x06\x03\x03abc",
        b"\x05",
        b"",
        b"\x85",
    ],
)
def test_damaged_deltas_are_refused(commands: bytes) -> None:
    with pytest.raises(Corrupt):
        apply_delta(b"01234", commands, limit=1000)


@pytest.mark.property
def test_deltas_are_applied_as_by_dulwich() -> None:
    generator = random.Random(7)
    for _ in range(200):
        base = generator.randbytes(generator.randrange(1, 3000))
        cut = generator.randrange(len(base))
        target = base[cut:] + generator.randbytes(generator.randrange(300)) + base[:cut]
        assert apply_delta(base, delta(base, target), limit=1 << 20) == target


@pytest.mark.property
def test_changed_bytes_never_do_more_than_raise() -> None:
    generator = random.Random(3)
    base = b"line\n" * 300
    whole = packed((BLOB, b"", base), (7, name_of(base), delta(base, base + b"x")), (TREE, b"", b""))[:-20]
    for _ in range(500):
        changed = bytearray(whole)
        for _ in range(generator.randrange(1, 4)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        try:
            pack_of(bytes(changed) + hashlib.sha1(changed).digest())
        except Corrupt:
            pass


def test_what_is_written_is_read_by_dulwich_and_by_us() -> None:
    random.seed(2)
    datas = [random.randbytes(size) for size in (0, 1, 100, 0xFFFF, 0x10000, 200_000)]
    by_name = {name_of(data): data for data in datas}

    def pieces(name: bytes) -> list[bytes]:
        data = by_name[name]
        return [data[start : start + 777] for start in range(0, len(data), 777)]

    writer = PackWriter([Plan(name, BLOB, len(data)) for name, data in by_name.items()], pieces)
    pack, index = b"".join(writer.pack()), b"".join(writer.index())
    assert (len(pack), len(index)) == (writer.size, writer.index_size)
    ours = pack_of(pack)
    theirs = PackData.from_file(BytesIO(pack), DEFAULT_OBJECT_FORMAT, len(pack))
    their_index = load_pack_index_file("x", BytesIO(index), DEFAULT_OBJECT_FORMAT)
    their_index.check()
    theirs.check()
    for name, data in by_name.items():
        offset = their_index.object_offset(name)  # type: ignore[arg-type]  # dulwich's own kind of bytes
        kind, chunks = theirs.get_object_at(offset)
        assert ShaFile.from_raw_chunks(kind, chunks).as_raw_string() == data  # type: ignore[arg-type]
        assert ours.read(name, BLOB) == data

        def read_at(place: int, count: int) -> bytes:
            return index[place : place + count]

        assert find_in_pack(read_at, len(index), name) == offset
        assert read_one(memoryview(pack), offset, lambda _: None) == (BLOB, data)
    assert find_in_pack(lambda place, count: index[place : place + count], len(index), bytes(20)) is None
    theirs.close()
    their_index.close()


def test_the_deltas_of_a_chain_are_bounded_together() -> None:
    """Each may be as long as an object, and there may be thousands."""
    entries, starts = b"", []
    for _ in range(20):  # each stands on the one before; the first one on itself is never reached
        starts.append(12 + len(entries))
        back = bytes([starts[-1] - starts[-2]]) if len(starts) > 1 else b"\1"
        entries += header(6, 90) + back + zlib.compress(bytes(90))
    body = b"PACK" + struct.pack(">II", 2, 20) + entries
    pack = memoryview(body + hashlib.sha1(body).digest())
    with pytest.raises(Corrupt, match="more than is read at once"):
        read_one(pack, starts[-1], lambda _: None, limit=100)
