"""/etc/passwd and /etc/group of an image: who a name or number means there.

    user                  name or uid; group and supplementary groups from the files
    user:group            names or numbers; no supplementary groups of the user
    --group-add           names or numbers, added to either
    --chown               the same forms, but a uid alone is its own gid, as the builder of Docker has it

"root" is 0 for the builder whatever the files say, and for everybody when they do not know it: images
that begin from nothing have none.

The files belong to the image, hence are hostile: lines that make no sense are skipped.  A number
is a number: it is never looked up as a *name*, and one beyond 31 bits is refused rather than wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from carboy.errors import InvalidArgument

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


def resolve(user: str, group_add: Iterable[str], *, passwd: bytes, group: bytes) -> Identity:
    """Read `user` (USER of an image, or --user); raises InvalidArgument naming what is unknown."""
    user_part, colon, group_part = user.partition(":")
    user_part = user_part or "0"
    accounts = list(_accounts(passwd))
    account = _find_account(user_part, accounts)
    if account is None and (_is_number(user_part) or user_part == "root"):
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


def resolve_owner(owner: str, *, passwd: bytes, group: bytes) -> tuple[int, int]:
    """(uid, gid) of a `--chown`; raises InvalidArgument naming what is unknown."""
    user_part, colon, group_part = owner.partition(":")
    user_part = user_part or "0"
    if _is_number(user_part) or user_part == "root":
        uid = gid = _number(user_part, owner)
    else:
        account = _find_account(user_part, list(_accounts(passwd)))
        if account is None:
            raise InvalidArgument(f"unable to find user {user_part[:80]}: no matching entries in passwd file")
        uid, gid = account.uid, account.gid
    if colon and group_part:
        gid = _find_group(group_part, list(_groups(group)))
    return uid, gid


def needs_files(owner: str) -> bool:
    """Whether a name has to be looked up to know what `owner` means."""
    return not all(_is_number(part) or part == "root" for part in owner.split(":", 1) if part)


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
    if name == "root":
        return 0
    raise InvalidArgument(f"unable to find group {name[:80]}: no matching entries in group file")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str, user: str) -> int:
    if text == "root":
        return 0
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
