"""COPY while somebody changes the context: what is copied is what was hashed, or the build ends."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carboy.build.graph import Files, FileSource
from carboy.build.operation import Filesystem, Value
from carboy.errors import CarboyError, Unavailable
from support.copying import Copied, Yard, yard

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay, pytest.mark.needs_erofs]

SECRET = b"the host's own"
SECONDS = 1.5


@pytest.fixture
def context(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    (top / "dir" / "sub").mkdir(parents=True)
    for number in range(20):
        (top / "dir" / "sub" / f"file{number}").write_bytes(b"mine")
    (tmp_path / "host" / "sub").mkdir(parents=True)
    for number in range(20):
        (tmp_path / "host" / "sub" / f"file{number}").write_bytes(SECRET)
    return top


@pytest.fixture
def ground(tmp_path: Path, context: Path) -> Iterator[Yard]:
    with yard(tmp_path, context) as made:
        yield made


@contextmanager
def again_and_again(change: Callable[[int], None]) -> Iterator[None]:
    """Have `change` called all the time."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        number = 0
        while not stop.is_set():
            try:
                change(number)
            except BaseException as error:  # told when the block ends
                errors.append(error)
                return
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not errors


def contents(made: Yard, copied: Copied) -> dict[str, bytes]:
    """Names and contents of all files in a layer."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(made.tar(copied.result))) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                found[member.name] = file.read()
    return found


def check(made: Yard, copied: Copied) -> None:
    """What was written is what the key says."""
    values = copied.ingredients.values
    for name, data in contents(made, copied).items():
        assert SECRET not in data
        said = values["file dir/" + name.removeprefix("x/")]
        assert said.endswith(f"sha256:{hashlib.sha256(data).hexdigest()}")


def copy_meanwhile(made: Yard, *patterns: str, **flags: object) -> tuple[int, int]:
    """Copy for a while: how often it went well, and how often it ended with an error of ours."""
    well = badly = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            copied = made.copy(*patterns, **flags)  # type: ignore[arg-type]  # flags of Files
        except CarboyError:
            badly += 1
        else:
            well += 1
            if copied.result.layer is not None:
                check(made, copied)
        assert os.listdir(made.session.workshop.paths.ingest) == []
    return well, badly


def swap(one: Path, other: Path, aside: Path) -> None:
    one.rename(aside)
    other.rename(one)
    one.rename(other)
    aside.rename(one)


@pytest.mark.parametrize("place", ["dir", "dir/sub"])
def test_a_directory_that_becomes_a_link(ground: Yard, context: Path, tmp_path: Path, place: str) -> None:
    link, aside = tmp_path / "link", tmp_path / "aside"
    link.symlink_to(tmp_path / "host" / ("sub" if place == "dir/sub" else "."))
    with again_and_again(lambda _: swap(context / place, link, aside)):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


def test_a_file_that_becomes_a_link(ground: Yard, context: Path, tmp_path: Path) -> None:
    link, aside = tmp_path / "link", tmp_path / "aside"
    link.symlink_to(tmp_path / "host" / "sub" / "file0")
    with again_and_again(lambda _: swap(context / "dir" / "sub" / "file3", link, aside)):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


def test_a_file_that_becomes_a_pipe(ground: Yard, context: Path, tmp_path: Path) -> None:
    pipe, aside = tmp_path / "pipe", tmp_path / "aside"
    os.mkfifo(pipe)
    with again_and_again(lambda _: swap(context / "dir" / "sub" / "file3", pipe, aside)):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_file_that_is_written_to(ground: Yard, context: Path, size: int) -> None:
    file = context / "dir" / "sub" / "file3"
    file.write_bytes(b"-" * size)

    def write(number: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(number * 97 % size)
            opened.write(b"%d" % (number % 10))

    with again_and_again(write):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


def test_a_file_that_grows_and_shrinks(ground: Yard, context: Path) -> None:
    file = context / "dir" / "sub" / "file3"
    with again_and_again(lambda number: os.truncate(file, number * 7919 % 200_000)):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


def test_files_that_come_and_go(ground: Yard, context: Path) -> None:
    def churn(number: int) -> None:
        file = context / "dir" / f"new{number % 50}"
        if file.exists():
            file.unlink()
        else:
            file.write_bytes(b"new")

    with again_and_again(churn):
        well, badly = copy_meanwhile(ground, "dir", to="/x")
    assert well + badly


def to_nothing(file: Path) -> None:
    file.unlink()


def to_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("file4")


def to_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def to_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def to_longer(file: Path) -> None:
    file.write_bytes(b"much longer")


def to_shorter(file: Path) -> None:
    file.write_bytes(b"")


def to_other(file: Path) -> None:
    """As long as before, with the same time."""
    status = file.stat()
    file.write_bytes(b"MINE")
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))


def to_moved(file: Path) -> None:
    file.parent.rename(file.parent.parent.parent / "moved")


@pytest.mark.parametrize(
    "change", [to_nothing, to_link, to_directory, to_pipe, to_longer, to_shorter, to_other, to_moved]
)
def test_a_change_between_looking_and_writing_is_told(
    ground: Yard, context: Path, change: Callable[[Path], None]
) -> None:
    operation = Files(sources=(FileSource(input=1, patterns=("dir",)),), destination="/x")
    inputs: list[Value] = [Filesystem(), ground.context]
    step = ground.files(operation, inputs)
    step.ingredients(inputs)
    change(context / "dir" / "sub" / "file3")
    with pytest.raises(Unavailable, match=r'"/dir/sub/file\d+" was changed while it was read'):
        step.run(inputs, ground.console())
    assert os.listdir(ground.session.workshop.paths.ingest) == []


def test_sources_cannot_be_named_outside(ground: Yard, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    for pattern in ("../secret", "/../secret", "dir/../../secret", str(tmp_path / "secret"), "../*"):
        try:
            copied = ground.copy(pattern)
        except CarboyError:
            continue
        if copied.result.layer is not None:
            assert SECRET not in contents(ground, copied).values()
