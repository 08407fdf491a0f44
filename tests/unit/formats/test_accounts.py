"""Owners of `--chown`: names and numbers as the builder of Docker has them."""

from __future__ import annotations

import pytest

from carboy.errors import InvalidArgument
from carboy.formats.accounts import needs_files, resolve, resolve_owner

PASSWD = b"root:x:0:0::/root:/bin/sh\njoe:x:1001:1002::/home/joe:/bin/sh\n5:x:9:9::/:/bin/sh\nbroken:x:y:z\n"
GROUP = b"root:x:0:\nstaff:x:50:joe\n"


@pytest.mark.parametrize(
    ("owner", "ids"),
    [
        ("0", (0, 0)),
        ("5", (5, 5)),
        ("5:6", (5, 6)),
        ("joe", (1001, 1002)),
        ("joe:staff", (1001, 50)),
        ("joe:7", (1001, 7)),
        ("7:staff", (7, 50)),
        (":7", (0, 7)),
        ("joe:", (1001, 1002)),
        ("2147483647", (2**31 - 1, 2**31 - 1)),
        ("root", (0, 0)),
        ("root:staff", (0, 50)),
        ("joe:root", (1001, 0)),
    ],
)
def test_owners(owner: str, ids: tuple[int, int]) -> None:
    assert resolve_owner(owner, passwd=PASSWD, group=GROUP) == ids


@pytest.mark.parametrize(
    "owner", ["ann", "broken", "joe:ops", "-1", "4294967296", "2147483648", "0:99999999999999999999999"]
)
def test_what_is_unknown_or_impossible_is_refused(owner: str) -> None:
    with pytest.raises(InvalidArgument, match=r"unable to find|must be in range"):
        resolve_owner(owner, passwd=PASSWD, group=GROUP)


@pytest.mark.parametrize(
    ("owner", "needed"),
    [("5", False), ("5:6", False), (":6", False), ("joe", True), ("5:staff", True), ("root:root", False)],
)
def test_numbers_need_no_files(owner: str, needed: bool) -> None:
    assert needs_files(owner) is needed


def test_root_is_known_where_nobody_is() -> None:
    """`FROM scratch` and `COPY --chown=root:root`, as with BuildKit."""
    assert resolve_owner("root:root", passwd=b"", group=b"") == (0, 0)
    identity = resolve("root:root", [], passwd=b"", group=b"")
    assert (identity.uid, identity.gid) == (0, 0)
