"""Device nodes and links of a container's /dev: made below a root descriptor, no path is ever joined."""

from __future__ import annotations

import os
import stat

from carboy.errors import InvalidArgument, Unsupported
from carboy.linux import mount as m
from carboy.linux.paths import create_file_in_root, make_directories_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.runtime.spec import Device

_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_device(root: int, one: Device) -> None:
    """The node of one entry of `linux.devices`."""
    device = 0 if one.kind == "p" else os.makedev(one.major, one.minor)
    make_node(root, one.path, _KINDS[one.kind], device, one.mode, (one.uid, one.gid))


def make_node(
    root: int, path: str, kind: int, device: int, mode: int = 0o666, owner: tuple[int, int] = (0, 0)
) -> None:
    """The node, unless exactly this one is there; in a user namespace the host's own is bound."""
    folder, _, name = path.rpartition("/")
    parent = make_directories_in_root(root, folder or "/")
    try:
        if _is_there(parent, name, kind, device):
            return
        try:
            os.mknod(name, kind | mode, device, dir_fd=parent)
        except PermissionError:
            _bind_device(root, path, kind, device)  # a user namespace may not make nodes
            return
        if any(owner):
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _is_there(parent: int, name: str, kind: int, device: int) -> bool:
    """Whether exactly this node exists; anything else of that name is removed."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_IFMT(found.st_mode) == kind and (kind == stat.S_IFIFO or found.st_rdev == device):
        return True
    os.unlink(name, dir_fd=parent)
    return False


def _bind_device(root: int, path: str, kind: int, device: int) -> None:
    """The host's node of that path, if it is that device."""
    source = m.open_tree(m.AT_FDCWD, path, m.OPEN_TREE_CLONE | m.AT_SYMLINK_NOFOLLOW)
    try:
        found = os.fstat(source)
        if stat.S_IFMT(found.st_mode) != kind or found.st_rdev != device:
            raise InvalidArgument(f"{path} of the host is another device than the configuration says")
        target = create_file_in_root(root, path)
        try:
            m.attach(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def make_link(root: int, path: str, target: str) -> None:
    """A symbolic link, unless a mount or the image has something of that name."""
    folder, _, name = path.rpartition("/")
    parent = make_directories_in_root(root, folder)
    try:
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            pass
        except OSError as error:
            if name != "ptmx":
                raise
            raise Unsupported(f"cannot make {path}") from error
    finally:
        os.close(parent)
