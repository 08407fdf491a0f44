"""Paths inside a root: links are followed within it, what is missing is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carboy.build.copying.places import Opener, Place, clean, locate, shown


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    top = tmp_path / "root"
    (top / "dir" / "sub").mkdir(parents=True)
    (top / "dir" / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    for name, target in {
        "link": "dir",
        "absolute": "/dir/sub",
        "climbing": "../../../../../../outside",
        "up": "dir/sub/../../link",
        "dangling": "gone/far",
        "loop": "pool",
        "pool": "loop",
        "self": ".",
    }.items():
        (top / name).symlink_to(target)
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def found(root: int, path: str) -> tuple[str, str]:
    place = locate(root, path.encode())
    return b"/".join(place.parts).decode(), b"/".join(place.missing).decode()


@pytest.mark.parametrize(
    ("path", "there", "missing"),
    [
        ("", "", ""),
        ("dir/sub", "dir/sub", ""),
        ("/dir//./sub/", "dir/sub", ""),
        ("link/sub", "dir/sub", ""),
        ("absolute", "dir/sub", ""),
        ("up/file", "dir/file", ""),
        ("self/self/dir", "dir", ""),
        ("../../dir", "dir", ""),
        ("climbing", "", "outside"),
        ("climbing/x", "", "outside/x"),
        ("dangling/x", "", "gone/far/x"),
        ("dir/new/deep", "dir", "new/deep"),
        ("dir/new/../other", "dir", "other"),
        ("dir/new/../../other", "", "other"),
    ],
)
def test_where_paths_lead(root: int, path: str, there: str, missing: str) -> None:
    assert found(root, path) == (there, missing)


@pytest.mark.parametrize(
    ("path", "code"),
    [("loop", errno.ELOOP), ("dir/file/x", errno.ENOTDIR), ("x" * 300, errno.ENAMETOOLONG)],
)
def test_what_leads_nowhere(root: int, path: str, code: int) -> None:
    with pytest.raises(OSError, match="Errno") as error:
        locate(root, path.encode())
    assert error.value.errno == code


def test_depth_is_bounded(root: int) -> None:
    top = b"/proc/self/fd/%d/" % root
    for depth in range(300):
        os.mkdir(top + b"d/" * depth + b"d")
    assert len(locate(root, b"d/" * 200).parts) == 200
    with pytest.raises(OSError, match="too long"):
        locate(root, b"d/" * 300)


def test_no_descriptor_stays_open(root: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in (b"dir/sub", b"up/file", b"dangling", b"dir/new"):
        locate(root, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_opener_follows_no_links(root: int) -> None:
    opener = Opener(root)
    try:
        assert os.listdir(opener.directory(b"dir")) in (["sub", "file"], ["file", "sub"])
        assert os.path.sameopenfile(opener.directory(b"dir/sub"), opener.directory(b"dir/sub"))
        for path in (b"link", b"link/sub", b"absolute", b"climbing"):
            with pytest.raises(OSError, match="Errno") as error:
                opener.directory(path)
            assert error.value.errno in (errno.ELOOP, errno.ENOTDIR)
        opener.directory(b"dir")
    finally:
        opener.close()


def test_paths_of_dockerfiles() -> None:
    assert clean("../../etc/../x//y/.") == b"x/y"
    assert clean("x", below="/work") == b"work/x"
    assert clean("../x", below="/work/dir") == b"work/x"
    assert clean("/") == b""


def test_any_bytes_have_a_text_of_their_own() -> None:
    assert shown("ünïcode".encode()) == "ünïcode"
    assert shown(b"\xff") != shown(b"\\xff")
    shown(b"\xff\xfe").encode()


@given(st.lists(st.sampled_from([b"\xff", rb"\xff", b" (bytes ff)", b")", b"a"]), max_size=6).map(b"".join))
@example(b"\xff")
@example(rb"\xff (bytes ff)")
def test_no_text_is_that_of_other_bytes(path: bytes) -> None:
    text = shown(path)
    assert text.startswith(path.decode("utf-8", "backslashreplace"))
    # Whatever has the same text without being the same can only be what is spelled like the text.
    for end in range(len(text) + 1):
        other = text[:end].encode()
        assert (shown(other) == text) == (other == path)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\")))
@example("notes (bytes 12)")
def test_names_without_backslashes_are_their_own_text(name: str) -> None:
    assert shown(name.encode()) == name


def test_a_place_knows_what_it_is(root: int) -> None:
    place = locate(root, b"dir/file")
    assert isinstance(place, Place)
    assert place.exists
    assert not place.is_directory
    assert locate(root, b"dir/new").path == b"dir/new"
