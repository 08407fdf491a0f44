"""Archives that try to change what lies outside the directory they are unpacked into.

The scenarios are those of containerd's TestBreakouts (links, hard links, names; whiteouts, which
mean nothing to `cp`), told in our own archives.  `OUTSIDE` is the name of a directory beside the
one that is unpacked into; it holds `file` with SENTINEL.
"""

from __future__ import annotations

from support.tars import Member, directory, file, hardlink, symlink

OUTSIDE = "outside"
SENTINEL = b"untouched"

_EVIL = b"evil"


def cases(outside: str) -> dict[str, list[Member]]:
    """By name: the members; `outside` is the absolute path of the directory to be left alone."""
    there = f"../{OUTSIDE}"
    return {
        "name up": [file(f"{there}/file", _EVIL)],
        "name up after down": [directory("a"), file(f"a/../../{OUTSIDE}/file", _EVIL)],
        "name absolute": [file(f"{outside}/file", _EVIL)],
        "name double slash": [file(f"/{outside}/file", _EVIL)],
        "directory up": [directory(f"{there}/new")],
        "directory is parent": [directory("..", 0o777)],
        "link absolute": [symlink("l", outside), file("l/file", _EVIL)],
        "link up and out": [symlink("l", there), file("l/file", _EVIL)],
        "link to the file": [symlink("l", f"{outside}/file"), file("l", _EVIL)],
        "link to the file, relative": [symlink("l", f"{there}/file"), file("l", _EVIL)],
        "links in a row, absolute": [symlink("m", outside), symlink("l", "m"), file("l/file", _EVIL)],
        "links in a row, relative": [symlink("m", there), symlink("l", "m"), file("l/file", _EVIL)],
        "link to the root": [symlink("l", "/"), file(f"l{outside}/file", _EVIL)],
        "link ends with a slash": [symlink("l/", outside), file("l/file", _EVIL)],
        "link to parent": [symlink("l", ".."), file(f"l/{OUTSIDE}/file", _EVIL)],
        "link over a directory": [directory("d"), symlink("d", outside), file("d/file", _EVIL)],
        "link over a directory, relative": [directory("d"), symlink("d", there), file("d/file", _EVIL)],
        "directory over a link": [symlink("l", outside), directory("l", 0o777), file("l/file", _EVIL)],
        "directory over a link, relative": [symlink("l", there), directory("l", 0o777), file("l/x", _EVIL)],
        "directory over a link, slash": [symlink("l", outside), directory("l/", 0o777)],
        "empty file through a link": [symlink("l", outside), file("l/empty")],
        "link through a link": [symlink("l", outside), symlink("l/m", "/"), file("l/m", _EVIL)],
        "directory through a link": [symlink("l", outside), directory("l/new/deep")],
        "hard link up": [hardlink("h", f"{there}/file"), file("h", _EVIL)],
        "hard link absolute": [hardlink("h", f"{outside}/file"), file("h", _EVIL)],
        "hard link down and out": [
            directory("a"),
            hardlink("h", f"a/../../{OUTSIDE}/file"),
            file("h", _EVIL),
        ],
        "hard link through a link": [symlink("l", outside), hardlink("h", "l/file"), file("h", _EVIL)],
        "hard link to a link": [symlink("l", f"{outside}/file"), hardlink("h", "l"), file("h", _EVIL)],
        "hard link into a link": [file("a", _EVIL), symlink("l", outside), hardlink("l/file", "a")],
        "hard link to the directory": [hardlink("h", outside), file("h/file", _EVIL)],
        "hard link, then directory": [symlink("l", outside), hardlink("h", "l"), directory("h", 0o777)],
        "whiteout of the parent": [file("../.wh.outside")],
        "whiteout of dots": [file(".wh..."), file(".wh.."), file(".wh./x", _EVIL)],
        "whiteout through a link": [symlink("l", outside), file("l/.wh.file")],
        "opaque through a link": [symlink("l", outside), file("l/.wh..wh..opq")],
    }
