"""What the sources of COPY mean in a directory: patterns, links, .dockerignore, --exclude, --parents."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from carboy.build.copying.hashcache import HashCache
from carboy.build.copying.scan import Scanner
from carboy.build.copying.select import Match, Selector
from carboy.build.trees import OpenTree
from carboy.errors import Cancelled, CarboyError, InvalidArgument, NotFound
from carboy.formats.dockerignore import Ignore

Select = Callable[..., list[Match]]


class Chooser:
    """Selects in a directory."""

    def __init__(self, top: Path, cache: Path) -> None:
        self.top = top
        self.cache = cache
        self.warnings: list[str] = []
        self.read = 0

    def __call__(
        self,
        pattern: str,
        *,
        ignore: str | None = None,
        exclude: tuple[str, ...] = (),
        parents: bool = False,
        is_context: bool = True,
    ) -> list[Match]:
        fd = os.open(self.top, os.O_PATH | os.O_DIRECTORY)
        try:
            with HashCache(str(self.cache)) as hashes:
                tree = OpenTree(fd, Ignore.parse(ignore) if ignore is not None else None, str(self.top))
                scanner = _Counting(tree, hashes, lambda: None, self.warnings.append)
                selector = Selector(tree, scanner, exclude, is_context=is_context)
                found = (selector.select_with_parents if parents else selector.select)(pattern)
                self.read = scanner.read
                return found
        finally:
            os.close(fd)

    def names(self, pattern: str, **options: object) -> list[str]:
        """Paths of everything, from the tree's root."""
        found = []
        for match in self(pattern, **options):  # type: ignore[arg-type]  # checked by the call itself
            for row in match.rows:
                found.append(os.fsdecode(b"/".join(part for part in (match.shown, row.path) if part)))
        return sorted(found)


class _Counting(Scanner):
    read = 0

    def _hash(self, parent: int, name: bytes, place: bytes) -> bytes:
        self.read += 1
        return super()._hash(parent, name, place)


@pytest.fixture
def select(tmp_path: Path) -> Chooser:
    top = tmp_path / "context"
    for name in (
        "a.txt",
        "b.txt",
        "src/c.txt",
        "src/deep/d.txt",
        "src/deep/e.py",
        "other/c.txt",
        "arr[0].txt",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "src" / "empty").mkdir()
    (top / "link").symlink_to("src")
    (top / "src" / "up").symlink_to("../a.txt")
    (tmp_path / "cache").mkdir()
    return Chooser(top, tmp_path / "cache")


def test_one_file(select: Chooser) -> None:
    (match,) = select("a.txt")
    assert (match.shown, match.is_dir, len(match.rows), match.rows[0].size) == (b"a.txt", False, 1, 5)


def test_contents_of_a_directory(select: Chooser) -> None:
    expected = ["src/c.txt", "src/deep", "src/deep/d.txt", "src/deep/e.py", "src/empty", "src/up"]
    assert select.names("src") == expected
    assert select.names("./src/.") == expected
    assert select.names("/src/") == expected
    assert select.names("../../src") == expected


def test_through_links_inside(select: Chooser) -> None:
    assert select.names("link/c.txt") == ["link/c.txt"]
    assert select.names("link/deep") == ["link/deep/d.txt", "link/deep/e.py"]
    (match,) = select("src/up")
    assert (match.place, match.rows[0].size) == (b"a.txt", 5)


