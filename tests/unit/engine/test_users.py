"""Docker's USER forms, and the ways in which hostile account files must not make somebody root."""

from __future__ import annotations

import pytest

from carboy.engine.users import Identity, resolve
from carboy.errors import InvalidArgument

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\n# c\nbad\n:x:5:5::/:\n0001:x:0:0::/:\n"
)
GROUP = b"root:x:0:\nme:x:1001:\nextra:x:2000:me,you\nwheel:x:10:root\n"


def identity(user: str, *added: str) -> Identity:
    return resolve(user, added, passwd=PASSWD, group=GROUP)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, "/root", (10,))),
        ("root", Identity(0, 0, "/root", (10,))),
        ("me", Identity(1000, 1001, "/home/me", (2000,))),
        ("1000", Identity(1000, 1001, "/home/me", (2000,))),
        ("1", Identity(1, 0, "/", ())),
        ("1:1", Identity(1, 1, "/", ())),
        ("1:", Identity(1, 0, "/", ())),
        (":1", Identity(0, 1, "/root", ())),
        ("me:extra", Identity(1000, 2000, "/home/me", ())),
        ("0001", Identity(1, 0, "/", ())),
    ],
)
def test_forms(user: str, expected: Identity) -> None:
    assert identity(user) == expected


@pytest.mark.parametrize(
    "user", ["nobody", "4294967296", "me:nogroup", "99999999999999999999999", "-1", "0x0", "¹"]
)
def test_unknown_and_overflowing_users_are_refused(user: str) -> None:
    with pytest.raises(InvalidArgument):
        identity(user)


def test_added_groups() -> None:
    assert identity("me:me", "extra", "77").groups == (2000, 77)


def test_lines_with_overflowing_ids_are_skipped() -> None:
    with pytest.raises(InvalidArgument):
        resolve("evil", (), passwd=b"evil:x:4294967296:0::/:\n", group=b"")


def test_without_account_files_root_and_numbers_work() -> None:
    assert resolve("", (), passwd=b"", group=b"") == Identity(0, 0, "/", ())
    assert resolve("7:8", ("9",), passwd=b"", group=b"") == Identity(7, 8, "/", (9,))
