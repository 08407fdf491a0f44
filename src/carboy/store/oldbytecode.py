"""What a layer with Python files must know of the layers below it: see `bytecode.py`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from carboy.linux.paths import open_in_root
from carboy.store.bytecode import HEADER_SIZE, Bytecode, Source, earlier
from carboy.store.differ import Found
from carboy.store.lower import Lowers


def bytecode_of(
    found: Sequence[Found], base: Lowers, epoch: int, *, view: Callable[[], int]
) -> Bytecode | None:
    """None when Python has nothing to do with it.

    view: makes a mount of all layers below; called when it is needed, and closed here.
    """
    sources = {
        item.path: Source(item.status.st_mtime_ns // 1_000_000_000, item.status.st_size)
        for item in found
        if item.path.endswith(b".py") and stat.S_ISREG(item.status.st_mode)
    }
    if not sources and not any(item.path.endswith(b".pyc") for item in found):
        return None

    def below(path: bytes) -> int | None:
        status = base.status(path)
        return None if status is None else int(status.st_mtime_ns // 1_000_000_000)

    with ExitStack() as stack:
        mounted: list[int] = []

        def mount() -> int:
            if not mounted:
                mounted.append(view())
                stack.callback(os.close, mounted[0])
            return mounted[0]

        times = earlier(sources, epoch, _OldBytecode(found, base, mount).headers)
    return Bytecode(epoch, sources, below, earlier=times)


class _OldBytecode:
    """The .pyc files in the layers below that belong to sources which a layer replaces."""

    def __init__(self, found: Sequence[Found], base: Lowers, view: Callable[[], int]) -> None:
        """view: makes a mount of all layers below; asked for when it is needed."""
        self._replaced = {item.path for item in found}
        self._new = {item.path for item in found if stat.S_ISDIR(item.status.st_mode) and not item.copied}
        self._base = base
        self._view = view

    def headers(self, source: bytes) -> Iterator[bytes]:
        """Their first bytes."""
        parent, _, name = source.rpartition(b"/")
        if parent in self._new or self._base.status(source) is None:
            return
        stem = name.removesuffix(b".py")
        root = self._view()
        prefix = parent + b"/" if parent else b""
        for path in (*self._cached(root, prefix + b"__pycache__", stem), prefix + stem + b".pyc"):
            if path not in self._replaced:
                yield _begin_of(root, path)

    @staticmethod
    def _cached(root: int, directory: bytes, stem: bytes) -> list[bytes]:
        try:
            fd = open_in_root(root, directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        return [
            directory + b"/" + name
            for name in names
            if name.startswith(stem + b".") and name.endswith(b".pyc")
        ]


def _begin_of(root: int, path: bytes) -> bytes:
    try:
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(fd, HEADER_SIZE, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