def test_links_never_lead_outside(select: Chooser, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    for name, target in {
        "abs": str(tmp_path / "secret"),
        "rel": "../secret",
        "far": "../" * 30 + "etc/passwd",
    }.items():
        (select.top / name).symlink_to(target)
        with pytest.raises(NotFound, match=f"stat {name}: file does not exist"):
            select(name)


def test_wildcards(select: Chooser) -> None:
    assert select.names("*.txt") == ["a.txt", "arr[0].txt", "b.txt"]
    assert select.names("?.txt") == ["a.txt", "b.txt"]
    assert select.names("*/c.txt") == ["other/c.txt", "src/c.txt"]
    assert select.names("arr[[]0].txt") == ["arr[0].txt"]
    assert select.names("s*/d*") == ["src/deep/d.txt", "src/deep/e.py"]
    assert select.names("nothing*") == []


def test_links_on_the_way_of_wildcards_are_not_followed(select: Chooser) -> None:
    assert select.names("lin*/c.txt") == []
    assert select.names("lin*") == [f"link/{name[4:]}" for name in select.names("src")]


def test_what_is_missing_is_told(select: Chooser) -> None:
    with pytest.raises(NotFound, match=r"excluded by \.dockerignore: stat nope: file does not exist$"):
        select("nope")
    with pytest.raises(NotFound, match=r'stat src/cc\.txt: file does not exist; did you mean "src/c.txt"\?'):
        select("src/cc.txt")
    with pytest.raises(NotFound, match=r"stat a\.txt/x: file does not exist \(Not a directory\)"):
        select("a.txt/x")
    with pytest.raises(NotFound, match="keeps it out"):
        select("a.txt", ignore="*.txt")


@pytest.mark.parametrize("parents", [False, True])
def test_what_is_no_path_of_the_machine_is_told(select: Chooser, *, parents: bool) -> None:
    with pytest.raises(NotFound, match=r"stat outside: .* build with a larger one, or with --build-context$"):
        select("../outside", parents=parents)
    with pytest.raises(NotFound, match=r"a path begins in the context, not in this machine's root$"):
        select("/etc/passwd", parents=parents)
    with pytest.raises(NotFound, match=r"^COPY failed: stat etc/passwd: file does not exist$"):
        select("/etc/passwd", parents=parents, is_context=False)


def test_dockerignore(select: Chooser) -> None:
    assert select.names(".", ignore="src\nother\nlink\n*.txt") == []
    assert select.names("src", ignore="**/*.txt") == ["src/deep", "src/deep/e.py", "src/empty", "src/up"]
    assert select.names("src", ignore="src\n!src/deep/e.py") == ["src/deep", "src/deep/e.py"]
    assert select.names("*.txt", ignore="a.txt") == ["arr[0].txt", "b.txt"]
    with pytest.raises(NotFound, match="keeps it out"):
        select("src", ignore="src")


def test_dockerignore_counts_behind_links(select: Chooser) -> None:
    with pytest.raises(NotFound, match="keeps it out"):
        select("link/c.txt", ignore="src/c.txt")
    with pytest.raises(NotFound, match="keeps it out"):
        select("src/up", ignore="a.txt")


def test_exclude(select: Chooser) -> None:
    assert select.names("src", exclude=("**/*.txt",)) == ["src/deep", "src/deep/e.py", "src/empty", "src/up"]
    assert select.names("src", exclude=("deep",)) == ["src/c.txt", "src/empty", "src/up"]
    assert select.names("src", exclude=("*", "!deep/e.py")) == ["src/deep", "src/deep/e.py"]
    assert select.names("*.txt", exclude=("a*",)) == ["b.txt"]


def test_parents(select: Chooser) -> None:
    (match,) = select("src/deep/d.txt", parents=True)
    assert match.shown == b""
    assert sorted(row.path for row in match.rows) == [b"src", b"src/deep", b"src/deep/d.txt"]
    assert select.names("./src/deep", parents=True) == ["src", "src/deep", "src/deep/d.txt", "src/deep/e.py"]
    assert select.names("**/c.txt", parents=True) == ["other", "other/c.txt", "src", "src/c.txt"]
    assert select.names("s*/*.txt", parents=True) == ["src", "src/c.txt"]


def test_parents_from_a_pivot(select: Chooser) -> None:
    (match,) = select("src/./deep/d.txt", parents=True)
    assert match.shown == b"src"
    assert sorted(row.path for row in match.rows) == [b"deep", b"deep/d.txt"]
    matches = select("*/./c.txt", parents=True)
    assert sorted((match.shown, [row.path for row in match.rows]) for match in matches) == [
        (b"link", [b"c.txt"]),
        (b"other", [b"c.txt"]),
        (b"src", [b"c.txt"]),
    ]


def test_parents_need_what_has_no_wildcards(select: Chooser) -> None:
    with pytest.raises(NotFound, match="stat src/nope"):
        select("src/nope", parents=True)
    assert select.names("src/nope*", parents=True) == []


def test_names_of_any_bytes(select: Chooser) -> None:
    for name in (b"\xff\xfe", b"new\nline", b"quote'\"", "ü".encode(), b" ", b"-rf", b"*"):
        with open(os.fsencode(select.top) + b"/other/" + name, "wb"):
            pass
    names = {row.path for match in select("other") for row in match.rows}
    assert {b"\xff\xfe", b"new\nline", b" ", b"-rf", b"*"} <= names


def test_what_no_layer_can_hold(select: Chooser) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(select.top / "other" / "sock"))
    listener.close()
    os.mkfifo(select.top / "other" / "pipe")
    assert select.names("other") == ["other/c.txt"]
    assert sorted(select.warnings) == [
        '"/other/pipe" is a named pipe: it is left out',
        '"/other/sock" is a socket: it is left out',
    ]
    with pytest.raises(InvalidArgument, match="is a socket or a named pipe"):
        select("other/sock")


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
@pytest.mark.parametrize("pattern", ["other", "other/.wh*"])
def test_names_that_mean_removal_are_refused(select: Chooser, name: str, pattern: str) -> None:
    (select.top / "other" / name).write_text("")
    with pytest.raises(InvalidArgument, match="mean removal in a layer"):
        select(pattern)


