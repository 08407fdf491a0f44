"""The tar reader: every dialect, and every lie."""

from __future__ import annotations

import io
import tarfile

import pytest

from carboy.errors import Corrupt, Unsupported
from carboy.formats.tar import DIRECTORY, HARDLINK, REGULAR, ForwardReader, TarEntry, TarLimits, scan
from support import tars


def read(archive: bytes, *, limits: TarLimits | None = None, require_end: bool = True) -> list[TarEntry]:
    entries = list(scan(lambda o, n: archive[o : o + n], limits=limits, require_end=require_end))
    streamed = list(scan(ForwardReader(io.BytesIO(archive).read), limits=limits, require_end=require_end))
    assert [repr(entry) for entry in entries] == [repr(entry) for entry in streamed]
    return entries


def refixed(header: bytes) -> bytes:
    """A header block with its checksum made right."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_dialect_gives_the_same_members(dialect: int) -> None:
    long = "d/" * 40 + "f" * 90
    archive = tars.make(
        tars.directory("d"),
        tars.file("d/file", b"contents", mode=0o4755, uid=7, gid=8),
        tars.symlink("d/link", "file"),
        tars.hardlink("d/hard", "d/file"),
        tars.file(long, b"x"),
        dialect=dialect,
    )
    entries = read(archive)
    assert [entry.unsafe_path.rstrip(b"/") for entry in entries] == [
        b"d",
        b"d/file",
        b"d/link",
        b"d/hard",
        long.encode(),
    ]
    file = entries[1]
    assert (file.kind, file.mode, file.uid, file.gid, file.size) == (REGULAR, 0o4755, 7, 8, 8)
    assert archive[file.data_offset : file.data_offset + file.size] == b"contents"
    assert (entries[3].kind, entries[3].link) == (HARDLINK, b"d/file")


def test_pax_says_what_ustar_cannot() -> None:
    archive = tars.make(
        tars.file(
            "f", b"abc", uid=3_000_000, pax={"mtime": "-1.25", "SCHILY.xattr.user.k": "v=1\n", "comment": "x"}
        )
    )
    (entry,) = read(archive)
    assert (entry.uid, entry.mtime, entry.mtime_nsec) == (3_000_000, -2, 750_000_000)
    assert entry.xattrs == {b"user.k": b"v=1\n"}


def test_libarchive_attributes_are_decoded() -> None:
    (entry,) = read(tars.make(tars.file("f", pax={"LIBARCHIVE.xattr.user.%6b": "dg"})))
    assert entry.xattrs == {b"user.k": b"v"}


def test_global_records_hold_until_taken_back() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"uid": "77"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
        one = tarfile.TarInfo("b")
        one.pax_headers = {"uid": "5"}
        archive.addfile(one)
    assert [entry.uid for entry in read(buffer.getvalue())] == [77, 5]


def test_base_256_numbers() -> None:
    header = bytearray(tars.make(tars.file("f"), dialect=tarfile.USTAR_FORMAT))
    header[124:136] = b"\x80" + (9 << 30).to_bytes(11, "big")
    with pytest.raises(Corrupt, match="truncated"):
        read(refixed(bytes(header[:512])) + bytes(1024))
    header[124:136] = b"\xff" * 12
    with pytest.raises(Corrupt, match="size"):
        read(refixed(bytes(header[:512])) + bytes(1024))


def test_names_are_any_bytes() -> None:
    archive = tars.make(tars.file("x\udcff\udcfe", b"1"), dialect=tarfile.GNU_FORMAT)
    assert read(archive)[0].unsafe_path == b"x\xff\xfe"


def test_an_old_directory_is_one_by_its_slash() -> None:
    header = bytearray(tars.make(tars.file("dir/"), dialect=tarfile.USTAR_FORMAT)[:512])
    header[0:4] = b"dir/"
    header[156] = 0
    assert read(refixed(bytes(header)) + bytes(1024))[0].kind == DIRECTORY


def test_every_truncation_is_corrupt() -> None:
    archive = tars.make(tars.file("a" * 120, b"x" * 700), tars.file("b", b"y" * 10))
    end = archive.rindex(b"y") + 1
    for length in range(1, end, 37):
        with pytest.raises(Corrupt):
            read(archive[:length])


def test_without_an_end_marker_only_when_allowed() -> None:
    archive = tars.make(tars.file("a", b"x"))[:1024]
    assert len(read(archive, require_end=False)) == 1
    with pytest.raises(Corrupt, match="end marker"):
        read(archive)


@pytest.mark.parametrize(
    "records",
    [
        b"99999999999999999999 path=x\n",
        b"-1 path=x\n",
        b"12 path=abcd",
        b"no record\n",
        b"10 =value\n",
        b"12 size=-12\n",
        b"25 size=99999999999999999\n",
        b"11 mtime=x\n",
    ],
)
def test_malformed_pax_is_corrupt(records: bytes) -> None:
    header = bytearray(tars.make(tars.file("x"), dialect=tarfile.USTAR_FORMAT)[:512])
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % len(records)
    body = records + bytes(-len(records) % 512)
    with pytest.raises(Corrupt):
        read(refixed(bytes(header)) + body + tars.make(tars.file("x")))


def test_extension_headers_are_bounded_in_size_and_number() -> None:
    header = bytearray(tars.make(tars.file("x"), dialect=tarfile.USTAR_FORMAT)[:512])
    header[156:157] = b"L"
    header[124:136] = b"%011o\0" % (1 << 30)
    with pytest.raises(Corrupt, match="over the limit"):
        read(refixed(bytes(header)) + bytes(1024))
    header[124:136] = b"%011o\0" % 1
    one = refixed(bytes(header)) + b"a" + bytes(511)
    with pytest.raises(Corrupt, match="too many"):
        read(one * 100 + tars.make(tars.file("x")))
    with pytest.raises(Corrupt, match="more than 2"):
        read(tars.make(*[tars.file("x")] * 3), limits=TarLimits(entries=2))


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("backwards", {"GNU.sparse.map": "8,4,0,4", "GNU.sparse.size": "12"}),
        ("outside", {"GNU.sparse.map": "0,4,100,4", "GNU.sparse.size": "12"}),
        ("overlapping", {"GNU.sparse.map": "0,4,2,4", "GNU.sparse.size": "12"}),
        ("more than stored", {"GNU.sparse.map": "0,4,4,5", "GNU.sparse.size": "12"}),
        ("odd", {"GNU.sparse.map": "0,4,4", "GNU.sparse.size": "12"}),
        ("huge", {"GNU.sparse.map": "0,8", "GNU.sparse.size": "99999999999999999999"}),
        ("map without end", {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}),
    ],
)
def test_impossible_sparse_maps_are_corrupt(name: str, records: dict[str, str]) -> None:
    with pytest.raises(Corrupt):
        read(tars.make(tars.file("f", b"12345678", pax=records)))


def test_unknown_types_are_refused() -> None:
    header = bytearray(tars.make(tars.file("x"), dialect=tarfile.USTAR_FORMAT)[:512])
    header[156:157] = b"M"
    with pytest.raises(Unsupported):
        read(refixed(bytes(header)) + bytes(1024))


def test_rubbish_is_not_a_tar() -> None:
    with pytest.raises(Corrupt, match="checksum"):
        read(b"rubbish " * 256)
