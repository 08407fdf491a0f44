"""Trees, commits and tags of git, hostile ones too."""

from __future__ import annotations

import pytest

from carboy.errors import Corrupt
from carboy.formats.gitobjects import DIRECTORY, is_git_directory, parse_commit, parse_tag, parse_tree

ID = bytes(range(20))
HEX = ID.hex().encode()
COMMIT = (
    b"tree "
    + HEX
    + b"\nparent "
    + HEX
    + b"\nauthor A <a@b> 1 +0000\ncommitter A > <a@b> 1700000000 +0100\n\ntree x\n"
)


def entry(name: bytes, mode: bytes = b"100644") -> bytes:
    return mode + b" " + name + b"\0" + ID


def test_a_tree_is_read() -> None:
    [one, two, three] = parse_tree(entry(b"a") + entry(b"d", b"40000") + entry(b"x", b"100664"))
    assert (one.name, oct(one.mode), one.id) == (b"a", "0o100644", ID)
    assert (two.name, two.mode) == (b"d", DIRECTORY)
    assert oct(three.mode) == "0o100644"


@pytest.mark.parametrize(
    "data",
    [
        b"100644",
        b"100644 a",
        b"100644 a\0short",
        b"1006448 a\0" + ID,
        b"-1 a\0" + ID,
        entry(b"a", b"100666"),
        entry(b"a", b"120777"),
        entry(b""),
        entry(b"a/b"),
        entry(b"a") + entry(b"a", b"40000"),
        entry(b"a") + b"x",
        entry(b"x" * 5000),
    ],
)
def test_damaged_trees_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        list(parse_tree(data))


@pytest.mark.parametrize(
    "name",
    [
        b".git",
        b".GiT",
        b".git...",
        b".git  ",
        b"GIT~1",
        b".git::$DATA",
        b".git\\x",
        "\u200c.git".encode(),
        ".gi\ufefft".encode(),
    ],
)
def test_spellings_of_a_repositorys_own_directory(name: bytes) -> None:
    assert is_git_directory(name)


@pytest.mark.parametrize(
    "name", [b".gitignore", b".gitmodules", b"git", b".github", b"a.git", "gé.git".encode()]
)
def test_other_names_are_no_repositorys_own_directory(name: bytes) -> None:
    assert not is_git_directory(name)


def test_a_commit_is_read() -> None:
    commit = parse_commit(COMMIT)
    assert (commit.tree, commit.time, commit.parents) == (ID, 1700000000, (ID,))


@pytest.mark.parametrize(
    "change",
    [
        (b"tree ", b"tree x"),
        (b"committer", b"comitter"),
        (b"1700000000", b"-5"),
        (b"1700000000", b"9" * 20),
        (b"parent 0", b"parent z"),
    ],
)
def test_damaged_commits_are_refused(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(Corrupt):
        parse_commit(COMMIT.replace(*change, 1))
    with pytest.raises(Corrupt):
        parse_commit(b"")


def test_a_tag_is_read() -> None:
    assert parse_tag(b"object " + HEX + b"\ntype commit\n") == ID
    with pytest.raises(Corrupt):
        parse_tag(b"object x\n")
