"""The mount calls against the real kernel: everything stays detached, so nothing has to be cleaned up."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from carboy.linux import layers, mount, namespaces, paths, process, terminal, tree
from support.leftovers import mounts_of_the_machine

pytestmark = pytest.mark.needs_root


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    descriptors = len(os.listdir("/proc/self/fd"))
    mounts = mounts_of_the_machine()
    yield
    assert mounts_of_the_machine() <= mounts
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def tmpfs() -> Iterator[int]:
    fd = new_tmpfs()
    yield fd
    os.close(fd)


def new_tmpfs(attributes: int = 0) -> int:
    context = mount.fsopen("tmpfs")
    try:
        mount.fsconfig_set_string(context, "size", "1m")
        mount.fsconfig_create(context)
        return mount.fsmount(context, attributes)
    finally:
        os.close(context)


def directory(parent: int, name: str) -> int:
    os.mkdir(name, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)


def write(parent: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, dir_fd=parent)
    os.write(fd, text.encode())
    os.close(fd)


def read(parent: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent)
    try:
        return os.read(fd, 1000).decode()
    finally:
        os.close(fd)


def test_a_refused_option_says_what_the_filesystem_said() -> None:
    context = mount.fsopen("tmpfs")
    try:
        with pytest.raises(OSError, match="Unknown parameter 'frobnicate'") as caught:
            mount.fsconfig_set_string(context, "frobnicate", "1")
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(context)


def test_an_unknown_filesystem_is_named() -> None:
    with pytest.raises(OSError, match="fsopen: No such device") as caught:
        mount.fsopen("frobfs")
    assert caught.value.filename == "frobfs"


def test_a_read_only_copy_does_not_change_the_original(tmpfs: int) -> None:
    copy = mount.open_tree(tmpfs, b"", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH)
    try:
        mount.mount_setattr(copy, b"", mount.AT_EMPTY_PATH, attr_set=mount.MOUNT_ATTR_RDONLY)
        with pytest.raises(OSError, match="Read-only"):
            write(copy, "file", "x")
        write(tmpfs, "file", "x")
        assert read(copy, "file") == "x"
    finally:
        os.close(copy)


def test_a_mount_is_attached_below_a_detached_one(tmpfs: int) -> None:
    place = directory(tmpfs, "place")
    inner = new_tmpfs()
    try:
        write(inner, "file", "inner")
        mount.attach(inner, place)
        assert read(tmpfs, "place/file") == "inner"
    finally:
        os.close(inner)
        os.close(place)


def test_an_idmapped_copy_shows_other_owners(tmpfs: int) -> None:
    write(tmpfs, "file", "x")
    waiting, release = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone3(namespaces.CLONE_NEWUSER)
    if pid == 0:
        os.close(release)
        os.read(waiting, 1)
        os._exit(0)
    os.close(waiting)
    try:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 1000 10\n")
        space = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(release)
        os.close(pidfd)
        os.waitpid(pid, 0)
    copy = mount.open_tree(tmpfs, b"", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH)
    try:
        mount.mount_setattr(copy, b"", mount.AT_EMPTY_PATH, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=space)
        assert os.stat("file", dir_fd=copy).st_uid == 1000
        assert os.stat("file", dir_fd=tmpfs).st_uid == 0
    finally:
        os.close(copy)
        os.close(space)


@pytest.mark.needs_overlay
def test_an_overlay_is_made_of_descriptors_topmost_first(tmpfs: int) -> None:
    names = ("bottom", "top", "upper", "work")
    bottom, top, upper, work = (directory(tmpfs, name) for name in names)
    write(bottom, "both", "bottom")
    write(bottom, "below", "bottom")
    write(top, "both", "top")
    overlay = layers.mount_overlay([top, bottom], upper, work)
    try:
        assert (read(overlay, "both"), read(overlay, "below")) == ("top", "bottom")
        write(overlay, "new", "upper")
        os.unlink("below", dir_fd=overlay)
        assert read(upper, "new") == "upper"
        whiteout = os.stat("below", dir_fd=upper)
        assert stat.S_ISCHR(whiteout.st_mode)
        assert whiteout.st_rdev == 0
        assert paths.filesystem_type(overlay) == paths.OVERLAYFS_SUPER_MAGIC
    finally:
        for fd in (overlay, bottom, top, upper, work):
            os.close(fd)


@pytest.mark.needs_overlay
def test_an_overlay_without_an_upper_directory_is_read_only(tmpfs: int) -> None:
    one, two = directory(tmpfs, "one"), directory(tmpfs, "two")
    overlay = layers.mount_overlay([one, two], None, None)
    try:
        with pytest.raises(OSError, match="Read-only"):
            write(overlay, "file", "x")
    finally:
        for fd in (overlay, one, two):
            os.close(fd)


@pytest.mark.needs_overlay
def test_the_older_way_of_naming_layers_gives_the_same(tmpfs: int) -> None:
    lower, upper, work = (directory(tmpfs, name) for name in ("lower", "upper", "work"))
    write(lower, "file", "lower")
    overlay = layers.assemble_overlay([lower], upper, work, layers.OVERLAY_DEFAULTS, 0, by_descriptor=False)
    try:
        assert read(overlay, "file") == "lower"
    finally:
        for fd in (overlay, lower, upper, work):
            os.close(fd)


@pytest.mark.needs_erofs
def test_this_kernel_mounts_erofs_from_files() -> None:
    assert layers.supports_erofs_files()


def test_removal_stops_at_a_mount(tmp_path: Path) -> None:
    waiting = os.fork()
    if waiting == 0:  # in a mount namespace of its own: nothing to undo
        code = 1
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mount.mount_setattr(mount.AT_FDCWD, b"/", mount.AT_RECURSIVE, propagation=mount.MS_PRIVATE)
            (tmp_path / "top/mounted").mkdir(parents=True)
            mount.mount("tmpfs", str(tmp_path / "top/mounted"), "tmpfs", 0)
            (tmp_path / "top/mounted/kept").touch()
            base = os.open(tmp_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                tree.remove(base, "top")
            except OSError as error:
                if error.errno == errno.EXDEV and (tmp_path / "top/mounted/kept").exists():
                    code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 0


def test_a_terminal_comes_from_the_devpts_that_is_given() -> None:
    context = mount.fsopen("devpts")
    try:
        mount.fsconfig_set_string(context, "ptmxmode", "666")
        mount.fsconfig_set_string(context, "mode", "620")
        mount.fsconfig_create(context)
        devpts = mount.fsmount(context)
    finally:
        os.close(context)
    master, slave = terminal.open_pty(devpts)
    try:
        assert terminal.pty_number(master) == 0
        assert os.fstat(slave).st_dev == os.fstat(devpts).st_dev
        terminal.set_window_size(master, 50, 132)
        assert terminal.window_size(slave) == (50, 132)
        os.write(slave, b"out")
        assert os.read(master, 100) == b"out"
    finally:
        for fd in (master, slave, devpts):
            os.close(fd)


def test_a_false_devpts_gives_no_terminal(tmpfs: int) -> None:
    os.mknod("ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2), dir_fd=tmpfs)
    with pytest.raises(OSError, match="not on the expected filesystem"):
        terminal.open_pty(tmpfs)
