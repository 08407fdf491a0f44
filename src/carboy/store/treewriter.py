"""Making a layer's tree on a filesystem: for kernels that cannot mount its index.

The tree is clean already (`formats/layertree`): every name is one component, nothing lies
behind a symlink.  So each directory is made, opened with O_NOFOLLOW and filled through its
descriptor; no path is ever resolved.
"""

from __future__ import annotations

import os

from carboy.formats.layertree import IMPLIED, Node
from carboy.formats.tar import BLOCK, CHARACTER, DIRECTORY, FIFO, REGULAR, SYMLINK

_OPAQUE = b"trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 24


def write_tree(root: Node, tar_fd: int, directory_fd: int) -> None:
    """Fill an empty directory with `root`; contents come from the tar."""
    _TreeWriter(tar_fd, directory_fd).fill(root, directory_fd, b"")
    _finish(root, directory_fd)


class _TreeWriter:
    def __init__(self, tar_fd: int, root_fd: int) -> None:
        self._tar_fd = tar_fd
        self._root_fd = root_fd
        self._links: dict[int, bytes] = {}

    def fill(self, directory: Node, directory_fd: int, prefix: bytes) -> None:
        """Make everything below `directory`."""
        for name, node in directory.children.items():
            if node.kind == DIRECTORY:
                os.mkdir(name, 0o700, dir_fd=directory_fd)
                child_fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
                try:
                    self.fill(node, child_fd, prefix + name + b"/")
                    _finish(node, child_fd)
                finally:
                    os.close(child_fd)
            elif id(node) in self._links:
                # A path is safe here: only we write to this tree, and it leads through directories only.
                first = self._links[id(node)]
                os.link(first, name, src_dir_fd=self._root_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
            else:
                _make(node, self._tar_fd, directory_fd, name)
                if node.nlink > 1:
                    self._links[id(node)] = prefix + name


def _make(node: Node, tar_fd: int, directory_fd: int, name: bytes) -> None:
    if node.kind == REGULAR:
        fd = os.open(name, _CREATE, 0o600, dir_fd=directory_fd)
        try:
            _write_contents(node, tar_fd, fd)
            _finish(node, fd)
        finally:
            os.close(fd)
        return
    if node.kind == SYMLINK:
        os.symlink(node.link, name, dir_fd=directory_fd)
    elif node.kind == FIFO:
        os.mkfifo(name, 0o600, dir_fd=directory_fd)
    elif node.kind in (CHARACTER, BLOCK):
        os.mknod(name, node.kind | 0o600, os.makedev(*node.rdev), dir_fd=directory_fd)
    if node.is_whiteout:
        return
    os.chown(name, node.uid, node.gid, dir_fd=directory_fd, follow_symlinks=False)
    if node.kind != SYMLINK:
        os.chmod(name, node.mode, dir_fd=directory_fd)
    for key, value in (node.xattrs or {}).items():
        path = b"/proc/self/fd/%d/%s" % (directory_fd, name)
        os.setxattr(path, key, value, follow_symlinks=False)
    os.utime(name, ns=_times(node), dir_fd=directory_fd, follow_symlinks=False)


def _write_contents(node: Node, tar_fd: int, fd: int) -> None:
    where = node.data_offset
    for offset, length in node.segments if node.segments is not None else ((0, node.size),):
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            done = os.sendfile(fd, tar_fd, where, min(length, _PIECE))
            if not done:
                raise OSError("the tar ends inside a member")
            where += done
            length -= done
    if node.segments is not None:
        os.ftruncate(fd, node.size)


def _finish(node: Node, fd: int) -> None:
    """Owner before mode (chown clears set-id bits), both before attributes, times last."""
    os.fchown(fd, node.uid, node.gid)
    os.fchmod(fd, node.mode)
    for key, value in (node.xattrs or {}).items():
        os.setxattr(fd, key, value)
    if node.opaque:
        os.setxattr(fd, _OPAQUE, b"y")
    if node.implied:
        os.setxattr(fd, IMPLIED, b"")
    os.utime(fd, ns=_times(node))


def _times(node: Node) -> tuple[int, int]:
    time = node.mtime * 1_000_000_000 + node.mtime_nsec
    return time, time