def test_names_that_mean_removal_may_be_kept_out(select: Chooser) -> None:
    (select.top / "other" / ".wh.x").write_text("")
    (select.top / "other" / ".wh.d").mkdir()
    (select.top / "other" / ".wh.d" / "in").write_text("")
    for pattern in ("other", "oth*"):
        assert select.names(pattern, ignore="**/.wh.*") == ["other/c.txt"]
        assert select.names(pattern, exclude=(".wh.*",)) == ["other/c.txt"]
        # Nothing that may be in the directory is there.
        assert select.names(pattern, ignore="**/.wh.*\n!other/.wh.d/none") == ["other/c.txt"]
        with pytest.raises(InvalidArgument, match=r'"/other/\.wh\.d" cannot be copied: .* mean removal'):
            select(pattern, ignore="**/.wh.*\n!other/.wh.d/in")
    assert select.names("other/*.txt", parents=True) == ["other", "other/c.txt"]


def test_a_directory_that_is_too_deep(select: Chooser) -> None:
    place = os.open(select.top / "other", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    with pytest.raises(CarboyError, match="too deep"):
        select("other")


def test_unchanged_files_are_read_once(select: Chooser) -> None:
    _age(select.top)
    first = select("src")
    assert select.read == 3
    second = select("src")
    assert select.read == 0
    assert [row.digest for row in first[0].rows] == [row.digest for row in second[0].rows]
    select("link/deep/d.txt")
    assert select.read == 0, "the same file on another way"


def test_changed_files_are_read_again(select: Chooser) -> None:
    _age(select.top)
    before = {row.path: row.digest for row in select("src")[0].rows}
    file = select.top / "src" / "c.txt"
    size, time = file.stat().st_size, file.stat().st_mtime_ns
    file.write_text("x" * size)
    os.utime(file, ns=(time, time))
    after = {row.path: row.digest for row in select("src")[0].rows}
    assert select.read == 1
    assert {path for path in after if after[path] != before[path]} == {b"c.txt"}


def test_a_file_that_is_young_is_read_again(select: Chooser) -> None:
    (select.top / "src" / "c.txt").write_text("now")
    select("src/c.txt")
    select("src/c.txt")
    assert select.read in (0, 1)  # 0: the first look took longer than a file is young


def test_replaced_files_are_read_again(select: Chooser) -> None:
    _age(select.top)
    select("src")
    (select.top / "src" / "new").write_text("src/c.TXT")
    os.replace(select.top / "src" / "new", select.top / "src" / "c.txt")
    select("src")
    assert select.read == 1


def test_cancelling_ends_a_scan(select: Chooser, tmp_path: Path) -> None:
    def check() -> None:
        raise Cancelled("enough")

    fd = os.open(select.top, os.O_PATH | os.O_DIRECTORY)
    try:
        with HashCache(str(tmp_path / "cache")) as hashes:
            tree = OpenTree(fd, None, str(select.top))
            with pytest.raises(Cancelled):
                Selector(tree, Scanner(tree, hashes, check, select.warnings.append)).select("src")
    finally:
        os.close(fd)


def test_modes_are_as_they_are(select: Chooser) -> None:
    (select.top / "src" / "c.txt").chmod(0o4751)
    (match,) = select("src/c.txt")
    assert match.rows[0].mode == stat.S_IFREG | 0o4751


def _age(top: Path) -> None:
    """Wait until files are no longer young."""
    import time

    newest = max(os.lstat(path).st_ctime_ns for path in top.rglob("*"))
    for path in top.rglob("*"):
        if not path.is_symlink():
            os.utime(path, ns=(10**9, 10**9 + 1))
    while time.time_ns() - newest < 250_000_000:
        time.sleep(0.05)
    while time.time_ns() - max(os.lstat(path).st_ctime_ns for path in top.rglob("*")) < 150_000_000:
        time.sleep(0.02)
