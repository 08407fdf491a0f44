"""Tars for tests: made by Python's tarfile or by GNU tar, never by the code under test."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field


@dataclass
class Member:
    """One member, by its tar type."""

    name: str
    type: bytes = tarfile.REGTYPE
    data: bytes = b""
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_600_000_000
    device: tuple[int, int] = (0, 0)
    pax: dict[str, str] = field(default_factory=dict)


def directory(name: str, mode: int = 0o755, **more: object) -> Member:
    """A directory."""
    return Member(name, tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]  # keywords of Member


def file(name: str, data: bytes = b"", **more: object) -> Member:
    """A regular file."""
    return Member(name, data=data, **more)  # type: ignore[arg-type]  # keywords of Member


def symlink(name: str, target: str) -> Member:
    """A symbolic link."""
    return Member(name, tarfile.SYMTYPE, link=target, mode=0o777)


def hardlink(name: str, target: str) -> Member:
    """A hard link."""
    return Member(name, tarfile.LNKTYPE, link=target)


def make(*members: Member, dialect: int = tarfile.PAX_FORMAT) -> bytes:
    """The archive of `members`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type = member.type
            info.mode, info.uid, info.gid, info.mtime = member.mode, member.uid, member.gid, member.mtime
            info.linkname = member.link
            info.devmajor, info.devminor = member.device
            info.pax_headers = dict(member.pax)
            info.size = len(member.data)
            archive.addfile(info, io.BytesIO(member.data))
    return buffer.getvalue()
