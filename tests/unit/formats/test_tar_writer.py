"""The canonical writer: golden bytes, and what tarfile reads back."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from carboy.errors import InvalidArgument
from carboy.formats.tar import (
    CHARACTER,
    DIRECTORY,
    END,
    HARDLINK,
    REGULAR,
    SYMLINK,
    PlainHeaders,
    TarEntry,
    encode,
    padding,
    scan,
)


def archive(*entries: TarEntry, epoch: int | None = None) -> bytes:
    pieces = []
    for entry in entries:
        pieces += [encode(entry, epoch=epoch), b"x" * entry.size, padding(entry.size)]
    return b"".join([*pieces, END])


ENTRIES = (
    TarEntry(b"a", DIRECTORY, mode=0o755, mtime=100),
    TarEntry(b"a/file", REGULAR, mode=0o4755, uid=1, gid=2, size=700, mtime=2_000_000_000),
    TarEntry(b"a/hard", HARDLINK, link=b"a/file"),
    TarEntry(b"a/link", SYMLINK, mode=0o777, link=b"t" * 150),
    TarEntry(b"a/tty", CHARACTER, mode=0o620, rdev=(5, 1)),
    TarEntry(
        b"d" * 90 + b"/" + b"e" * 90, REGULAR, uid=1 << 22, xattrs={b"user.b": b"2", b"user.a": b"\0\n"}
    ),
    TarEntry(b"f" * 200, REGULAR, mtime=-5),
)


def test_the_form_is_golden() -> None:
    """Changing this digest changes every layer that anybody builds."""
    digest = hashlib.sha256(archive(*ENTRIES, epoch=1_000_000_000)).hexdigest()
    assert digest == "92907d23b96d3584e06edf0ea782e7eca0c6da4d778343d33a546290b92b6d2d"


def test_what_is_written_is_read_back_by_tarfile_and_by_us() -> None:
    data = archive(*ENTRIES, epoch=1_000_000_000)
    with tarfile.open(fileobj=io.BytesIO(data)) as read:
        members = read.getmembers()
    ours = list(scan(lambda o, n: data[o : o + n], require_end=True))
    for entry, member, again in zip(ENTRIES, members, ours, strict=True):
        assert member.name.encode() == entry.unsafe_path == again.unsafe_path.rstrip(b"/")
        assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
        assert member.mtime == again.mtime == max(0, min(entry.mtime, 1_000_000_000))
        assert member.linkname.encode() == entry.link == again.link
        assert member.uname == member.gname == ""
    assert ours[5].xattrs == ENTRIES[5].xattrs


def test_pax_only_when_needed() -> None:
    assert len(encode(TarEntry(b"d" * 90 + b"/" + b"e" * 90, REGULAR))) == 512
    assert len(encode(TarEntry(b"e" * 101, REGULAR))) == 3 * 512


def test_foreign_attributes_are_dropped() -> None:
    xattrs = {
        b"security.selinux": b"x",
        b"trusted.overlay.opaque": b"y",
        b"user.overlay.origin": b"z",
        b"trusted.k": b"v",
    }
    assert len(encode(TarEntry(b"f", REGULAR, xattrs=xattrs))) == 512


def test_sparse_members_are_not_written() -> None:
    with pytest.raises(InvalidArgument):
        encode(TarEntry(b"f", REGULAR, size=10, segments=((0, 1),)))


@pytest.mark.parametrize("path", [b"a", b"dir/\xff\xfe name", b"x" * 100])
@pytest.mark.parametrize("size", [0, 1, 512, 8**11 - 1])
def test_plain_headers_are_the_same_bytes(path: bytes, size: int) -> None:
    headers = PlainHeaders(315_619_200)
    for mode, uid, gid in [(0o644, 0, 0), (0o4755, 1000, 7), (0, 0o7777777, 0o7777777)]:
        entry = TarEntry(path, REGULAR, mode=mode, uid=uid, gid=gid, size=size, mtime=315_619_200)
        assert headers.make(path, mode, uid, gid, size) == encode(entry)
        assert headers.make(path, mode, uid, gid, size) == encode(entry), "from what was remembered"


def test_what_is_not_plain_is_encoded_otherwise() -> None:
    headers = PlainHeaders(5)
    assert headers.make(b"x" * 101, 0o644, 0, 0, 0) is None
    assert headers.make(b"x", 0o644, 0o10000000, 0, 0) is None
    assert headers.make(b"x", 0o644, 0, 0, 8**11) is None
    assert PlainHeaders(-1).make(b"x", 0o644, 0, 0, 0) is None
