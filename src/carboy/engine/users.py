"""Who a container's program runs as: Docker's USER forms, resolved with the image's own files.

    user                  name or uid; group and supplementary groups from /etc/passwd and /etc/group
    user:group            names or numbers; no supplementary groups of the user
    --group-add           names or numbers, added to either

The files belong to the image, hence are hostile: they are opened through openat2 in the
root, read up to a bound, and lines that make no sense are skipped.  A number is a number:
it is never looked up as a *name*, and one beyond 32 bits is refused rather than wrapped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from carboy.errors import InvalidArgument
from carboy.linux.paths import open_in_root

MAX_FILE = 4 << 20
MAX_GROUPS = 65536
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The resolved user: numeric ids, home directory, supplementary groups."""

    uid: int
    gid: int
    home: str = "/"
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


def read_account_files(root: int) -> tuple[bytes, bytes]:
    """The contents of /etc/passwd and /etc/group below the directory descriptor `root`, bounded."""
    return _read(root, "etc/passwd"), _read(root, "etc/group")


def resolve(user: str, group_add: Iterable[str], *, passwd: bytes, group: bytes) -> Identity:
    """Read `user` (USER of an image, or --user); raises InvalidArgument naming what is unknown."""
    user_part, colon, group_part = user.partition(":")
    user_part = user_part or "0"
    accounts = list(_accounts(passwd))
    account = _find_account(user_part, accounts)
    if account is None and _is_number(user_part):
        account = _Account("", _number(user_part, user), 0, "/")
    if account is None:
        raise InvalidArgument(f"unable to find user {user_part[:80]}: no matching entries in passwd file")
    groups = list(_groups(group))
    gid = _find_group(group_part, groups) if colon and group_part else account.gid
    supplementary = [] if colon and group_part else [g for _, g, members in groups if account.name in members]
    supplementary += [_find_group(name, groups) for name in group_add]
    return Identity(
        uid=account.uid,
        gid=gid,
        home=account.home or "/",
        groups=tuple(dict.fromkeys(supplementary)),
    )


def _find_account(name: str, accounts: list[_Account]) -> _Account | None:
    if _is_number(name):
        uid = _number(name, name)
        return next((account for account in accounts if account.uid == uid), None)
    return next((account for account in accounts if account.name == name), None)


def _find_group(name: str, groups: list[tuple[str, int, frozenset[str]]]) -> int:
    if _is_number(name):
        return _number(name, name)
    for group_name, gid, _ in groups:
        if group_name == name:
            return gid
    raise InvalidArgument(f"unable to find group {name[:80]}: no matching entries in group file")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str, user: str) -> int:
    number = int(text) if len(text) <= 20 else _MAX_ID + 1
    if number > _MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{_MAX_ID}: {user[:40]!r}")
    return number


def _accounts(passwd: bytes) -> Iterable[_Account]:
    for line in passwd.split(b"\n"):
        fields = line.decode("utf-8", "surrogateescape").split(":")
        if len(fields) < 4 or not fields[0] or fields[0].startswith("#"):
            continue
        uid, gid = _field_number(fields[2]), _field_number(fields[3])
        if uid is not None and gid is not None:
            yield _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "/")


def _groups(group: bytes) -> Iterable[tuple[str, int, frozenset[str]]]:
    for count, line in enumerate(group.split(b"\n")):
        if count > MAX_GROUPS:
            return
        fields = line.decode("utf-8", "surrogateescape").split(":")
        if len(fields) < 3 or not fields[0] or fields[0].startswith("#"):
            continue
        gid = _field_number(fields[2])
        if gid is not None:
            members = frozenset(filter(None, fields[3].split(","))) if len(fields) > 3 else frozenset()
            yield fields[0], gid, members


def _field_number(text: str) -> int | None:
    if not _is_number(text) or len(text) > 10:
        return None
    number = int(text)
    return number if number <= _MAX_ID else None


def _read(root: int, unsafe_path: str) -> bytes:
    try:
        descriptor = open_in_root(root, unsafe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, 0)
    except OSError:
        return b""
    # A file object of a directory cannot even be made, so the kind is asked first.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return b""
    with open(descriptor, "rb", buffering=0) as file:
        data = b""
        while len(data) < MAX_FILE:
            chunk = file.read(MAX_FILE - len(data))
            if not chunk:
                break
            data += chunk
    if len(data) >= MAX_FILE:
        data = data[: data.rfind(b"\n") + 1]
    return data
