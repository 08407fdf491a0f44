"""Docker's rules of `cp`, as a table; the real thing is compared in system/test_cp.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.cli import copypaths
from carboy.cli.copypaths import Side
from carboy.errors import InvalidArgument


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("web:/x", ("web", "/x")),
        ("web:x:y", ("web", "x:y")),
        ("web:", ("web", "")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("plain", ("", "plain")),
        ("-", ("", "-")),
    ],
)
def test_arguments(argument: str, found: tuple[str, str]) -> None:
    assert copypaths.split_argument(argument) == found


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/b/.", ("/a/b", ".")),
        ("a", (".", "a")),
        ("/", ("/", "/")),
        (".", (".", ".")),
        ("//a/../b", ("/", "b")),
    ],
)
def test_entries(path: str, entry: tuple[str, str]) -> None:
    assert copypaths.split_entry(path) == entry


FILE = Side("/s/f", exists=True, is_directory=False)
FOLDER = Side("/s/d", exists=True, is_directory=True)
TABLE: list[tuple[Side, str, str, tuple[str, str] | str]] = [
    (FILE, "/t", "directory", ("/t", "")),
    (FOLDER, "/t", "directory", ("/t", "")),
    (FILE, "/t/x", "file", ("/t", "x")),
    (FOLDER, "/t/x", "file", "cannot copy directory"),
    (FILE, "/t/x", "", ("/t", "x")),
    (FILE, "/t/x/", "", "no such directory"),
    (FILE, "/t/x/.", "", "no such directory"),
    (FOLDER, "/t/x", "", ("/t", "x")),
    (FOLDER, "/t/x/", "", ("/t", "x")),
]


@pytest.mark.parametrize(("source", "path", "there", "found"), TABLE)
def test_places(source: Side, path: str, there: str, found: tuple[str, str] | str) -> None:
    destination = Side(path, exists=bool(there), is_directory=there == "directory")
    if isinstance(found, str):
        with pytest.raises(InvalidArgument, match=found):
            copypaths.place(source, destination)
    else:
        assert copypaths.place(source, destination) == found


def test_links_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.symlink("d", tmp_path / "l")
    plain = copypaths.local_source(f"{tmp_path}/l", follow=False)
    assert (plain.path, plain.is_directory, plain.name) == (f"{tmp_path}/l", False, "")
    slash = copypaths.local_source(f"{tmp_path}/l/", follow=False)
    assert (slash.path, slash.is_directory, slash.name) == (f"{tmp_path}/d/", True, "l")
    contents = copypaths.local_source(f"{tmp_path}/l/.", follow=False)
    assert (contents.path, contents.is_directory, contents.name) == (f"{tmp_path}/d/.", True, "")
    followed = copypaths.local_source(f"{tmp_path}/l", follow=True)
    assert (followed.path, followed.is_directory, followed.name) == (f"{tmp_path}/d", True, "l")


def test_destinations(tmp_path: Path) -> None:
    os.symlink("new", tmp_path / "dangling")
    found = copypaths.local_destination(f"{tmp_path}/dangling")
    assert (found.path, found.exists) == (f"{tmp_path}/new", False)
    with pytest.raises(FileNotFoundError):
        copypaths.local_destination(f"{tmp_path}/no/such")
