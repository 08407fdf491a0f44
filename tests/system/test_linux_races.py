"""A process that exchanges directories for links while we resolve (CVE-2021-30465, CVE-2024-45310)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carboy.linux import paths, process, tree

RENAME_EXCHANGE = 2
ROUNDS = 1500
REFUSALS = (
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EAGAIN,
    errno.EXDEV,
    errno.ENOTEMPTY,
)


class Attacked:
    """A root whose directory `swap` is, in turns, a directory and a link to the host's `outside`."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.outside = base / "outside"
        for path in (self.root / "swap/sub", self.outside / "sub"):
            path.mkdir(parents=True)
        (self.root / "link").symlink_to("../outside")
        (self.outside / "sentinel").write_text("host")
        (self.outside / "sub/sentinel").write_text("host")
        self.fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def exchange_for_ever(self) -> None:
        libc = ctypes.CDLL(None)
        place = str(self.root).encode()
        while True:
            libc.renameat2(-100, place + b"/swap", -100, place + b"/link", RENAME_EXCHANGE)

    def assert_untouched(self) -> None:
        found = sorted(str(path.relative_to(self.outside)) for path in self.outside.rglob("*"))
        assert found == ["sentinel", "sub", "sub/sentinel"]

    def check(self, fd: int) -> None:
        """`fd` lies inside, wherever it has been moved to; closes it."""
        place = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        assert place.startswith(f"{self.root}/"), place


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    one = Attacked(tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            process.set_pdeathsig(signal.SIGKILL)
            one.exchange_for_ever()
        finally:
            os._exit(1)
    try:
        yield one
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(one.fd)
    one.assert_untouched()


def attempt(attacked: Attacked, action: Callable[[int], int | None]) -> int:
    """Repeat `action`; how often it was done. What it may not do it must refuse with one of these."""
    done = 0
    for number in range(ROUNDS):
        try:
            fd = action(number)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            continue
        done += 1
        if fd is not None:
            attacked.check(fd)
    return done


def test_directories_are_made_inside_or_not_at_all(attacked: Attacked) -> None:
    done = attempt(attacked, lambda n: paths.make_directories_in_root(attacked.fd, f"/swap/new{n}/deep"))
    assert done > ROUNDS // 10


def test_files_are_made_inside_or_not_at_all(attacked: Attacked) -> None:
    assert (
        attempt(attacked, lambda n: paths.create_file_in_root(attacked.fd, f"swap/sub/f{n}")) > ROUNDS // 10
    )


def test_nothing_of_the_host_is_opened(attacked: Attacked) -> None:
    def action(_: int) -> int:
        return paths.open_in_root(attacked.fd, "swap/sentinel", os.O_RDONLY)

    assert attempt(attacked, action) == 0


def test_removal_never_reaches_the_host(attacked: Attacked) -> None:
    def action(number: int) -> None:
        # Either name is now a directory, now the link; once both are gone they are made again.
        tree.remove(attacked.fd, "swap")
        if not os.path.lexists(attacked.root / "link"):
            os.symlink("../outside", "link", dir_fd=attacked.fd)
        if not os.path.lexists(attacked.root / "swap"):
            os.mkdir("swap", dir_fd=attacked.fd)
            os.close(paths.make_directories_in_root(attacked.fd, f"swap/sub/{number}"))

    attempt(attacked, action)
